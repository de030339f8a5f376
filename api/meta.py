"""Metadata that every object has, and the options, lists and Status that every verb speaks of."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from api.schema import FieldsV1, Int32, Int64, Struct, Time, always, field, wire


class GetOptions(Struct):
    resource_version: Annotated[str, wire(1)] = ""


class ListOptions(Struct):
    label_selector: Annotated[str, wire(1)] = ""
    field_selector: Annotated[str, wire(2)] = ""
    watch: Annotated[bool, wire(3)] = False
    allow_watch_bookmarks: Annotated[bool, wire(9)] = False
    resource_version: Annotated[str, wire(4)] = ""
    resource_version_match: Annotated[str, wire(10)] = ""
    timeout_seconds: Annotated[Int64 | None, wire(5)] = None
    limit: Annotated[Int64, wire(7)] = 0
    continue_: Annotated[str, wire(8)] = ""
    send_initial_events: Annotated[bool | None, wire(11)] = None


class PatchOptions(Struct):
    dry_run: Annotated[list[str], wire(1)] = []
    force: Annotated[bool | None, wire(2)] = None
    field_manager: Annotated[str, wire(3)] = ""
    field_validation: Annotated[str, wire(4)] = ""


class UpdateOptions(Struct):
    dry_run: Annotated[list[str], wire(1)] = []
    field_manager: Annotated[str, wire(2)] = ""
    field_validation: Annotated[str, wire(3)] = ""


class CreateOptions(Struct):
    dry_run: Annotated[list[str], wire(1)] = []
    field_manager: Annotated[str, wire(3)] = ""
    field_validation: Annotated[str, wire(4)] = ""


class KindCondition(Struct):
    """What the conditions of many kinds are made of; each kind's has a name of its own in the API."""

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_transition_time: Annotated[Time, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""


class ProbedCondition(Struct):
    """What the conditions of kinds that are looked at by probes are made of."""

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_probe_time: Annotated[Time, wire(3)] = ""
    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class Condition(Struct):
    """One question about an object (`type`), its answer (True, False or Unknown), and since when.

    Attributes:
        type: What is asked.
        status: The answer: True, False or Unknown.
        observed_generation: The generation that was looked at.
        last_transition_time: When the answer last changed.
        reason: Why, in one word for programs.
        message: Why, in a sentence for people.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    observed_generation: Annotated[Int64, wire(3)] = 0
    last_transition_time: Annotated[Time, wire(4, required=True)] = always("")
    reason: Annotated[str, wire(5, required=True)] = always("")
    message: Annotated[str, wire(6, required=True)] = always("")


class LabelSelectorRequirement(Struct):
    """A label, and the values it must have, or must not.

    Attributes:
        key: The label.
        operator: In, NotIn, Exists or DoesNotExist.
        values: For In and NotIn: the values.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class LabelSelector(Struct):
    """Objects, by labels. All of it must hold; an empty one matches everything.

    Attributes:
        match_labels: Labels that must be there, with these values.
        match_expressions: What else must be true of the labels.
    """

    match_labels: Annotated[dict[str, str], wire(1)] = {}
    match_expressions: Annotated[list[LabelSelectorRequirement], wire(2, list_type="atomic")] = []


class Preconditions(Struct):
    """What must be true of the object for the request to happen."""

    uid: Annotated[str | None, wire(1)] = None
    resource_version: Annotated[str | None, wire(2)] = None


class FieldSelectorRequirement(Struct):
    key: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class DeleteOptions(Struct):
    """How to delete: how gently, on what condition, and what becomes of dependents."""

    api_version: str = ""
    kind: str = ""
    grace_period_seconds: Annotated[Int64 | None, wire(1)] = None
    preconditions: Annotated[Preconditions | None, wire(2)] = None
    orphan_dependents: Annotated[bool | None, wire(3)] = None
    propagation_policy: Annotated[str | None, wire(4)] = None
    dry_run: Annotated[list[str], wire(5, list_type="atomic")] = []
    ignore_store_read_error_with_cluster_breaking_potential: Annotated[bool | None, wire(6)] = None


class StatusCause(Struct):
    """One thing that is wrong with a request."""

    reason: Annotated[str, wire(1)] = ""
    message: Annotated[str, wire(2)] = ""
    field: Annotated[str, wire(3)] = ""


class StatusDetails(Struct):
    """What a failed request was about."""

    name: Annotated[str, wire(1)] = ""
    group: Annotated[str, wire(2)] = ""
    kind: Annotated[str, wire(3)] = ""
    uid: Annotated[str, wire(6)] = ""
    causes: Annotated[list[StatusCause], wire(4, list_type="atomic")] = []
    retry_after_seconds: Annotated[Int32, wire(5)] = 0


class ListMeta(Struct):
    """What every list has: where to watch from, and where the next page begins."""

    self_link: Annotated[str, wire(1)] = ""
    resource_version: Annotated[str, wire(2)] = ""
    continue_: Annotated[str, wire(3)] = ""
    remaining_item_count: Annotated[Int64 | None, wire(4)] = None


class Status(Struct):
    """How a request ended, where no object tells it."""

    api_version: str = always("v1")
    kind: str = always("Status")
    metadata: Annotated[ListMeta, wire(1)] = field(default_factory=ListMeta)
    status: Annotated[str, wire(2)] = ""
    message: Annotated[str, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    details: Annotated[StatusDetails | None, wire(5, list_type="atomic")] = None
    code: Annotated[Int32, wire(6)] = 0


_NO_FIELDS: Final = msgspec.Raw(b"null")


class ManagedFieldsEntry(Struct):
    """Which fields one manager owns (server-side apply)."""

    manager: Annotated[str, wire(1)] = ""
    operation: Annotated[str, wire(2)] = ""
    api_version: Annotated[str, wire(3)] = ""
    time: Annotated[Time, wire(4)] = ""
    fields_type: Annotated[str, wire(6)] = ""
    fields_v1: Annotated[FieldsV1, wire(7)] = _NO_FIELDS
    subresource: Annotated[str, wire(8)] = ""


class OwnerReference(Struct):
    """An object on which this one depends: it is deleted when its last owner is.

    Attributes:
        api_version: The owner's group and version.
        kind: The owner's kind.
        name: The owner's name.
        uid: The owner's uid.
        controller: Whether the owner is the one that controls this object; at most one does.
        block_owner_deletion: Whether the owner stays until this object is gone, when it is deleted in the
            foreground.
    """

    api_version: Annotated[str, wire(5, required=True)] = always("")
    kind: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")
    uid: Annotated[str, wire(4, required=True)] = always("")
    controller: Annotated[bool | None, wire(6)] = None
    block_owner_deletion: Annotated[bool | None, wire(7)] = None


class ObjectMeta(Struct):
    """What every stored object has.

    Attributes:
        name: Unique among objects of the kind, within the namespace; never changes.
        generate_name: Where there is no name: the beginning of one, which the server completes.
        namespace: The room in which the name is unique; empty for kinds without. Never changes.
        self_link: Not used any more.
        uid: Unique over time and space, set by the server: tells an object from a later one of the same name.
        resource_version: Changes with every write, set by the server. Compare for equality, watch from it;
            nothing else.
        generation: Grows when what is wanted changes, set by the server.
        creation_timestamp: When the object was created, set by the server.
        deletion_timestamp: When the object is to be gone, set by the server once it is being deleted.
        deletion_grace_period_seconds: How long the object may take to end, once it is being deleted. It can
            only shrink.
        labels: Short words to find and to select objects by.
        annotations: Notes of people and programs, by which nothing is selected.
        owner_references: Objects that this one depends on: it is deleted when all of them are gone.
        finalizers: Who must still do something before the object can go; each takes its own entry away.
        managed_fields: Who set which fields, kept by the server.
    """

    name: Annotated[str, wire(1)] = ""
    generate_name: Annotated[str, wire(2)] = ""
    namespace: Annotated[str, wire(3)] = ""
    self_link: Annotated[str, wire(4)] = ""
    uid: Annotated[str, wire(5)] = ""
    resource_version: Annotated[str, wire(6)] = ""
    generation: Annotated[Int64, wire(7)] = 0
    creation_timestamp: Annotated[Time, wire(8)] = ""
    deletion_timestamp: Annotated[Time, wire(9)] = ""
    deletion_grace_period_seconds: Annotated[Int64 | None, wire(10)] = None
    labels: Annotated[dict[str, str], wire(11)] = {}
    annotations: Annotated[dict[str, str], wire(12)] = {}
    owner_references: Annotated[
        list[OwnerReference], wire(13, merge_key="uid", list_type="map", list_keys=("uid",))
    ] = []
    finalizers: Annotated[list[str], wire(14, patch="merge", list_type="set")] = []
    managed_fields: Annotated[list[ManagedFieldsEntry], wire(17, list_type="atomic")] = []


class TypeMeta(Struct):
    kind: str = ""
    api_version: str = ""

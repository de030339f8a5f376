"""Metadata that every object has, and the options, lists and Status that every verb speaks of."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from api.schema import FieldsV1, Int32, Int64, Struct, Time, always, field, wire


class GetOptions(Struct):
    """How fresh the answer to a GET must be.

    Attributes:
        resource_version: The answer is at least as new as this version; 0 takes whatever the server has at hand. Unset,
            it is the newest there is.
    """

    resource_version: Annotated[str, wire(1)] = ""


class ListOptions(Struct):
    """What of a collection is wanted, and how: all at once, page by page, or as a stream of changes.

    Attributes:
        label_selector: Only objects whose labels match, such as app=web,tier!=cache; unset, all objects.
        field_selector: Only objects whose fields match, such as status.phase=Running; each kind allows a few fields,
            all kinds metadata.name and metadata.namespace. Unset, all objects.
        watch: Answer with a stream of changes (ADDED, MODIFIED, DELETED) after resourceVersion rather than with a list;
            false by default.
        allow_watch_bookmarks: On a watch, also send BOOKMARK events, which carry only a resourceVersion up to which
            everything has been sent. When they come is up to the server.
        resource_version: For a list, how fresh it must be, as resourceVersionMatch says; for a watch, after which
            version to begin. Unset, a list shows the newest state and a watch begins with whatever there is.
        resource_version_match: How a list takes resourceVersion: Exact wants the state at that version, NotOlderThan
            that or any newer one. Not allowed without resourceVersion.
        timeout_seconds: After how many seconds the server ends the request, whatever happens meanwhile; unset, it
            chooses.
        limit: How many objects a page holds at most; where there are more, the list's metadata.continue leads to the
            next page. 0, the default, means all at once.
        continue_: The mark that the previous page came with; all other parameters must be the same as then. It expires
            after some minutes, which is answered by 410 Gone.
        send_initial_events: On a watch, begin with an ADDED event for each object there is, then a BOOKMARK with the
            annotation k8s.io/initial-events-end, then changes. Needs resourceVersionMatch=NotOlderThan.
    """

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


class WriteOptions(Struct):
    """How a write is carried out.

    Attributes:
        dry_run: `All` does everything but store the result; no other value is known.
        field_manager: The name under which changed fields are recorded in managedFields, at most 128 characters; by
            default taken from the User-Agent. Server-side apply insists on one.
        field_validation: What becomes of unknown and duplicate fields: Ignore drops them, Warn (the default) drops them
            and says so in a Warning header, Strict refuses the request.
    """

    dry_run: Annotated[list[str], wire(1)] = []
    field_manager: Annotated[str, wire(3)] = ""
    field_validation: Annotated[str, wire(4)] = ""


class CreateOptions(WriteOptions):
    """How an object is created."""


class PatchOptions(WriteOptions):
    """How an object is patched.

    Attributes:
        force: For server-side apply only: true takes over fields that others own, where the patch would be refused as a
            conflict otherwise.
    """

    force: Annotated[bool | None, wire(2)] = None


class UpdateOptions(WriteOptions):
    """How an object is replaced."""

    field_manager: Annotated[str, wire(2)] = ""
    field_validation: Annotated[str, wire(3)] = ""


class KindCondition(Struct):
    """What the conditions of many kinds are made of; each kind's has a name of its own in the API.

    Attributes:
        type: The question, in CamelCase, such as Ready; an object has at most one condition of a type.
        status: The answer: True, False or Unknown.
        last_transition_time: When status last changed from one answer to another.
        reason: Why the answer is what it is, as one CamelCase word for programs.
        message: The same for people, as a sentence; may be empty.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_transition_time: Annotated[Time, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""


class ProbedCondition(Struct):
    """What the conditions of kinds that are looked at by probes are made of.

    Attributes:
        type: The question, in CamelCase, such as Ready; an object has at most one condition of a type.
        status: The answer: True, False or Unknown.
        last_probe_time: When the question was last looked into; mostly unset.
        last_transition_time: When status last changed from one answer to another.
        reason: Why the answer is what it is, as one CamelCase word for programs.
        message: The same for people, as a sentence; may be empty.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    last_probe_time: Annotated[Time, wire(3)] = ""
    last_transition_time: Annotated[Time, wire(4)] = ""
    reason: Annotated[str, wire(5)] = ""
    message: Annotated[str, wire(6)] = ""


class Condition(Struct):
    """One question about an object (`type`), its answer (True, False or Unknown), and since when.

    Attributes:
        type: The question, in CamelCase, such as Ready; may have a domain in front. An object has at most one condition
            of a type.
        status: The answer: True, False or Unknown.
        observed_generation: The metadata.generation that the answer was found for; where it is older than the object's
            own, the answer is out of date.
        last_transition_time: When status last changed from one answer to another.
        reason: Why the answer is what it is, as one CamelCase word for programs; never empty.
        message: The same for people, as a sentence of at most 32768 characters; may be empty.
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
        key: The label's name, such as app.kubernetes.io/name.
        operator: In (the label has one of the values), NotIn (it has none of them, or is absent), Exists (it is there)
            or DoesNotExist.
        values: What In and NotIn compare with, at least one; must be empty for Exists and DoesNotExist.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class LabelSelector(Struct):
    """Chooses objects by their labels. All that is said must hold; an empty selector chooses everything, an absent one
    nothing.

    Attributes:
        match_labels: Labels that must be there with exactly these values; each is short for an In with one value.
        match_expressions: Further conditions on labels, all of which must hold together with matchLabels.
    """

    match_labels: Annotated[dict[str, str], wire(1)] = {}
    match_expressions: Annotated[list[LabelSelectorRequirement], wire(2, list_type="atomic")] = []


class Preconditions(Struct):
    """What must be true of the stored object for the request to go ahead; otherwise it is refused as a conflict.

    Attributes:
        uid: The object must have this uid, so that it is not a later one of the same name.
        resource_version: The object must be at exactly this version, so that nobody has changed it since.
    """

    uid: Annotated[str | None, wire(1)] = None
    resource_version: Annotated[str | None, wire(2)] = None


class FieldSelectorRequirement(Struct):
    """A field, and the values it must have, or must not.

    Attributes:
        key: The path of the field, such as spec.nodeName.
        operator: In, NotIn, Exists or DoesNotExist; others may follow.
        values: What In and NotIn compare with, at least one; must be empty for Exists and DoesNotExist.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class DeleteOptions(Struct):
    """How to delete: how gently, on what condition, and what becomes of dependents.

    Attributes:
        grace_period_seconds: How many seconds the object gets to end by itself; 0 is at once. Unset, the kind's own
            default holds (for a pod, terminationGracePeriodSeconds of its spec).
        preconditions: What must hold for the object to be deleted; by default nothing.
        orphan_dependents: The older way to say propagationPolicy: true is Orphan, false is Background. Not both may be
            given.
        propagation_policy: What becomes of objects that this one owns: Orphan leaves them, Background deletes them
            afterwards, Foreground deletes them first and keeps this object until they are gone. Unset, the kind's
            default holds, mostly Background.
        dry_run: `All` does everything but delete; no other value is known.
        ignore_store_read_error_with_cluster_breaking_potential: Delete even where the stored bytes cannot be read any
            more (a lost encryption key), skipping finalizers and preconditions. An alpha feature that can break the
            cluster; false by default.
    """

    api_version: str = ""
    kind: str = ""
    grace_period_seconds: Annotated[Int64 | None, wire(1)] = None
    preconditions: Annotated[Preconditions | None, wire(2)] = None
    orphan_dependents: Annotated[bool | None, wire(3)] = None
    propagation_policy: Annotated[str | None, wire(4)] = None
    dry_run: Annotated[list[str], wire(5, list_type="atomic")] = []
    ignore_store_read_error_with_cluster_breaking_potential: Annotated[bool | None, wire(6)] = None


class StatusCause(Struct):
    """One thing that is wrong with a request.

    Attributes:
        reason: What sort of fault it is, as one word for programs, such as FieldValueRequired.
        message: What is wrong, for people.
        field: The path of the field at fault, such as spec.containers[0].image; empty if it is not about one.
    """

    reason: Annotated[str, wire(1)] = ""
    message: Annotated[str, wire(2)] = ""
    field: Annotated[str, wire(3)] = ""


class StatusDetails(Struct):
    """What a failed request was about.

    Attributes:
        name: The name of the object asked for, if there was one.
        group: The API group of the resource; empty for the core group.
        kind: What was asked for; mostly the resource's plural, such as pods.
        uid: The uid of the object, if the request was about a certain one.
        causes: All that is wrong, one by one; a request that breaks several rules is told of each.
        retry_after_seconds: After how many seconds to try again; 0 where waiting will not help.
    """

    name: Annotated[str, wire(1)] = ""
    group: Annotated[str, wire(2)] = ""
    kind: Annotated[str, wire(3)] = ""
    uid: Annotated[str, wire(6)] = ""
    causes: Annotated[list[StatusCause], wire(4, list_type="atomic")] = []
    retry_after_seconds: Annotated[Int32, wire(5)] = 0


class ListMeta(Struct):
    """What every list has beside its items: the version it shows, and where the next page begins.

    Attributes:
        self_link: Was the URL of the list; nothing sets it any more.
        resource_version: The version of the collection that this list shows: a watch from here misses nothing. Opaque;
            compare it for equality only.
        continue_: Set where there are more objects than `limit` let through: give it back as the parameter `continue`
            for the next page.
        remaining_item_count: About how many objects the following pages hold. Unset on the last page, and where a
            selector makes it unknowable.
    """

    self_link: Annotated[str, wire(1)] = ""
    resource_version: Annotated[str, wire(2)] = ""
    continue_: Annotated[str, wire(3)] = ""
    remaining_item_count: Annotated[Int64 | None, wire(4)] = None


class Status(Struct):
    """How a request ended, where no object tells it: success without more to say, or a failure and its reasons.

    Attributes:
        metadata: What lists have; mostly empty here.
        status: Success or Failure.
        message: What happened, for people.
        reason: Why it failed, as one word for programs, such as NotFound, Conflict or Invalid; empty if that is not
            known.
        details: More about the failure, by reason: which object, which fields, when to try again.
        code: The HTTP status code that goes with it, such as 404; 0 is unknown.
    """

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
    """Which fields one manager last set, by one kind of operation and at one version (server-side apply).

    Attributes:
        manager: The name of the manager, as it gave it in fieldManager.
        operation: Apply for server-side apply, Update for every other write.
        api_version: The group and version that the fields are written in; fields of another version are converted
            before comparing.
        time: When the manager last changed the set of fields or a value in it, to the second.
        fields_type: How fieldsV1 is written; FieldsV1 is the only way there is.
        fields_v1: The fields as a tree: `f:NAME` is a field, `k:{...}` a list item by its keys, `v:VALUE` a set's
            member, and `.` the thing itself.
        subresource: Through which subresource the write came, such as status or scale; empty for the object itself.
    """

    manager: Annotated[str, wire(1)] = ""
    operation: Annotated[str, wire(2)] = ""
    api_version: Annotated[str, wire(3)] = ""
    time: Annotated[Time, wire(4)] = ""
    fields_type: Annotated[str, wire(6)] = ""
    fields_v1: Annotated[FieldsV1, wire(7)] = _NO_FIELDS
    subresource: Annotated[str, wire(8)] = ""


class OwnerReference(Struct):
    """Another object that this one depends on: once all of its owners are gone, the object is deleted. Owners are of
    the same namespace, or of none.

    Attributes:
        api_version: The owner's group and version, such as apps/v1.
        kind: The owner's kind, such as ReplicaSet.
        name: The owner's metadata.name.
        uid: The owner's metadata.uid; a later object of the same name is not the owner.
        controller: Whether the owner is the one that acts on this object; at most one is. False by default.
        block_owner_deletion: Whether an owner that is deleted in the foreground stays until this object is gone. Who
            sets it must be allowed to change the owner's finalizers. False by default.
    """

    api_version: Annotated[str, wire(5, required=True)] = always("")
    kind: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")
    uid: Annotated[str, wire(4, required=True)] = always("")
    controller: Annotated[bool | None, wire(6)] = None
    block_owner_deletion: Annotated[bool | None, wire(7)] = None


class ObjectMeta(Struct):
    """What every stored object has: a name, labels and notes of its users, and what the server keeps about it.

    Attributes:
        name: Unique among objects of the kind in the namespace, and never changed. For most kinds lower-case letters,
            digits, - and . up to 253 characters; left empty with generateName, the server makes one.
        generate_name: The beginning of a name for the server to complete with five random characters, where name is
            empty.
        namespace: The namespace in which the name is unique; objects that belong to the cluster as a whole have none.
            Empty in a request, it is taken from the URL. Never changes.
        self_link: Was the URL of the object; nothing sets it any more.
        uid: Set by the server and unique for all time: tells an object from a later one of the same name.
        resource_version: Changes with every write. Sent with an update, it must still be current, or the update is
            refused as a conflict; unset, the update overwrites. Opaque: compare for equality, watch from it, and
            nothing else.
        generation: Counts changes of what is wanted, mostly of spec, from 1. Controllers say in
            status.observedGeneration how far they have come.
        creation_timestamp: CreationTimestamp is a timestamp: when the server created the object. Clients cannot set it.
        deletion_timestamp: When the object is due to be gone. Set by the server when deletion is asked for, and never
            taken back; the object stays until then and until its finalizers are empty.
        deletion_grace_period_seconds: How many seconds the object was given to end, once it is being deleted. It can
            only shrink.
        labels: Names and values, at most 63 characters each (a name may have a domain in front), to find and to select
            objects by.
        annotations: Notes of people and programs by name, 256 KiB in all; nothing is selected by them.
        owner_references: Objects that this one depends on: it is deleted when all of them are gone. At most one is its
            controller.
        finalizers: Who must still do something before the object can go; each takes its own entry away. An object that
            is being deleted gets no new ones.
        managed_fields: Who last set which fields, kept by the server for server-side apply. An empty list makes it
            forget.
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
    """What tells of which kind an object is."""

    kind: str = ""
    api_version: str = ""


_GENERATION_MAX: Final = 2**63 - 1


def generation_after(generation: int) -> int:
    """Return the next generation; the largest number of 64 bits, which whoever made the object gave it, has none."""
    return min(generation + 1, _GENERATION_MAX)

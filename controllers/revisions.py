"""ControllerRevisions: what the template of a DaemonSet or StatefulSet was at each time. Pure.

A revision's data is a strategic merge patch that replaces the template, its keys in order, just as kubectl makes one
to compare and sends one back for `kubectl rollout undo`. A template that was there before gets its old revision back,
under a new, highest number. The name follows from the content, so a repeated create meets AlreadyExists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api.apps import controllerrevision as controllerrevisions
from api.apps.controllerrevision import ControllerRevision
from api.core.pod import PodTemplateSpec
from api.meta import ObjectMeta
from client.verbs import key_of
from controllers.actions import Create, Delete, Patch
from controllers.ownership import (
    reference_as_controller,
)
from controllers.short_hash import short_hash

HASH_LABEL = "controller-revision-hash"
"""On pods: which revision they are of."""
_PREFIX_LENGTH_MAX = 223


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of one owner, and where its present template stands among them."""

    current: ControllerRevision | None
    """The present template's, under the highest number; None until it is."""
    others: Sequence[ControllerRevision]
    """The rest, oldest first."""
    step: Create | Patch | None = None
    """What gives the present template its revision; take it, and look again."""
    is_name_taken: bool = False
    """Something else has the name: count a collision, and look again."""


def data_of(template: PodTemplateSpec) -> Any:
    """Return the patch that makes any template into this one."""
    document = msgspec.to_builtins(template)
    # Go's encoding, which kubectl compares with, always writes this field.
    document["metadata"] = {"creationTimestamp": None, **document.get("metadata", {})}
    document["$patch"] = "replace"
    return msgspec.json.decode(msgspec.json.encode({"spec": {"template": document}}, order="sorted"))


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    """Return the template that a revision remembers; an empty one if somebody wrote something else into it."""
    try:
        document = dict(revision.data["spec"]["template"])
        document.pop("$patch", None)
        metadata = dict(document.get("metadata") or {})
        metadata.pop("creationTimestamp", None)
        return msgspec.convert({**document, "metadata": metadata}, PodTemplateSpec)
    except (KeyError, TypeError, ValueError):
        return PodTemplateSpec()


def hash_of(owner: Any) -> str:
    """Return the short name of the owner's present template."""
    return short_hash(msgspec.json.encode(data_of(owner.spec.template)), owner.status.collision_count or 0)


def name_of(owner: Any) -> str:
    """Return the name that a revision of the owner's present template gets."""
    return f"{owner.metadata.name[:_PREFIX_LENGTH_MAX]}-{hash_of(owner)}"


def settle(
    owner: Any,
    owned: Iterable[ControllerRevision],
    name_holder: ControllerRevision | None,
    labels: Callable[[str], Mapping[str, str]],
) -> History:
    """Find the present template's revision among `owned`, or say how it comes to be.

    Args:
        owner: whose template.
        owned: the revisions it controls.
        name_holder: whatever has the name that `name_of` gives.
        labels: from the hash to the labels, beside the template's, of a new revision.
    """
    known = by_number(owned)
    equal = [each for each in known if template_of(each) == owner.spec.template]
    if equal:
        current = equal[-1]
        others = [each for each in known if each is not current]
        if current is known[-1]:
            return History(current, others)
        metadata = {"uid": current.metadata.uid, "resourceVersion": current.metadata.resource_version}
        change = {"metadata": metadata, "revision": known[-1].revision + 1}
        return History(None, others, Patch(controllerrevisions.RESOURCE, key_of(current), change))
    if name_holder is not None:
        return History(None, known, is_name_taken=True)
    made = ControllerRevision(
        metadata=ObjectMeta(
            name=name_of(owner),
            namespace=owner.metadata.namespace,
            labels={**owner.spec.template.metadata.labels, **labels(hash_of(owner))},
            annotations=owner.metadata.annotations,
            owner_references=[reference_as_controller(owner)],
        ),
        data=data_of(owner.spec.template),
        revision=known[-1].revision + 1 if known else 1,
    )
    return History(None, known, Create(controllerrevisions.RESOURCE, made))


def by_number(revisions: Iterable[ControllerRevision]) -> list[ControllerRevision]:
    """Sort oldest first."""
    return sorted(revisions, key=lambda each: (each.revision, each.metadata.creation_timestamp, each.metadata.name))


def forget(unused: Sequence[ControllerRevision], count: int) -> list[Delete]:
    """Return the deletions of the `count` oldest revisions."""
    return [
        Delete(controllerrevisions.RESOURCE, key_of(each), each.metadata.uid)
        for each in by_number(unused)[: max(0, count)]
    ]

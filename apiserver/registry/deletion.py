"""What a delete means for an object: gone at once, or marked and waited for. Pure.

Three things can hold an object back: a grace period (pods on a node), finalizers (garbage collection adds
`foregroundDeletion` and `orphan`), and a Namespace's own `spec.finalizers`, which stay until its content is gone.
An object held back gets a deletionTimestamp; whoever takes the last hold away deletes it by that very write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from api import timestamps
from api.meta import DeleteOptions, generation_after
from api.resource import Resource
from apiserver.registry.failures import invalid_options

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
ANSWERS_WITH_OBJECT: Final = frozenset(
    {
        "csidrivers.storage.k8s.io", "csinodes.storage.k8s.io", "persistentvolumeclaims", "persistentvolumes", "pods",
        "podtemplates", "resourcequotas", "serviceaccounts", "services", "storageclasses.storage.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)  # fmt: skip
"""Resources whose delete answers with what was deleted; the others answer with a Status."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the object from the store; `object` is what it was at the end."""

    object: Any


@dataclass(frozen=True, slots=True)
class Put:
    """Store this object."""

    object: Any


@dataclass(frozen=True, slots=True)
class Keep:
    """Write nothing: what was asked for is so already."""


Write = Remove | Put | Keep


_MARKED_ALONE: Final = {("", "Namespace"), ("apiextensions.k8s.io", "CustomResourceDefinition")}
"""Upstream deletes these in a way of its own: it says when, and nothing of a grace period or of a change."""


def decide_delete(resource: Resource[Any], obj: Any, options: DeleteOptions, now: float) -> Write:
    """Say what deleting `obj` (a private copy, changed here) writes.

    Raises:
        Invalid: the options contradict each other.
    """
    metadata = obj.metadata
    resource.prepare_for_delete(obj)
    before = (list(metadata.finalizers), metadata.deletion_timestamp, metadata.deletion_grace_period_seconds)
    metadata.finalizers = _finalizers(resource, metadata.finalizers, options)
    grace_s = _grace_period_s(resource, obj, options)
    if metadata.deletion_timestamp:
        previous_s = metadata.deletion_grace_period_seconds or 0
        if grace_s < previous_s:
            # A grace period only shrinks; the deadline moves with it.
            asked_at = timestamps.parse(metadata.deletion_timestamp) - previous_s
            metadata.deletion_timestamp = timestamps.render(asked_at + grace_s)
            metadata.deletion_grace_period_seconds = grace_s
    elif (resource.group, resource.kind) in _MARKED_ALONE:
        metadata.deletion_timestamp = timestamps.render(now)
    else:
        metadata.deletion_timestamp = timestamps.render(now + grace_s)
        metadata.deletion_grace_period_seconds = grace_s
        if metadata.generation > 0:
            metadata.generation = generation_after(metadata.generation)
    if is_releasable(obj):
        return Remove(obj)
    if before == (metadata.finalizers, metadata.deletion_timestamp, metadata.deletion_grace_period_seconds):
        return Keep()
    if resource.kind == "Namespace" and not resource.group:
        obj.status.phase = "Terminating"
    return Put(obj)


def is_releasable(obj: Any) -> bool:
    """Whether nothing holds back an object that is being deleted."""
    metadata = obj.metadata
    if not metadata.deletion_timestamp or metadata.finalizers or metadata.deletion_grace_period_seconds:
        return False
    return obj.kind != "Namespace" or obj.api_version != "v1" or not obj.spec.finalizers


def check_options(options: DeleteOptions) -> None:
    """Refuse options that contradict each other or name no policy."""
    policy = options.propagation_policy
    if policy is not None and options.orphan_dependents is not None:
        why = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        raise invalid_options("DeleteOptions", "propagationPolicy", "FieldValueInvalid", why)
    if policy not in (None, "Background", "Foreground", "Orphan"):
        why = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
        raise invalid_options("DeleteOptions", "propagationPolicy", "FieldValueNotSupported", why)
    if (options.grace_period_seconds or 0) < 0:
        options.grace_period_seconds = 1  # as upstream has it


def names_policy(options: DeleteOptions) -> bool:
    """Whether the options say what becomes of what the object owns."""
    return options.orphan_dependents is not None or options.propagation_policy is not None


def _finalizers(resource: Resource[Any], present: list[str], options: DeleteOptions) -> list[str]:
    wanted: set[str] | None = None
    if resource.orphans_by_default and not {FOREGROUND, ORPHAN} & set(present):
        wanted = {ORPHAN}
    if options.orphan_dependents is not None:
        wanted = {ORPHAN} if options.orphan_dependents else set()
    match options.propagation_policy:
        case "Foreground":
            wanted = {FOREGROUND}
        case "Orphan":
            wanted = {ORPHAN}
        case "Background":
            wanted = set()
    if wanted is None:
        return list(present)
    kept = [name for name in present if name not in (FOREGROUND, ORPHAN)]
    return kept + sorted(wanted)


def _grace_period_s(resource: Resource[Any], obj: Any, options: DeleteOptions) -> int:
    if resource.graceful_period_s is None:
        return 0
    return max(resource.graceful_period_s(obj, options.grace_period_seconds) or 0, 0)

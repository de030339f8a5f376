"""What the kinds that run pods of one template share: their selector, template and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api import validation as v
from api.core.pod import PodTemplateSpec
from api.core.pod_validation import check_workload_template
from api.meta import LabelSelector
from api.selectors import of_label_selector

_UNREADABLE: Final = {"Deployment": "invalid label selector", "ReplicaSet": "invalid label selector", "StatefulSet": ""}
"""What is said of a selector as a whole, beside what is wrong in it."""


def check_selector_and_template(selector: LabelSelector | None, template: PodTemplateSpec, kind: str) -> v.Errors:
    """Check the selector of a workload, the template of its pods, and that they belong together."""
    wrong = list(v.check_label_selector("spec.selector", selector))
    if selector is None:
        if kind != "DaemonSet":  # Whose template no selector fits anyway.
            yield v.required("spec.selector")
    elif not selector.match_labels and not selector.match_expressions:
        of_kind = "deployment" if kind == "ReplicaSet" else kind.lower()
        yield v.invalid("spec.selector", selector, f"empty selector is invalid for {of_kind}")
    yield from wrong
    if wrong and kind in _UNREADABLE:
        yield v.invalid("spec.selector", selector, _UNREADABLE[kind])
    if not wrong:
        matches = of_label_selector(selector).matches(template.metadata.labels)
        yield from check_workload_template("spec.template", template, matches=matches, kind=kind)


def check_replica_counts(counts: Mapping[str, int], ready: str = "readyReplicas") -> v.Errors:
    """Check that the counts of a status make sense together.

    Args:
        counts: by field name; `replicas`, `readyReplicas` and `availableReplicas` are among them.
        ready: how the message names the field of ready replicas.
    """
    for name, count in counts.items():
        yield from v.check_not_negative(f"status.{name}", count)
        if count > counts["replicas"]:
            yield v.invalid(f"status.{name}", count, "cannot be greater than status.replicas")
    available = counts["availableReplicas"]
    if available > counts["readyReplicas"]:
        yield v.invalid("status.availableReplicas", available, f"cannot be greater than {ready}")


def validate_replica_status(new: Any, old: Any) -> v.Errors:
    """Check that the counts of a ReplicaSet's or a ReplicationController's status make sense together."""
    status = new.status
    counts = {
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
    }
    yield from check_replica_counts(counts)
    yield from v.check_not_negative("status.observedGeneration", status.observed_generation)


def check_observed(new: Any, old: Any) -> v.Errors:
    """Check which generation a status is about, and that its count of names already taken only grows."""
    yield from v.check_not_negative("status.observedGeneration", new.observed_generation)
    now, before = new.collision_count, old.collision_count
    yield from v.check_not_negative("status.collisionCount", now)
    if before is not None and (now is None or now < before):
        yield v.invalid("status.collisionCount", now or 0, "cannot be decremented")

"""PodDisruptionBudget: how many pods of a kind may be taken away at once on purpose."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE
from api.condition_validation import check_conditions
from api.meta import Condition, LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Int64, IntOrString, Struct, Time, always, field, wire


class PodDisruptionBudgetStatus(Struct):
    """How many pods may be evicted now, and what that was counted from.

    Attributes:
        observed_generation: The metadata.generation that these numbers belong to; where it is older, evictions are
            refused.
        disrupted_pods: Pods whose eviction was granted but is not seen yet, with the time of the grant.
        disruptions_allowed: How many pods may be evicted now.
        current_healthy: How many pods are healthy.
        desired_healthy: How many must be.
        expected_pods: How many pods there should be, by their controllers.
        conditions: DisruptionAllowed: whether an eviction would be granted now.
    """

    observed_generation: Annotated[Int64, wire(1)] = 0
    disrupted_pods: Annotated[dict[str, Time], wire(2)] = {}
    disruptions_allowed: Annotated[Int32, wire(3, required=True)] = always(0)
    current_healthy: Annotated[Int32, wire(4, required=True)] = always(0)
    desired_healthy: Annotated[Int32, wire(5, required=True)] = always(0)
    expected_pods: Annotated[Int32, wire(6, required=True)] = always(0)
    conditions: Annotated[list[Condition], wire(7, merge_key="type", list_type="map", list_keys=("type",))] = []


class PodDisruptionBudgetSpec(Struct):
    """Which pods, and how many must stay or may go.

    Attributes:
        min_available: How many pods must stay healthy: a number, or a share such as 50%, rounded up. Not together with
            maxUnavailable.
        selector: Which pods of the namespace; an empty selector is all of them, an absent one none.
        max_unavailable: How many pods may be missing: a number, or a share such as 50%, rounded up. Not together with
            minAvailable; only for pods with a controller.
        unhealthy_pod_eviction_policy: When running pods that are not ready may be evicted: IfHealthyBudget (the
            default) only while enough others are healthy, AlwaysAllow at any time.
    """

    min_available: Annotated[IntOrString | None, wire(1)] = None
    selector: Annotated[LabelSelector | None, wire(2, patch="replace")] = None
    max_unavailable: Annotated[IntOrString | None, wire(3)] = None
    unhealthy_pod_eviction_policy: Annotated[str | None, wire(4)] = None


class PodDisruptionBudget(Struct):
    """How many pods of an application may be evicted at once, as when nodes are drained."""

    api_version: str = always("policy/v1")
    kind: str = always("PodDisruptionBudget")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PodDisruptionBudgetSpec, wire(2)] = field(default_factory=PodDisruptionBudgetSpec)
    status: Annotated[PodDisruptionBudgetStatus, wire(3)] = field(default_factory=PodDisruptionBudgetStatus)


def validate(new: PodDisruptionBudget, old: PodDisruptionBudget | None) -> v.Errors:
    """Check that the budget is said in one way, and which pods it is about."""
    spec = new.spec
    if spec.min_available is not None and spec.max_unavailable is not None:
        yield v.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for label, value in (("minAvailable", spec.min_available), ("maxUnavailable", spec.max_unavailable)):
        yield from v.check_share(f"spec.{label}", value)
        if isinstance(value, str) and v.percent(value) > 100:
            yield v.invalid(f"spec.{label}", value, "must not be greater than 100%")
    yield from v.check_label_selector("spec.selector", spec.selector)
    if spec.unhealthy_pod_eviction_policy is not None:
        yield from v.check_given(
            "spec.unhealthyPodEvictionPolicy",
            spec.unhealthy_pod_eviction_policy,
            ("AlwaysAllow", "IfHealthyBudget"),
        )


def validate_status(new: PodDisruptionBudget, old: PodDisruptionBudget) -> v.Errors:
    """Check the counts."""
    status = new.status
    counts = {
        "disruptionsAllowed": status.disruptions_allowed,
        "currentHealthy": status.current_healthy,
        "desiredHealthy": status.desired_healthy,
        "expectedPods": status.expected_pods,
    }
    yield from check_conditions("status.conditions", status.conditions)
    yield from v.check_counts("status", counts)


def _shown(value: int | str | None) -> str:
    return "N/A" if value is None else str(value)


RESOURCE: Final[Resource[PodDisruptionBudget]] = Resource(
    type=PodDisruptionBudget,
    group="policy",
    version="v1",
    kind="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    namespaced=True,
    short_names=("pdb",),
    subresources=("status",),
    validate=validate,
    validate_status=validate_status,
    generation=True,
    columns=(
        Column("Min Available", "string", lambda pdb, now: _shown(pdb.spec.min_available), "How many must stay."),
        Column("Max Unavailable", "string", lambda pdb, now: _shown(pdb.spec.max_unavailable), "How many may be away."),
        Column(
            "Allowed Disruptions", "integer", lambda pdb, now: pdb.status.disruptions_allowed, "How many may go now."
        ),
        AGE,
    ),
)

"""DaemonSet: one pod of a template on every node that matches."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.apps.workloads import check_observed, check_selector_and_template
from api.columns import AGE, labels_text, workload_columns
from api.core import gated
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_warnings import warn_of_template
from api.go_types import int_or_string
from api.meta import KindCondition, LabelSelector, ObjectMeta
from api.resource import Column, Resource, clear_status, keep_status, keep_wishes
from api.schema import Int32, Int64, IntOrString, Struct, always, field, wire

TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"
"""An annotation: how often the template has changed. The server keeps it, as pods once told their age by it."""


class DaemonSetCondition(KindCondition):
    """One question about a DaemonSet (`type`), its answer, and since when."""


class DaemonSetStatus(Struct):
    """On how many nodes a DaemonSet has its pod, and on how many it should.

    Attributes:
        current_number_scheduled: How many nodes have the pod and should.
        number_misscheduled: How many nodes have the pod and should not.
        desired_number_scheduled: How many nodes should have the pod.
        number_ready: How many nodes have the pod, and it is ready.
        observed_generation: The metadata.generation that these numbers belong to.
        updated_number_scheduled: How many nodes have the pod of the present template.
        number_available: How many nodes have the pod, and it has been ready for minReadySeconds.
        number_unavailable: How many nodes should have the pod but have none that is available.
        collision_count: How often the name for a new ControllerRevision was taken; makes the next one different.
        conditions: Answers to questions about the DaemonSet; none is known today.
    """

    current_number_scheduled: Annotated[Int32, wire(1, required=True)] = always(0)
    number_misscheduled: Annotated[Int32, wire(2, required=True)] = always(0)
    desired_number_scheduled: Annotated[Int32, wire(3, required=True)] = always(0)
    number_ready: Annotated[Int32, wire(4, required=True)] = always(0)
    observed_generation: Annotated[Int64, wire(5)] = 0
    updated_number_scheduled: Annotated[Int32, wire(6)] = 0
    number_available: Annotated[Int32, wire(7)] = 0
    number_unavailable: Annotated[Int32, wire(8)] = 0
    collision_count: Annotated[Int32 | None, wire(9)] = None
    conditions: Annotated[
        list[DaemonSetCondition], wire(10, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class RollingUpdateDaemonSet(Struct):
    """How many nodes may be without a pod, or have two, while pods are replaced.

    Attributes:
        max_unavailable: How many nodes may be without a pod: a number, or a share such as 10%, rounded up; 1 by
            default. Either this or maxSurge must be 0, but not both.
        max_surge: How many nodes may have an old and a new pod at once: a number, or a share, rounded up; 0 by default.
            Either this or maxUnavailable must be 0, but not both.
    """

    max_unavailable: Annotated[IntOrString | None, wire(1)] = None
    max_surge: Annotated[IntOrString | None, wire(2)] = None


class DaemonSetUpdateStrategy(Struct):
    """How old pods give way to new ones.

    Attributes:
        type: RollingUpdate (the default) replaces pods when the template changes; OnDelete only those that somebody
            deletes.
        rolling_update: How many at a time; only with RollingUpdate.
    """

    type: Annotated[str, wire(1)] = ""
    rolling_update: Annotated[RollingUpdateDaemonSet | None, wire(2)] = None


class DaemonSetSpec(Struct):
    """What the pods shall be, and how they are replaced.

    Attributes:
        selector: Which pods are its own; the template's labels must match it. Never changes.
        template: What the pods shall be; its node selector and affinity say on which nodes, and all nodes by default.
        update_strategy: How old pods give way to new ones.
        min_ready_seconds: For how many seconds a pod must be ready to count as available; 0 by default.
        revision_history_limit: How many old templates are kept for `kubectl rollout undo`; 10 by default.
    """

    selector: Annotated[LabelSelector | None, wire(1, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(2, required=True)] = field(default_factory=PodTemplateSpec)
    update_strategy: Annotated[DaemonSetUpdateStrategy, wire(3)] = field(default_factory=DaemonSetUpdateStrategy)
    min_ready_seconds: Annotated[Int32, wire(4)] = 0
    revision_history_limit: Annotated[Int32 | None, wire(6)] = None


class DaemonSet(Struct):
    """One pod of a template on every node, or on every node that the template allows."""

    api_version: str = always("apps/v1")
    kind: str = always("DaemonSet")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[DaemonSetSpec, wire(2)] = field(default_factory=DaemonSetSpec)
    status: Annotated[DaemonSetStatus, wire(3)] = field(default_factory=DaemonSetStatus)


def default(daemon_set: DaemonSet) -> None:
    """Replaced by rolling updates, one node at a time; ten old versions are kept."""
    spec = daemon_set.spec
    if spec.revision_history_limit is None:
        spec.revision_history_limit = 10
    strategy = spec.update_strategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rolling_update = strategy.rolling_update or RollingUpdateDaemonSet()
        if rolling.max_unavailable is None:
            rolling.max_unavailable = 1
        if rolling.max_surge is None:
            rolling.max_surge = 0
    default_template(spec.template)


def validate(new: DaemonSet, old: DaemonSet | None) -> v.Errors:
    """Check selector, template and strategy; the selector never changes."""
    spec = new.spec
    yield from check_selector_and_template(spec.selector, spec.template, "DaemonSet")
    yield from _check_strategy("spec.updateStrategy", spec.update_strategy)
    yield from v.check_not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    yield from v.check_not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    if old is not None:
        yield from v.check_immutable("spec.selector", spec.selector, old.spec.selector)


def template_generation(daemon_set: DaemonSet) -> int:
    """Return how often the template has changed, itself being the first; 0 where nothing readable tells."""
    text = daemon_set.metadata.annotations.get(TEMPLATE_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _note_template(daemon_set: DaemonSet, generation: int) -> None:
    annotations = {**daemon_set.metadata.annotations, TEMPLATE_GENERATION: str(generation)}
    daemon_set.metadata.annotations = annotations


def prepare_for_create(new: DaemonSet) -> None:
    """Begin with nothing observed, and count templates from one."""
    clear_status(new)
    _note_template(new, max(1, template_generation(new)))


def prepare_for_update(new: DaemonSet, old: DaemonSet) -> None:
    """Keep what was observed; count a template that is another one."""
    keep_status(new, old)
    _note_template(new, template_generation(old) + (new.spec.template != old.spec.template))


def prepare_for_status_update(new: DaemonSet, old: DaemonSet) -> None:
    """Keep the spec, and with it the number of its template."""
    keep_wishes(new, old)
    _note_template(new, template_generation(old))


def _check_strategy(path: str, strategy: DaemonSetUpdateStrategy) -> v.Errors:
    if strategy.type not in ("RollingUpdate", "OnDelete"):
        yield v.not_supported(path, strategy, ("RollingUpdate", "OnDelete"), in_order=True)
    rolling, where = strategy.rolling_update, f"{path}.rollingUpdate"
    if strategy.type != "RollingUpdate":
        return
    if rolling is None:
        yield v.required(where)
        return
    yield from v.check_share(f"{where}.maxUnavailable", rolling.max_unavailable)
    yield from v.check_share(f"{where}.maxSurge", rolling.max_surge)
    has_unavailable, has_surge = rolling.max_unavailable not in (0, "0%"), rolling.max_surge not in (0, "0%")
    if has_unavailable and has_surge:
        yield v.invalid(
            f"{where}.maxSurge", int_or_string(rolling.max_surge or 0), "may not be set when maxUnavailable is non-zero"
        )
    if not has_unavailable and not has_surge:
        yield v.required(f"{where}.maxUnavailable", "cannot be 0 when maxSurge is 0")
    for label, value in (("maxUnavailable", rolling.max_unavailable), ("maxSurge", rolling.max_surge)):
        if isinstance(value, str) and v.percent(value) > 100:
            yield v.invalid(f"{where}.{label}", value, "must not be greater than 100%")


def validate_status(new: DaemonSet, old: DaemonSet) -> v.Errors:
    """Check the counts."""
    status = new.status
    counts = {
        "currentNumberScheduled": status.current_number_scheduled,
        "numberMisscheduled": status.number_misscheduled,
        "desiredNumberScheduled": status.desired_number_scheduled,
        "numberReady": status.number_ready,
        "updatedNumberScheduled": status.updated_number_scheduled,
        "numberAvailable": status.number_available,
        "numberUnavailable": status.number_unavailable,
    }
    yield from v.check_counts("status", counts)
    yield from check_observed(status, old.status)


RESOURCE: Final[Resource[DaemonSet]] = Resource(
    type=DaemonSet,
    group="apps",
    version="v1",
    kind="DaemonSet",
    plural="daemonsets",
    namespaced=True,
    short_names=("ds",),
    categories=("all",),
    subresources=("status",),
    default=default,
    drop_gated=gated.drop_of_template,
    validate=validate,
    warn=warn_of_template,
    prepare_for_create=prepare_for_create,
    prepare_for_update=prepare_for_update,
    prepare_for_status_update=prepare_for_status_update,
    validate_status=validate_status,
    generation=True,
    columns=(
        Column("Desired", "integer", lambda ds, now: ds.status.desired_number_scheduled, "How many nodes match."),
        Column("Current", "integer", lambda ds, now: ds.status.current_number_scheduled, "How many have a pod."),
        Column("Ready", "integer", lambda ds, now: ds.status.number_ready, "How many of these pods are ready."),
        Column(
            "Up-to-date", "integer", lambda ds, now: ds.status.updated_number_scheduled, "How many are of this version."
        ),
        Column("Available", "integer", lambda ds, now: ds.status.number_available, "How many can be counted on."),
        Column(
            "Node Selector", "string", lambda ds, now: labels_text(ds.spec.template.spec.node_selector), "Which nodes."
        ),
        AGE,
        *workload_columns(),
    ),
)

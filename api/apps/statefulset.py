"""StatefulSet: pods with names and storage of their own, made and replaced in order."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from api import validation as v
from api.apps.workloads import check_observed, check_replica_counts, check_selector_and_template
from api.columns import AGE, workload_columns
from api.core import gated
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.persistentvolumeclaim import default as default_claim
from api.core.pod import PodTemplateSpec
from api.core.pod_defaults import default_template
from api.core.pod_warnings import Warnings, warn_of_claim_spec, warn_of_template
from api.meta import KindCondition, LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Int64, IntOrString, Struct, always, field, wire


class StatefulSetCondition(KindCondition):
    """One question about a StatefulSet (`type`), its answer, and since when."""


class StatefulSetStatus(Struct):
    """How many pods a StatefulSet has, and how far an update of them is.

    Attributes:
        observed_generation: The metadata.generation that these numbers belong to.
        replicas: How many pods there are.
        ready_replicas: How many are ready.
        current_replicas: How many are of the revision currentRevision.
        updated_replicas: How many are of the revision updateRevision.
        current_revision: The ControllerRevision that pods not yet updated are of.
        update_revision: The ControllerRevision that pods are being brought to.
        collision_count: How often the name for a new ControllerRevision was taken; makes the next one different.
        conditions: Answers to questions about the StatefulSet; none is known today.
        available_replicas: How many have been ready for minReadySeconds.
    """

    observed_generation: Annotated[Int64, wire(1)] = 0
    replicas: Annotated[Int32, wire(2, required=True)] = always(0)
    ready_replicas: Annotated[Int32, wire(3)] = 0
    current_replicas: Annotated[Int32, wire(4)] = 0
    updated_replicas: Annotated[Int32, wire(5)] = 0
    current_revision: Annotated[str, wire(6)] = ""
    update_revision: Annotated[str, wire(7)] = ""
    collision_count: Annotated[Int32 | None, wire(9)] = None
    conditions: Annotated[
        list[StatefulSetCondition], wire(10, merge_key="type", list_type="map", list_keys=("type",))
    ] = []
    available_replicas: Annotated[Int32, wire(11)] = always(0)


class StatefulSetOrdinals(Struct):
    """How the pods are numbered.

    Attributes:
        start: The number of the first pod; 0 by default. The last is start + replicas - 1.
    """

    start: Annotated[Int32, wire(1)] = 0


class StatefulSetPersistentVolumeClaimRetentionPolicy(Struct):
    """What becomes of the pods' claims, and so of their data, when they are not needed any more.

    Attributes:
        when_deleted: When the StatefulSet is deleted: Retain (the default) keeps the claims, Delete deletes them.
        when_scaled: When it gets fewer replicas: Retain (the default) keeps the claims of pods that went, Delete
            deletes them.
    """

    when_deleted: Annotated[str, wire(1)] = ""
    when_scaled: Annotated[str, wire(2)] = ""


class RollingUpdateStatefulSetStrategy(Struct):
    """Which pods are replaced, and how many at a time.

    Attributes:
        partition: Only pods with this number or a higher one are replaced; 0 by default, which is all.
        max_unavailable: How many pods may be missing at once: a number, or a share such as 10%, rounded up; 1 by
            default. Alpha: without its feature gate, always 1.
    """

    partition: Annotated[Int32 | None, wire(1)] = None
    max_unavailable: Annotated[IntOrString | None, wire(2)] = None


class StatefulSetUpdateStrategy(Struct):
    """How old pods give way to new ones.

    Attributes:
        type: RollingUpdate (the default) replaces pods from the highest number down; OnDelete only those that somebody
            deletes.
        rolling_update: Which, and how many at a time; only with RollingUpdate.
    """

    type: Annotated[str, wire(1)] = ""
    rolling_update: Annotated[RollingUpdateStatefulSetStrategy | None, wire(2)] = None


class StatefulSetSpec(Struct):
    """What the pods shall be, how many, and what storage each has.

    Attributes:
        replicas: How many pods there shall be; 1 by default. They are called NAME-0, NAME-1 and so on.
        selector: Which pods are its own; the template's labels must match it. Never changes.
        template: What the pods shall be; each also gets its name, its claims and a label with its number. The
            restartPolicy must be Always.
        volume_claim_templates: Of each of these a claim is made for each pod, called TEMPLATE-POD, and found again by a
            later pod of that name. Never changes.
        service_name: The headless Service, made by you, by which the pods have names in DNS: POD.SERVICE.NAMESPACE.svc.
            Never changes.
        pod_management_policy: OrderedReady (the default) makes and removes pods one after the other, each waiting for
            the one before; Parallel all at once. Never changes.
        update_strategy: How old pods give way to new ones.
        revision_history_limit: How many old templates are kept for `kubectl rollout undo`; 10 by default.
        min_ready_seconds: For how many seconds a pod must be ready to count as available; 0 by default.
        persistent_volume_claim_retention_policy: What becomes of the claims when the set is deleted or scaled down;
            they are kept by default.
        ordinals: How the pods are numbered; from 0 by default.
    """

    replicas: Annotated[Int32 | None, wire(1)] = None
    selector: Annotated[LabelSelector | None, wire(2, required=True)] = None
    template: Annotated[PodTemplateSpec, wire(3, required=True)] = field(default_factory=PodTemplateSpec)
    volume_claim_templates: Annotated[list[PersistentVolumeClaim], wire(4, list_type="atomic")] = []
    service_name: Annotated[str, wire(5, required=True)] = always("")
    pod_management_policy: Annotated[str, wire(6)] = ""
    update_strategy: Annotated[StatefulSetUpdateStrategy, wire(7)] = field(default_factory=StatefulSetUpdateStrategy)
    revision_history_limit: Annotated[Int32 | None, wire(8)] = None
    min_ready_seconds: Annotated[Int32, wire(9)] = 0
    persistent_volume_claim_retention_policy: Annotated[
        StatefulSetPersistentVolumeClaimRetentionPolicy | None, wire(10)
    ] = None
    ordinals: Annotated[StatefulSetOrdinals | None, wire(11)] = None


class StatefulSet(Struct):
    """Pods with lasting names and storage of their own, numbered from 0."""

    api_version: str = always("apps/v1")
    kind: str = always("StatefulSet")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[StatefulSetSpec, wire(2)] = field(default_factory=StatefulSetSpec)
    status: Annotated[StatefulSetStatus, wire(3)] = field(default_factory=StatefulSetStatus)


def default(stateful_set: StatefulSet) -> None:
    """One replica, pods one after the other, replaced by rolling updates, storage kept."""
    spec = stateful_set.spec
    spec.pod_management_policy = spec.pod_management_policy or "OrderedReady"
    strategy = spec.update_strategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rolling_update = strategy.rolling_update or RollingUpdateStatefulSetStrategy()
        if rolling.partition is None:
            rolling.partition = 0
    retention = spec.persistent_volume_claim_retention_policy or StatefulSetPersistentVolumeClaimRetentionPolicy()
    retention.when_deleted = retention.when_deleted or "Retain"
    retention.when_scaled = retention.when_scaled or "Retain"
    spec.persistent_volume_claim_retention_policy = retention
    if spec.replicas is None:
        spec.replicas = 1
    if spec.revision_history_limit is None:
        spec.revision_history_limit = 10
    for claim in spec.volume_claim_templates:
        default_claim(claim)
    default_template(spec.template)


_UPDATABLE: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy',"
    " 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def validate(new: StatefulSet, old: StatefulSet | None) -> v.Errors:
    """Check numbers, selector, template and policies; most of the rest never changes."""
    spec = new.spec
    if spec.pod_management_policy not in ("OrderedReady", "Parallel"):
        policy = spec.pod_management_policy
        yield v.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    yield from _check_strategy("spec.updateStrategy", spec.update_strategy)
    retention = spec.persistent_volume_claim_retention_policy
    if retention is not None:
        where = "spec.persistentVolumeClaimRetentionPolicy"
        yield from v.check_supported(f"{where}.whenDeleted", retention.when_deleted, ("Delete", "Retain"))
        yield from v.check_supported(f"{where}.whenScaled", retention.when_scaled, ("Delete", "Retain"))
    yield from v.check_not_negative("spec.replicas", spec.replicas)
    yield from v.check_not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    if spec.ordinals is not None:
        yield from v.check_not_negative("spec.ordinals.start", spec.ordinals.start)
    yield from check_selector_and_template(spec.selector, spec.template, "StatefulSet")
    if old is not None:
        allowed = msgspec.structs.replace(
            old.spec,
            replicas=spec.replicas,
            ordinals=spec.ordinals,
            template=spec.template,
            update_strategy=spec.update_strategy,
            persistent_volume_claim_retention_policy=retention,
            min_ready_seconds=spec.min_ready_seconds,
        )
        if allowed != spec:
            yield v.forbidden("spec", _UPDATABLE)


def _check_strategy(path: str, strategy: StatefulSetUpdateStrategy) -> v.Errors:
    if strategy.type not in ("OnDelete", "RollingUpdate"):
        yield v.invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")
    rolling, where = strategy.rolling_update, f"{path}.rollingUpdate"
    if strategy.type == "OnDelete" and rolling is not None:
        yield v.invalid(where, rolling, "only allowed for updateStrategy 'RollingUpdate'")
    if strategy.type == "RollingUpdate" and rolling is not None:
        yield from v.check_not_negative(f"{where}.partition", rolling.partition)
        yield from v.check_share(f"{where}.maxUnavailable", rolling.max_unavailable)


def validate_status(new: StatefulSet, old: StatefulSet) -> v.Errors:
    """Check that the counts make sense together."""
    status = new.status
    counts = {
        "replicas": status.replicas,
        "readyReplicas": status.ready_replicas,
        "currentReplicas": status.current_replicas,
        "updatedReplicas": status.updated_replicas,
        "availableReplicas": status.available_replicas,
    }
    yield from check_replica_counts(counts, ready="status.readyReplicas")
    yield from check_observed(status, old.status)


def warn(new: StatefulSet, old: StatefulSet | None) -> Warnings:
    """Warn of the template, of claims for parts of bytes, and of a history without end."""
    yield from warn_of_template(new, old)
    for i, claim in enumerate(new.spec.volume_claim_templates):
        yield from warn_of_claim_spec(f"spec.volumeClaimTemplates[{i}]{'.Spec' if old is not None else ''}", claim.spec)
    if (new.spec.revision_history_limit or 0) < 0:
        kept = "a negative value retains all historical revisions; a value >= 0 is recommended"
        yield f"spec.revisionHistoryLimit: {kept}"


RESOURCE: Final[Resource[StatefulSet]] = Resource(
    type=StatefulSet,
    group="apps",
    version="v1",
    kind="StatefulSet",
    plural="statefulsets",
    namespaced=True,
    short_names=("sts",),
    categories=("all",),
    subresources=("scale", "status"),
    default=default,
    drop_gated=gated.drop_of_template,
    validate=validate,
    warn=warn,
    validate_status=validate_status,
    generation=True,
    columns=(
        Column(
            "Ready",
            "string",
            lambda sts, now: f"{sts.status.ready_replicas}/{sts.spec.replicas or 0}",
            "How many pods are ready, of how many there should be.",
        ),
        AGE,
        *workload_columns()[:2],
    ),
)

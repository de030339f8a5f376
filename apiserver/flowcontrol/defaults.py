"""The FlowSchemas and PriorityLevelConfigurations that every cluster begins with.

The mandatory ones (`exempt` and `catch-all`) are always as they are here, whatever anybody writes; the suggested ones
may be changed by whoever sets their annotation to false (Kubernetes documentation, "API Priority and Fairness").
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final

from api.flowcontrol import flowschema, prioritylevelconfiguration
from api.flowcontrol.flowschema import (
    FlowDistinguisherMethod,
    FlowSchema,
    FlowSchemaSpec,
    GroupSubject,
    NonResourcePolicyRule,
    PolicyRulesWithSubjects,
    PriorityLevelConfigurationReference,
    ResourcePolicyRule,
    ServiceAccountSubject,
    Subject,
    UserSubject,
)
from api.flowcontrol.prioritylevelconfiguration import (
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    PriorityLevelConfiguration,
    PriorityLevelConfigurationSpec,
    QueuingConfiguration,
)
from api.meta import ObjectMeta

AUTOUPDATE: Final = "apf.kubernetes.io/autoupdate-spec"
"""Annotation: `true` while the server keeps the spec as it is here."""
MANDATORY: Final = ("exempt", "catch-all")
_BY_USER, _BY_NAMESPACE = "ByUser", "ByNamespace"
_KUBE_SYSTEM = "kube-system"
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"
_EVERYBODY = ("system:unauthenticated", "system:authenticated")


def priority_levels() -> list[PriorityLevelConfiguration]:
    """Return every level, in their order of importance."""
    mandatory = prioritylevelconfiguration.MANDATORY
    return [
        PriorityLevelConfiguration(metadata=_metadata("exempt"), spec=copy.deepcopy(mandatory["exempt"])),
        _limited("node-high", 40, 25, (64, 6)),
        _limited("system", 30, 33, (64, 6)),
        _limited("leader-election", 10, 0, (16, 4)),
        _limited("workload-high", 40, 50, (128, 6)),
        _limited("workload-low", 100, 90, (128, 6)),
        _limited("global-default", 20, 50, (128, 6)),
        PriorityLevelConfiguration(metadata=_metadata("catch-all"), spec=copy.deepcopy(mandatory["catch-all"])),
    ]


def flow_schemas() -> list[FlowSchema]:
    """Return every schema, by precedence."""
    leases = ("get", "create", "update"), ("coordination.k8s.io",), ("leases",)
    return [
        FlowSchema(metadata=_metadata("exempt"), spec=copy.deepcopy(flowschema.MANDATORY["exempt"])),
        _schema("probes", "exempt", 2, "", _groups(*_EVERYBODY), paths=("/healthz", "/readyz", "/livez")),
        _schema(
            "system-leader-election", "leader-election", 100, _BY_USER,
            [*_users(_MANAGER, _SCHEDULER), *_accounts("*")],
            resources=[_resource(*leases, namespaces=(_KUBE_SYSTEM,))],
        ),
        _schema(
            "endpoint-controller", "workload-high", 150, _BY_USER,
            [*_users(_MANAGER), *_accounts("endpoint-controller", "endpointslicemirroring-controller")],
            resources=[_resource(("get", "create", "update"), ("",), ("endpoints",))],
        ),
        _schema(
            "workload-leader-election", "leader-election", 200, _BY_USER, _accounts("*"),
            resources=[_resource(*leases)],
        ),
        _schema(
            "system-node-high", "node-high", 400, _BY_USER, _groups("system:nodes"),
            resources=[
                _resource(("*",), ("",), ("nodes", "nodes/status"), cluster_scope=True),
                _resource(("*",), ("coordination.k8s.io",), ("leases",)),
            ],
        ),
        _everything("system-nodes", "system", 500, _BY_USER, _groups("system:nodes")),
        _everything("kube-controller-manager", "workload-high", 800, _BY_NAMESPACE, _users(_MANAGER)),
        _everything("kube-scheduler", "workload-high", 800, _BY_NAMESPACE, _users(_SCHEDULER)),
        _everything("kube-system-service-accounts", "workload-high", 900, _BY_NAMESPACE, _accounts("*")),
        _everything("service-accounts", "workload-low", 9000, _BY_USER, _groups("system:serviceaccounts")),
        _everything("global-default", "global-default", 9900, _BY_USER, _groups(*_EVERYBODY)),
        FlowSchema(metadata=_metadata("catch-all"), spec=copy.deepcopy(flowschema.MANDATORY["catch-all"])),
    ]  # fmt: skip


def _metadata(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, annotations={AUTOUPDATE: "true"})


def _limited(name: str, shares: int, lendable: int, queuing: tuple[int, int] | None) -> PriorityLevelConfiguration:
    response = LimitResponse(type="Reject")
    if queuing is not None:
        queues, hand_size = queuing
        response = LimitResponse(
            type="Queue", queuing=QueuingConfiguration(queues=queues, hand_size=hand_size, queue_length_limit=50)
        )
    limited = LimitedPriorityLevelConfiguration(
        nominal_concurrency_shares=shares, limit_response=response, lendable_percent=lendable
    )
    return PriorityLevelConfiguration(
        metadata=_metadata(name), spec=PriorityLevelConfigurationSpec(type="Limited", limited=limited)
    )


def _schema(
    name: str,
    level: str,
    precedence: int,
    distinguisher: str,
    subjects: list[Subject],
    *,
    resources: Sequence[ResourcePolicyRule] = (),
    paths: Sequence[str] = (),
) -> FlowSchema:
    path_rules = [NonResourcePolicyRule(verbs=["get"], non_resource_urls=list(paths))] if paths else []
    rule = PolicyRulesWithSubjects(
        subjects=subjects, resource_rules=list(resources), non_resource_rules=path_rules
    )  # fmt: skip
    return FlowSchema(
        metadata=_metadata(name),
        spec=FlowSchemaSpec(
            priority_level_configuration=PriorityLevelConfigurationReference(name=level),
            matching_precedence=precedence,
            distinguisher_method=FlowDistinguisherMethod(type=distinguisher) if distinguisher else None,
            rules=[rule],
        ),
    )


def _everything(name: str, level: str, precedence: int, distinguisher: str, subjects: list[Subject]) -> FlowSchema:
    made = _schema(
        name, level, precedence, distinguisher, subjects,
        resources=[_resource(("*",), ("*",), ("*",), cluster_scope=True)],
    )  # fmt: skip
    made.spec.rules[0].non_resource_rules = [NonResourcePolicyRule(verbs=["*"], non_resource_urls=["*"])]
    return made


def _resource(
    verbs: Sequence[str],
    groups: Sequence[str],
    resources: Sequence[str],
    *,
    namespaces: Sequence[str] = ("*",),
    cluster_scope: bool = False,
) -> ResourcePolicyRule:
    return ResourcePolicyRule(
        verbs=list(verbs),
        api_groups=list(groups),
        resources=list(resources),
        cluster_scope=cluster_scope,
        namespaces=[] if resources[0] == "nodes" else list(namespaces),
    )


def _users(*names: str) -> list[Subject]:
    return [Subject(kind="User", user=UserSubject(name=name)) for name in names]


def _groups(*names: str) -> list[Subject]:
    return [Subject(kind="Group", group=GroupSubject(name=name)) for name in names]


def _accounts(*names: str) -> list[Subject]:
    return [
        Subject(kind="ServiceAccount", service_account=ServiceAccountSubject(namespace=_KUBE_SYSTEM, name=name))
        for name in names
    ]

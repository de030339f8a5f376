"""Pods and nodes for scheduling tests, in one line each."""

from __future__ import annotations

from api.core.containers import Container, ContainerPort, ResourceRequirements
from api.core.node import Node, NodeSpec, NodeStatus, Taint
from api.core.placement import Affinity, Toleration, TopologySpreadConstraint
from api.core.pod import Pod, PodSpec
from api.meta import LabelSelector, ObjectMeta, OwnerReference
from scheduler.snapshot import NodeView, PodView, node_view


def pod(
    name: str = "a",
    *,
    cpu: str = "",
    memory: str = "",
    node: str = "",
    labels: dict[str, str] | None = None,
    selector: dict[str, str] | None = None,
    affinity: Affinity | None = None,
    tolerations: list[Toleration] | None = None,
    host_port: int = 0,
    host_ip: str = "",
    owner: str = "",
    priority: int | None = None,
    spread: list[TopologySpreadConstraint] | None = None,
    image: str = "web",
    preemption_policy: str | None = None,
) -> PodView:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    ports = [ContainerPort(container_port=80, host_port=host_port, host_ip=host_ip)] if host_port else []
    container = Container(name="c", image=image, ports=ports, resources=ResourceRequirements(requests=requests))
    owners = [OwnerReference(kind="ReplicaSet", name=owner, uid=owner, controller=True)] if owner else []
    return PodView(
        Pod(
            metadata=ObjectMeta(
                name=name, namespace="default", uid=f"uid-{name}", labels=labels or {}, owner_references=owners
            ),
            spec=PodSpec(
                containers=[container],
                node_name=node,
                node_selector=selector or {},
                affinity=affinity,
                tolerations=tolerations or [],
                priority=priority,
                preemption_policy=preemption_policy,
                topology_spread_constraints=spread or [],
            ),
        )
    )


def node(
    name: str = "n1",
    *pods: PodView,
    cpu: str = "4",
    memory: str = "8Gi",
    most_pods: str = "110",
    labels: dict[str, str] | None = None,
    taints: list[Taint] | None = None,
    unschedulable: bool = False,
) -> NodeView:
    made = Node(
        metadata=ObjectMeta(name=name, labels={"kubernetes.io/hostname": name, **(labels or {})}),
        spec=NodeSpec(taints=taints or [], unschedulable=unschedulable),
        status=NodeStatus(allocatable={"cpu": cpu, "memory": memory, "pods": most_pods}),
    )
    return node_view(made, {each.uid: each for each in pods})


def spread(key: str, *, skew: int = 1, hard: bool = True, labels: dict[str, str]) -> TopologySpreadConstraint:
    return TopologySpreadConstraint(
        max_skew=skew,
        topology_key=key,
        when_unsatisfiable="DoNotSchedule" if hard else "ScheduleAnyway",
        label_selector=LabelSelector(match_labels=labels),
    )

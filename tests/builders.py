"""Short ways to make objects for tests: `pod("a", node="n1")`. Everything not named is as a user would leave it."""

from __future__ import annotations

from typing import TypeVar

from api.apps.deployment import Deployment, DeploymentSpec
from api.apps.replicaset import ReplicaSet, ReplicaSetSpec
from api.core.configmap import ConfigMap
from api.core.containers import Container
from api.core.namespace import Namespace
from api.core.node import Node
from api.core.pod import Pod, PodSpec, PodTemplateSpec
from api.core.service import Service, ServicePort, ServiceSpec
from api.core.serviceaccount import ServiceAccount
from api.meta import LabelSelector, ObjectMeta
from api.schema import Struct
from client.store import Store


def meta(name: str, namespace: str = "default", **labels: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace=namespace, labels=labels)


def container(name: str = "c", image: str = "example.org/app:1") -> Container:
    return Container(name=name, image=image)


def pod(name: str, *, namespace: str = "default", node: str = "", grace_s: int | None = None, **labels: str) -> Pod:
    spec = PodSpec(containers=[container()], node_name=node, termination_grace_period_seconds=grace_s)
    return Pod(metadata=meta(name, namespace, **labels), spec=spec)


def configmap(name: str, *, namespace: str = "default", labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    return ConfigMap(metadata=meta(name, namespace, **(labels or {})), data=data)


def namespace(name: str) -> Namespace:
    return Namespace(metadata=ObjectMeta(name=name))


def node(name: str, **labels: str) -> Node:
    return Node(metadata=ObjectMeta(name=name, labels=labels))


def service_account(name: str = "default", namespace: str = "default") -> ServiceAccount:
    return ServiceAccount(metadata=meta(name, namespace))


def service(name: str, *, namespace: str = "default", port: int = 80, type: str = "ClusterIP", **selector: str):
    spec = ServiceSpec(type=type, ports=[ServicePort(port=port)], selector=selector)
    return Service(metadata=meta(name, namespace), spec=spec)


def pod_template(**labels: str) -> PodTemplateSpec:
    return PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[container()]))


def deployment(name: str, *, namespace: str = "default", replicas: int | None = 1, **labels: str) -> Deployment:
    labels = labels or {"app": name}
    spec = DeploymentSpec(
        replicas=replicas, selector=LabelSelector(match_labels=labels), template=pod_template(**labels)
    )
    return Deployment(metadata=meta(name, namespace), spec=spec)


def replicaset(name: str, *, namespace: str = "default", replicas: int | None = 1, **labels: str) -> ReplicaSet:
    labels = labels or {"app": name}
    spec = ReplicaSetSpec(
        replicas=replicas, selector=LabelSelector(match_labels=labels), template=pod_template(**labels)
    )
    return ReplicaSet(metadata=meta(name, namespace), spec=spec)


T = TypeVar("T", bound=Struct)


def store(*objects: T) -> Store[T]:
    """A cache of these objects."""
    filled: Store[T] = Store()
    for each in objects:
        filled.put(each)
    return filled

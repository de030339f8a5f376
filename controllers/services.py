"""Which pods stand behind a Service, and under which ports: what both writers of endpoints must agree on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from api import selectors
from api.core import pod as pods
from api.core import service as services
from api.core.pod import Pod
from api.core.service import Service, ServicePort
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.runner import Listers

BY_LABEL = "label"

Ports = tuple[tuple[str, str, int, str | None], ...]
"""Name, protocol, number and application protocol of each port: what endpoints of one slice have in common."""


def pods_behind(service: Service, listers: Listers) -> list[Pod]:
    """Return the pods that a Service with a selector selects."""
    matches = selectors.of_labels(service.spec.selector).matches
    name, value = _narrowest(service.spec.selector)
    candidates = listers[pods.RESOURCE].by_index(BY_LABEL, f"{service.metadata.namespace}/{name}={value}")
    return [pod for pod in candidates if matches(pod.metadata.labels)]


def ports_of(service: Service, pod: Pod) -> Ports:
    """Return the ports under which a pod serves; a named target port that the pod lacks is left out."""
    found = []
    for port in service.spec.ports:
        number = _target(port, pod)
        if number:
            found.append((port.name, port.protocol or "TCP", number, port.app_protocol))
    return tuple(sorted(found, key=str))


def _target(port: ServicePort, pod: Pod) -> int:
    target = port.target_port
    if isinstance(target, int):
        return target or port.port
    containers = [*pod.spec.containers]
    containers += [each for each in pod.spec.init_containers if each.restart_policy == "Always"]
    for container in containers:
        for candidate in container.ports:
            if candidate.name == target and (candidate.protocol or "TCP") == (port.protocol or "TCP"):
                return candidate.container_port
    return 0


def _narrowest(selector: Mapping[str, str]) -> tuple[str, str]:
    """Return the one label by which a selector is looked up: any will do, but always the same."""
    return min(selector.items())


def index_pods_by_label(pod: Pod) -> Iterable[str]:
    """Index pods by each of their labels."""
    namespace = pod.metadata.namespace
    return [f"{namespace}/{name}={value}" for name, value in pod.metadata.labels.items()]


def index_services_by_label(service: Service) -> Iterable[str]:
    """Index Services by one label of their selector."""
    if not service.spec.selector:
        return ()
    name, value = _narrowest(service.spec.selector)
    return (f"{service.metadata.namespace}/{name}={value}",)


def keys_of_pod(pod: Pod, listers: Listers) -> Iterable[ObjectKey]:
    """Map a pod to the Services that select it."""
    store = listers[services.RESOURCE]
    for label in index_pods_by_label(pod):
        for service in store.by_index(BY_LABEL, label):
            if service.spec.selector.items() <= pod.metadata.labels.items():
                yield key_of(service)

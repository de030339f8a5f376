"""Puts the cluster's CA certificate into every namespace, as ConfigMap `kube-root-ca.crt`.

Pods get it mounted beside their token, and know the API server by it (KEP-1205).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from api.core import configmap as configmaps
from api.core import namespace as namespaces
from api.core.configmap import ConfigMap
from api.core.namespace import Namespace
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Create, Patch, Plan
from controllers.runner import Controller, Listers, Watch

NAME = "kube-root-ca.crt"
FIELD = "ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the"
    " internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes"
    " clusters."
)


@dataclass(frozen=True, slots=True)
class Observed:
    """A namespace, its ConfigMap if it has one, and what that should hold."""

    namespace: Namespace
    config_map: ConfigMap | None
    certificate: str
    """PEM."""


def reconcile(observed: Observed, now: float) -> Plan:
    """Create the ConfigMap, or set right what it says."""
    if observed.namespace.metadata.deletion_timestamp:
        return NOTHING
    wanted = {FIELD: observed.certificate}
    current = observed.config_map
    if current is None:
        metadata = ObjectMeta(
            namespace=observed.namespace.metadata.name,
            name=NAME,
            annotations={"kubernetes.io/description": DESCRIPTION},
        )
        return Plan((Create(configmaps.RESOURCE, ConfigMap(metadata=metadata, data=wanted)),))
    if current.data == wanted:
        return NOTHING
    extra: dict[str, str | None] = dict.fromkeys(set(current.data) - {FIELD})
    return Plan((Patch(configmaps.RESOURCE, key_of(current), {"data": extra | wanted}),))


def keys_of_config_map(config_map: ConfigMap, listers: Listers) -> Iterable[ObjectKey]:
    """Map the ConfigMap to its namespace."""
    yield ObjectKey("", config_map.metadata.namespace)


def controller(certificate: str) -> Controller[Namespace, Observed]:
    """Return the controller that publishes `certificate` (PEM)."""

    def observe(key: ObjectKey, listers: Listers) -> Observed | None:
        namespace = listers[namespaces.RESOURCE].get(key)
        if namespace is None:
            return None
        return Observed(namespace, listers[configmaps.RESOURCE].get(ObjectKey(key.name, NAME)), certificate)

    return Controller(
        name="root-ca-certificate-publisher",
        resource=namespaces.RESOURCE,
        observe=observe,
        reconcile=reconcile,
        watches=(
            Watch(
                resource=configmaps.RESOURCE,
                keys=keys_of_config_map,
                # Other ConfigMaps are none of our business, and may be large.
                field_selector=f"metadata.name={NAME}",
            ),
        ),
        workers=2,
    )

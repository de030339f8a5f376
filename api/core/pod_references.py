"""What a pod refers to by name: Secrets, ConfigMaps and claims of its namespace, and more. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from api.core.containers import Container, EphemeralContainer
from api.core.pod import Pod
from api.core.volume_matching import claims_of
from api.core.volumes import Volume


def references(pod: Pod) -> Iterator[tuple[str, str]]:
    """Yield (plural, name) for everything of its namespace that a pod refers to."""
    spec = pod.spec
    for claim in claims_of(pod).values():
        yield "persistentvolumeclaims", claim
    for ref in spec.image_pull_secrets:
        yield "secrets", ref.name
    for volume in spec.volumes:
        yield from _of_volume(volume)
    containers: list[Container | EphemeralContainer] = [*spec.init_containers, *spec.containers]
    containers += spec.ephemeral_containers
    for container in containers:
        yield from _of_container(container)


def of_static_pod(pod: Pod) -> Iterator[str]:
    """Yield what a node's own pod may not refer to, in words: what only the API server knows."""
    spec = pod.spec
    if spec.service_account_name or spec.service_account:
        yield "a service account"
    if spec.resource_claims:
        yield "resourceclaims"
    for volume in spec.volumes:
        for source in volume.projected.sources if volume.projected is not None else ():
            if source.service_account_token is not None:
                yield "service account tokens"
            if source.cluster_trust_bundle is not None:
                yield "clustertrustbundles"
    for plural, _ in references(pod):
        yield plural


def _of_volume(volume: Volume) -> Iterator[tuple[str, str]]:
    if volume.secret is not None:
        yield "secrets", volume.secret.secret_name
    if volume.config_map is not None:
        yield "configmaps", volume.config_map.name
    if volume.projected is not None:
        for source in volume.projected.sources:
            if source.secret is not None:
                yield "secrets", source.secret.name
            if source.config_map is not None:
                yield "configmaps", source.config_map.name
    if volume.csi is not None and volume.csi.node_publish_secret_ref is not None:
        yield "secrets", volume.csi.node_publish_secret_ref.name


def _of_container(container: Container | EphemeralContainer) -> Iterator[tuple[str, str]]:
    for source in container.env_from:
        if source.secret_ref is not None:
            yield "secrets", source.secret_ref.name
        if source.config_map_ref is not None:
            yield "configmaps", source.config_map_ref.name
    for variable in container.env:
        if variable.value_from is None:
            continue
        if variable.value_from.secret_key_ref is not None:
            yield "secrets", variable.value_from.secret_key_ref.name
        if variable.value_from.config_map_key_ref is not None:
            yield "configmaps", variable.value_from.config_map_key_ref.name

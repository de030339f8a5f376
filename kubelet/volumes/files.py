"""Volumes whose files come from the API: configMap, secret, downwardAPI, projected.

All four are a payload of files put in place by the atomic writer; a projected volume joins several sources, among
them tokens that identify the pod (`tokens.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from api.core.configmap import ConfigMap
from api.core.pod import Pod
from api.core.secret import Secret
from api.core.volumes import KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection
from api.resource import ObjectKey
from kubelet.downward import PodFacts
from kubelet.volumes.payload import (
    DEFAULT_MODE,
    File,
    Payload,
    PayloadError,
    check_path,
    config_map_content,
    from_downward,
    from_keys,
    secret_content,
)


class Sources(Protocol):
    """Where content comes from."""

    async def config_map(self, key: ObjectKey) -> ConfigMap | None: ...
    async def secret(self, key: ObjectKey) -> Secret | None: ...


class Tokens(Protocol):
    """Where tokens come from."""

    async def token(self, pod: Pod, projection: ServiceAccountTokenProjection) -> str: ...


async def compute_payload(pod: Pod, volume: Volume, sources: Sources, tokens: Tokens, facts: PodFacts) -> Payload:
    """Return the volume's files.

    Raises:
        PayloadError: something that is not optional is missing.
        ApiError: the API server does not answer.
    """
    if volume.config_map is not None:
        shown = volume.config_map
        mode, optional = _mode(shown.default_mode), bool(shown.optional)
        return await _from_config_map(pod, shown.name, shown.items, mode, optional, sources)
    if volume.secret is not None:
        held = volume.secret
        mode, optional = _mode(held.default_mode), bool(held.optional)
        return await _from_secret(pod, held.secret_name, held.items, mode, optional, sources)
    if volume.downward_api is not None:
        return from_downward(pod, volume.downward_api.items, _mode(volume.downward_api.default_mode), facts)
    assert volume.projected is not None
    mode = _mode(volume.projected.default_mode)
    payload: Payload = {}
    for projection in volume.projected.sources:
        payload |= await _project(pod, projection, mode, sources, tokens, facts)
    return payload


async def _project(
    pod: Pod, projection: VolumeProjection, mode: int, sources: Sources, tokens: Tokens, facts: PodFacts
) -> Payload:
    if projection.config_map is not None:
        shown = projection.config_map
        return await _from_config_map(pod, shown.name, shown.items, mode, bool(shown.optional), sources)
    if projection.secret is not None:
        held = projection.secret
        return await _from_secret(pod, held.name, held.items, mode, bool(held.optional), sources)
    if projection.downward_api is not None:
        return from_downward(pod, projection.downward_api.items, mode, facts)
    if projection.service_account_token is not None:
        of_token = projection.service_account_token
        token = await tokens.token(pod, of_token)
        return {check_path(of_token.path): _token_file(pod, token, mode)}
    if projection.cluster_trust_bundle is not None:
        raise PayloadError("a projected source of a kind that this kubelet does not serve (clusterTrustBundle)")
    return {}  # What is left of a source that the API dropped.


_NO_CONFIG_KEY: Final = "configmap references non-existent config key"
_NO_SECRET_KEY: Final = "references non-existent secret key"


async def _from_config_map(
    pod: Pod, name: str, items: Sequence[KeyToPath], mode: int, optional: bool, sources: Sources
) -> Payload:
    config_map = await sources.config_map(ObjectKey(pod.metadata.namespace, name))
    if config_map is None and not optional:
        raise PayloadError(f'configmap "{name}" not found')
    return from_keys(_NO_CONFIG_KEY, config_map_content(config_map), items, mode, optional=optional)


async def _from_secret(
    pod: Pod, name: str, items: Sequence[KeyToPath], mode: int, optional: bool, sources: Sources
) -> Payload:
    secret = await sources.secret(ObjectKey(pod.metadata.namespace, name))
    if secret is None and not optional:
        raise PayloadError(f'secret "{name}" not found')
    return from_keys(_NO_SECRET_KEY, secret_content(secret), items, mode, optional=optional)


def _token_file(pod: Pod, token: str, mode: int) -> File:
    """Return the token's file: for nobody but its user, where the pod says who that is (KEP-2451)."""
    security = pod.spec.security_context
    user = _only_user(pod)
    if user is None and (security is None or security.fs_group is None):
        return File(token.encode(), mode)
    return File(token.encode(), 0o600, user)


def _only_user(pod: Pod) -> int | None:
    """Return the user that all containers run as, if the pod says so of each and they are one."""
    of_pod = pod.spec.security_context
    users = set()
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        own = container.security_context
        user = own.run_as_user if own is not None else None
        users.add(user if user is not None else of_pod.run_as_user if of_pod is not None else None)
    return users.pop() if len(users) == 1 else None


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode


def names_in(pod: Pod) -> tuple[set[ObjectKey], set[ObjectKey]]:
    """Return the ConfigMaps and the Secrets that the pod's volumes show."""
    namespace = pod.metadata.namespace
    config_maps: set[ObjectKey] = set()
    secrets: set[ObjectKey] = set()
    for volume in pod.spec.volumes:
        if volume.config_map is not None:
            config_maps.add(ObjectKey(namespace, volume.config_map.name))
        if volume.secret is not None:
            secrets.add(ObjectKey(namespace, volume.secret.secret_name))
        for source in volume.projected.sources if volume.projected is not None else ():
            if source.config_map is not None:
                config_maps.add(ObjectKey(namespace, source.config_map.name))
            if source.secret is not None:
                secrets.add(ObjectKey(namespace, source.secret.name))
    return config_maps, secrets

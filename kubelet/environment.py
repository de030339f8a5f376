"""The environment of a container: its variables, and `$(NAME)` in its command. Pure.

Order, as upstream: variables of services, then envFrom in order, then env in order; later ones win. `$(NAME)` refers
to what is defined above it; an unknown reference stays as written, and `$$(NAME)` is the text `$(NAME)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from api.core.configmap import ConfigMap
from api.core.containers import Container, EnvVar, EphemeralContainer
from api.core.pod import Pod
from api.core.secret import Secret
from api.core.service import Service
from kubelet.downward import PodFacts, UnknownField, container_named, field_value, resource_value

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")


class ConfigError(Exception):
    """A container cannot be configured as asked; shown as CreateContainerConfigError until that changes."""


class Objects(Protocol):
    """ConfigMaps and Secrets of the pod's namespace that were fetched for it; None where there is none."""

    def config_map(self, name: str) -> ConfigMap | None: ...
    def secret(self, name: str) -> Secret | None: ...


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` with each `$(NAME)` that is known replaced; `$$` is a dollar sign."""

    def replace(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return variables.get(found[2], found[0])

    return _REFERENCE.sub(replace, text)


def expand_strictly(text: str, variables: Mapping[str, str]) -> str:
    """Return `text` like `expand`, for what must not stay as written: an unknown variable is a ConfigError."""
    for found in _REFERENCE.finditer(text):
        if found[2] is not None and found[2] not in variables:
            raise ConfigError(f'missing value for "{found[2]}"')
    return expand(text, variables)


def compute_environment(
    pod: Pod,
    container: Container | EphemeralContainer,
    services: Iterable[Service],
    objects: Objects,
    facts: PodFacts,
) -> dict[str, str]:
    """Return the container's variables, in order.

    Raises:
        ConfigError: something referred to does not exist, and is not optional.
    """
    variables = service_variables(pod, services)
    for source in container.env_from:
        pairs: dict[str, str] = {}
        if source.config_map_ref is not None:
            ref = source.config_map_ref
            config_map = objects.config_map(ref.name)
            if config_map is None and not ref.optional:
                raise ConfigError(f'configmap "{ref.name}" not found')
            pairs = dict(config_map.data) if config_map is not None else {}
        elif source.secret_ref is not None:
            secret_ref = source.secret_ref
            secret = objects.secret(secret_ref.name)
            if secret is None and not secret_ref.optional:
                raise ConfigError(f'secret "{secret_ref.name}" not found')
            pairs = {key: _text(value) for key, value in (secret.data if secret is not None else {}).items()}
        for key, value in sorted(pairs.items()):
            if "=" not in key:
                variables[source.prefix + key] = value
    for variable in container.env:
        value_of = _value(pod, container, variable, objects, facts, variables)
        if value_of is not None:
            variables[variable.name] = value_of
    return variables


def _value(
    pod: Pod,
    container: Container | EphemeralContainer,
    variable: EnvVar,
    objects: Objects,
    facts: PodFacts,
    variables: Mapping[str, str],
) -> str | None:
    """Return the value, or None where an optional source has none."""
    source = variable.value_from
    if source is None:
        return expand(variable.value, variables)
    try:
        if source.field_ref is not None:
            return field_value(pod, source.field_ref.field_path, facts)
        if source.resource_field_ref is not None:
            of = container
            if source.resource_field_ref.container_name:
                of = container_named(pod, source.resource_field_ref.container_name) or container
            return resource_value(of, source.resource_field_ref, facts)
    except UnknownField as error:
        raise ConfigError(str(error)) from None
    if source.config_map_key_ref is not None:
        ref = source.config_map_key_ref
        config_map = objects.config_map(ref.name)
        if config_map is None:
            if ref.optional:
                return None
            raise ConfigError(f'configmap "{ref.name}" not found')
        if ref.key in config_map.data:
            return config_map.data[ref.key]
        if ref.optional:
            return None
        raise ConfigError(f"couldn't find key {ref.key} in ConfigMap {pod.metadata.namespace}/{ref.name}")
    if source.secret_key_ref is not None:
        secret_ref = source.secret_key_ref
        secret = objects.secret(secret_ref.name)
        if secret is None:
            if secret_ref.optional:
                return None
            raise ConfigError(f'secret "{secret_ref.name}" not found')
        if secret_ref.key in secret.data:
            return _text(secret.data[secret_ref.key])
        if secret_ref.optional:
            return None
        raise ConfigError(f"couldn't find key {secret_ref.key} in Secret {pod.metadata.namespace}/{secret_ref.name}")
    return ""


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def service_variables(pod: Pod, services: Iterable[Service]) -> dict[str, str]:
    """Return `NAME_SERVICE_HOST` and the older link variables, for services older than the container.

    Always for the API server itself, for other services of the pod's namespace unless enableServiceLinks is false.
    """
    links = pod.spec.enable_service_links is not False
    chosen: dict[str, Service] = {}
    for service in services:
        name, namespace = service.metadata.name, service.metadata.namespace
        is_api = namespace == "default" and name == "kubernetes"
        if service.spec.cluster_ip in ("", "None") or not (is_api or (links and namespace == pod.metadata.namespace)):
            continue
        if is_api and name in chosen:
            continue
        chosen[name] = service
    variables: dict[str, str] = {}
    for name in sorted(chosen):
        variables |= _of_service(chosen[name])
    return variables


def _of_service(service: Service) -> dict[str, str]:
    prefix = service.metadata.name.upper().replace("-", "_")
    host = service.spec.cluster_ip
    variables = {f"{prefix}_SERVICE_HOST": host}
    for index, port in enumerate(service.spec.ports):
        if index == 0:
            variables[f"{prefix}_SERVICE_PORT"] = str(port.port)
        if port.name:
            variables[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    for index, port in enumerate(service.spec.ports):
        protocol = (port.protocol or "TCP").lower()
        address = f"[{host}]" if ":" in host else host
        url = f"{protocol}://{address}:{port.port}"
        if index == 0:
            variables[f"{prefix}_PORT"] = url
        of_port = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        variables[of_port] = url
        variables[f"{of_port}_PROTO"] = protocol
        variables[f"{of_port}_PORT"] = str(port.port)
        variables[f"{of_port}_ADDR"] = host
    return variables


def names_of_objects(container: Container | EphemeralContainer) -> tuple[set[str], set[str]]:
    """Return the names of ConfigMaps and of Secrets that the container's environment refers to."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for source in container.env_from:
        if source.config_map_ref is not None:
            config_maps.add(source.config_map_ref.name)
        if source.secret_ref is not None:
            secrets.add(source.secret_ref.name)
    for variable in container.env:
        if variable.value_from is None:
            continue
        if variable.value_from.config_map_key_ref is not None:
            config_maps.add(variable.value_from.config_map_key_ref.name)
        if variable.value_from.secret_key_ref is not None:
            secrets.add(variable.value_from.secret_key_ref.name)
    return config_maps, secrets

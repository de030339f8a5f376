"""What the containers of a pod may be: images, ports, environment, mounts, probes, resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from api import names, quantity
from api import validation as v
from api.core.containers import (
    Container,
    ContainerPort,
    EnvFromSource,
    EnvVar,
    EphemeralContainer,
    HTTPGetAction,
    LifecycleHandler,
    Probe,
    ResourceRequirements,
)
from api.core.security_context import SecurityContext
from api.core.volume_validation import check_field_ref, check_local_path, check_resource_ref
from api.core.volumes import VolumeMount

if TYPE_CHECKING:
    from api.core.pod import PodSpec

_ENV_FIELDS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_STANDARD_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
_INT32_MAX: Final = 2**31 - 1


def check_containers(path: str, spec: PodSpec, *, is_pod: bool) -> v.Errors:
    """Check all containers of a pod, and what they share: names and host ports."""
    if not spec.containers:
        yield v.required(f"{path}.containers")
    volumes = {volume.name for volume in spec.volumes}
    seen: set[str] = set()
    groups: tuple[tuple[str, Sequence[Container | EphemeralContainer]], ...] = (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    )
    for field, containers in groups:
        for i, container in enumerate(containers):
            where = f"{path}.{field}[{i}]"
            yield from v.check_name(f"{where}.name", container.name, names.check_label)
            if container.name in seen:
                yield v.duplicate(f"{where}.name", container.name)
            seen.add(container.name)
            yield from _check_container(where, container, volumes)
            yield from _check_role(where, container, field)
            if spec.host_network and is_pod:
                yield from _check_host_network(where, container)
    yield from _check_host_ports(f"{path}.containers", spec.containers)


def _check_role(path: str, container: Container | EphemeralContainer, field: str) -> v.Errors:
    """Check what only some containers may have."""
    is_sidecar = field == "initContainers" and container.restart_policy == "Always"
    if container.restart_policy is not None:
        if field != "initContainers":
            yield v.forbidden(f"{path}.restartPolicy", "may not be set for non-init containers")
        elif container.restart_policy != "Always":
            yield v.not_supported(f"{path}.restartPolicy", container.restart_policy, ("Always",))
    if field == "initContainers" and not is_sidecar:
        for name, part in (
            ("lifecycle", container.lifecycle),
            ("livenessProbe", container.liveness_probe),
            ("readinessProbe", container.readiness_probe),
            ("startupProbe", container.startup_probe),
        ):
            if part is not None:
                yield v.forbidden(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always")
    if field == "ephemeralContainers":
        parts: tuple[tuple[str, object], ...] = (
            ("ports", container.ports),
            ("lifecycle", container.lifecycle),
            ("livenessProbe", container.liveness_probe),
            ("readinessProbe", container.readiness_probe),
            ("startupProbe", container.startup_probe),
            ("resources", container.resources != ResourceRequirements()),
            ("resizePolicy", container.resize_policy),
        )
        for name, given in parts:
            if given:
                yield v.forbidden(f"{path}.{name}", "cannot be set for an Ephemeral Container")
        for i, mount in enumerate(container.volume_mounts):
            for name, below in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
                if below:
                    where = f"{path}.volumeMounts[{i}].{name}"
                    yield v.forbidden(where, "cannot be set for an Ephemeral Container")


def _check_container(path: str, container: Container | EphemeralContainer, volumes: set[str]) -> v.Errors:
    if not container.image:
        yield v.required(f"{path}.image")
    elif container.image != container.image.strip():
        yield v.invalid(f"{path}.image", container.image, "must not have leading or trailing whitespace")
    yield from _check_ports(f"{path}.ports", container.ports)
    yield from _check_env(f"{path}.env", container.env)
    yield from _check_env_from(f"{path}.envFrom", container.env_from)
    yield from _check_mounts(f"{path}.volumeMounts", container.volume_mounts, volumes)
    for i, device in enumerate(container.volume_devices):
        if device.name not in volumes:
            yield v.not_found(f"{path}.volumeDevices[{i}].name", device.name)
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is not None:
            yield from _check_probe(f"{path}.{name}", probe, is_readiness=name == "readinessProbe")
    if container.lifecycle is not None:
        for name, handler in (
            ("postStart", container.lifecycle.post_start),
            ("preStop", container.lifecycle.pre_stop),
        ):
            if handler is not None:
                yield from _check_handler(f"{path}.lifecycle.{name}", handler)
    yield from v.check_supported(
        f"{path}.imagePullPolicy", container.image_pull_policy, ("Always", "IfNotPresent", "Never")
    )
    yield from v.check_supported(
        f"{path}.terminationMessagePolicy", container.termination_message_policy, ("File", "FallbackToLogsOnError")
    )
    yield from _check_resources(f"{path}.resources", container.resources)
    if container.security_context is not None:
        yield from _check_security(f"{path}.securityContext", container.security_context)


# --- ports ----------------------------------------------------------------------------------------------------------


def _check_ports(path: str, ports: Sequence[ContainerPort]) -> v.Errors:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        where = f"{path}[{i}]"
        if port.name:
            for message in names.check_port_name(port.name):
                yield v.invalid(f"{where}.name", port.name, message)
            if port.name in seen:
                yield v.duplicate(f"{where}.name", port.name)
            seen.add(port.name)
        if port.container_port == 0:
            yield v.required(f"{where}.containerPort")
        else:
            yield from v.check_port(f"{where}.containerPort", port.container_port)
        if port.host_port:
            yield from v.check_port(f"{where}.hostPort", port.host_port)
        yield from v.check_supported(f"{where}.protocol", port.protocol, ("TCP", "UDP", "SCTP"))


def _check_host_network(path: str, container: Container | EphemeralContainer) -> v.Errors:
    for i, port in enumerate(container.ports):
        if port.host_port != port.container_port:
            yield v.invalid(
                f"{path}.ports[{i}].containerPort",
                port.container_port,
                "must match `hostPort` when `hostNetwork` is true",
            )


def _check_host_ports(path: str, containers: Sequence[Container]) -> v.Errors:
    seen: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.ports):
            if not port.host_port:
                continue
            taken = f"{port.protocol}/{port.host_ip}/{port.host_port}"
            if taken in seen:
                yield v.duplicate(f"{path}[{i}].ports[{j}].hostPort", taken)
            seen.add(taken)


# --- environment and mounts -----------------------------------------------------------------------------------------


def _check_env(path: str, variables: Sequence[EnvVar]) -> v.Errors:
    for i, variable in enumerate(variables):
        where = f"{path}[{i}]"
        yield from v.check_name(f"{where}.name", variable.name, names.check_env_name)
        source = variable.value_from
        if source is None:
            continue
        where = f"{where}.valueFrom"
        if variable.value:
            yield v.invalid(where, "", "may not be specified when `value` is not empty")
        given = [name for name in source.__struct_fields__ if getattr(source, name) is not None]
        if not given:
            yield v.invalid(
                where,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            )
        elif len(given) > 1:
            yield v.invalid(where, "", "may not have more than one field specified at a time")
        if source.field_ref is not None:
            yield from check_field_ref(f"{where}.fieldRef", source.field_ref, _ENV_FIELDS)
        if source.resource_field_ref is not None:
            yield from check_resource_ref(f"{where}.resourceFieldRef", source.resource_field_ref)
        for field, ref in (("configMapKeyRef", source.config_map_key_ref), ("secretKeyRef", source.secret_key_ref)):
            if ref is not None:
                if not ref.name:
                    yield v.required(f"{where}.{field}.name")
                yield from v.check_name(f"{where}.{field}.key", ref.key, names.check_config_key)


def _check_env_from(path: str, sources: Sequence[EnvFromSource]) -> v.Errors:
    for i, source in enumerate(sources):
        where = f"{path}[{i}]"
        if source.prefix:
            for message in names.check_env_name(source.prefix):
                yield v.invalid(f"{where}.prefix", source.prefix, message)
        given = [ref for ref in (source.config_map_ref, source.secret_ref) if ref is not None]
        if not given:
            yield v.invalid(where, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield v.invalid(where, "", "may not have more than one field specified at a time")
        for field, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
            if ref is not None and not ref.name:
                yield v.required(f"{where}.{field}.name")


def _check_mounts(path: str, mounts: Sequence[VolumeMount], volumes: set[str]) -> v.Errors:
    seen: set[str] = set()
    for i, mount in enumerate(mounts):
        where = f"{path}[{i}]"
        if not mount.name:
            yield v.required(f"{where}.name")
        elif mount.name not in volumes:
            yield v.not_found(f"{where}.name", mount.name)
        if not mount.mount_path:
            yield v.required(f"{where}.mountPath")
        elif mount.mount_path in seen:
            yield v.invalid(f"{where}.mountPath", mount.mount_path, "must be unique")
        seen.add(mount.mount_path)
        if mount.sub_path:
            yield from check_local_path(f"{where}.subPath", mount.sub_path)
        if mount.sub_path_expr:
            if mount.sub_path:
                yield v.invalid(
                    f"{where}.subPathExpr", mount.sub_path_expr, "subPathExpr and subPath are mutually exclusive"
                )
            yield from check_local_path(f"{where}.subPathExpr", mount.sub_path_expr)
        if mount.mount_propagation:
            yield from v.check_supported(
                f"{where}.mountPropagation", mount.mount_propagation, ("Bidirectional", "HostToContainer", "None")
            )


# --- probes and hooks -----------------------------------------------------------------------------------------------


def _check_probe(path: str, probe: Probe, *, is_readiness: bool) -> v.Errors:
    yield from _check_handler(path, probe)
    for field, value in (
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ):
        yield from v.check_not_negative(f"{path}.{field}", value)
    if not is_readiness and probe.success_threshold != 1:
        yield v.invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1")
    grace = probe.termination_grace_period_seconds
    if grace is not None:
        if is_readiness:
            yield v.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
        elif grace <= 0:
            yield v.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def _check_handler(path: str, handler: Probe | LifecycleHandler) -> v.Errors:
    fourth = "grpc" if isinstance(handler, Probe) else "sleep"
    kinds = (("exec", "exec"), ("http_get", "httpGet"), ("tcp_socket", "tcpSocket"), (fourth, fourth))
    given = [json_name for name, json_name in kinds if getattr(handler, name) is not None]
    if not given:
        yield v.required(path, "must specify a handler type")
    for extra in given[1:]:
        yield v.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    if handler.exec is not None and not handler.exec.command:
        yield v.required(f"{path}.exec.command")
    if handler.http_get is not None:
        yield from _check_http(f"{path}.httpGet", handler.http_get)
    if handler.tcp_socket is not None:
        yield from v.check_port_or_name(f"{path}.tcpSocket.port", handler.tcp_socket.port)
    if isinstance(handler, Probe):
        if handler.grpc is not None:
            yield from v.check_port(f"{path}.grpc.port", handler.grpc.port)
    elif handler.sleep is not None:
        yield from v.check_not_negative(f"{path}.sleep.seconds", handler.sleep.seconds)


def _check_http(path: str, action: HTTPGetAction) -> v.Errors:
    if not action.path:
        yield v.required(f"{path}.path")
    yield from v.check_port_or_name(f"{path}.port", action.port)
    yield from v.check_supported(f"{path}.scheme", action.scheme, ("HTTP", "HTTPS"))
    for i, header in enumerate(action.http_headers):
        if not header.name or not all(
            letter.isascii() and (letter.isalnum() or letter == "-") for letter in header.name
        ):
            yield v.invalid(
                f"{path}.httpHeaders[{i}].name",
                header.name,
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name',"
                " regex used for validation is '[-A-Za-z0-9]+')",
            )


# --- resources and security -----------------------------------------------------------------------------------------


def _check_resources(path: str, resources: ResourceRequirements) -> v.Errors:
    yield from _check_amounts(f"{path}.limits", resources.limits)
    yield from _check_amounts(f"{path}.requests", resources.requests)
    for name, request in resources.requests.items():
        limit = resources.limits.get(name)
        where = f"{path}.requests"
        if limit is None:
            if "/" in name:
                yield v.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif "/" in name and quantity.compare(request, limit):
            yield v.invalid(where, request, f"must be equal to {name} limit of {limit}")
        elif quantity.compare(request, limit) > 0:
            yield v.invalid(where, request, f"must be less than or equal to {name} limit of {limit}")


def _check_amounts(path: str, amounts: Mapping[str, str]) -> v.Errors:
    for name, amount in amounts.items():
        where = f"{path}[{name}]"
        wrong = names.check_qualified_name(name)
        for message in wrong:
            yield v.invalid(where, name, message)
        if not wrong and "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
            yield v.invalid(where, name, "must be a standard resource type or fully qualified")
        parsed = quantity.parse(amount)
        if parsed.nanos < 0:
            yield v.invalid(where, amount, "must be greater than or equal to 0")
        elif ("/" in name or name.startswith("hugepages-")) and parsed.nanos % quantity.NANOS:
            yield v.invalid(where, amount, "must be an integer")


def _check_security(path: str, context: SecurityContext) -> v.Errors:
    for field, value in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        if value is not None and not 0 <= value <= _INT32_MAX:
            yield v.invalid(f"{path}.{field}", value, f"must be between 0 and {_INT32_MAX}, inclusive")
    if context.allow_privilege_escalation is False:
        if context.privileged:
            yield v.invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        if context.capabilities is not None and "CAP_SYS_ADMIN" in context.capabilities.add:
            yield v.invalid(
                path,
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            )
    profile: Any = context.seccomp_profile
    if profile is not None:
        yield from v.check_supported(
            f"{path}.seccompProfile.type", profile.type, ("Localhost", "RuntimeDefault", "Unconfined")
        )
        if profile.type == "Localhost" and not profile.localhost_profile:
            yield v.required(f"{path}.seccompProfile.localhostProfile", "must be set when seccomp type is Localhost")

"""What the containers of a pod may be: images, ports, environment, mounts, probes, resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

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
from api.core.resource_names import (
    HUGE_PAGES,
    check_amount,
    check_container_resource_name,
    check_pages,
    may_overcommit,
)
from api.core.security_context import SecurityContext
from api.core.security_validation import check_app_armor, check_id, check_seccomp, check_windows_options
from api.core.source_validation import check_descending_path
from api.core.volume_validation import check_field_ref, check_resource_ref
from api.core.volumes import Volume, VolumeMount

if TYPE_CHECKING:
    from api.core.pod import PodSpec

_ENV_FIELDS: Final = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_PROPAGATIONS: Final = ("Bidirectional", "HostToContainer", "None")


def check_containers(path: str, spec: PodSpec, volumes: Mapping[str, Volume], *, is_pod: bool) -> v.Errors:
    """Check all containers of a pod, and what they share: names and host ports."""
    if not spec.containers:
        yield v.required(f"{path}.containers")
    grace_s = spec.termination_grace_period_seconds
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
            if is_pod and container.image != container.image.strip():
                yield v.invalid(f"{where}.image", container.image, "must not have leading or trailing whitespace")
            yield from _check_role(where, container, field, grace_s)
            if field == "containers" and spec.host_network:
                yield from _check_host_network(where, container, is_pod=is_pod)
    yield from _check_host_ports(f"{path}.containers", spec.containers)
    for container in spec.init_containers:  # These run one after the other, so each is held to its own ports alone.
        yield from _check_host_ports(f"{path}.initContainers", [container])


def _check_role(path: str, container: Container | EphemeralContainer, field: str, grace_s: int | None) -> v.Errors:
    """Check what only some containers may have."""
    if field == "ephemeralContainers":
        yield from _check_ephemeral(path, container)
        return
    is_init = field == "initContainers"
    if container.restart_policy is not None:
        if not is_init:
            yield v.forbidden(f"{path}.restartPolicy", "may not be set for non-init containers")
        elif container.restart_policy != "Always":
            yield v.not_supported(f"{path}.restartPolicy", container.restart_policy, ("Always",))
    if is_init and container.restart_policy != "Always":
        for name, part in (
            ("lifecycle", container.lifecycle),
            ("livenessProbe", container.liveness_probe),
            ("readinessProbe", container.readiness_probe),
            ("startupProbe", container.startup_probe),
        ):
            if part is not None:
                yield v.forbidden(f"{path}.{name}", "may not be set for init containers without restartPolicy=Always")
        return
    if container.lifecycle is not None:
        for name, handler in (
            ("postStart", container.lifecycle.post_start),
            ("preStop", container.lifecycle.pre_stop),
        ):
            if handler is not None:
                yield from _check_handler(f"{path}.lifecycle.{name}", handler, grace_s)
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        if probe is not None:
            yield from _check_probe(f"{path}.{name}", probe, is_readiness=name == "readinessProbe")


def _check_ephemeral(path: str, container: Container | EphemeralContainer) -> v.Errors:
    parts: tuple[tuple[str, object], ...] = (
        ("ports", container.ports),
        ("resources", container.resources != ResourceRequirements()),
        ("resizePolicy", container.resize_policy),
        ("restartPolicy", container.restart_policy is not None),
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
        ("lifecycle", container.lifecycle),
    )
    for name, given in parts:
        if given:
            yield v.forbidden(f"{path}.{name}", "cannot be set for an Ephemeral Container")
    for i, mount in enumerate(container.volume_mounts):
        for name, below in (("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)):
            if below:
                where = f"{path}.volumeMounts[{i}].{name}"
                yield v.forbidden(where, "cannot be set for an Ephemeral Container")


def _check_container(path: str, container: Container | EphemeralContainer, volumes: Mapping[str, Volume]) -> v.Errors:
    if not container.image:
        yield v.required(f"{path}.image")
    yield from v.check_supported(
        f"{path}.terminationMessagePolicy",
        container.termination_message_policy,
        ("File", "FallbackToLogsOnError"),
        in_order=True,
    )
    yield from _check_ports(f"{path}.ports", container.ports)
    yield from _check_env(f"{path}.env", container.env)
    yield from _check_env_from(f"{path}.envFrom", container.env_from)
    yield from _check_mounts(f"{path}.volumeMounts", container, volumes)
    yield from _check_devices(f"{path}.volumeDevices", container, volumes)
    yield from v.check_supported(
        f"{path}.imagePullPolicy", container.image_pull_policy, ("Always", "IfNotPresent", "Never")
    )
    yield from check_resources(f"{path}.resources", container.resources)
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


def _check_host_network(path: str, container: Container | EphemeralContainer, *, is_pod: bool) -> v.Errors:
    """Require ports that are the host's own; in a template they may still be left to the pod's defaults."""
    for i, port in enumerate(container.ports):
        if (is_pod or port.host_port) and port.host_port != port.container_port:
            yield v.invalid(
                f"{path}.ports[{i}].hostPort",
                port.host_port,
                "must match `containerPort` when `hostNetwork` is true",
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
        if source.field_ref is not None:
            yield from check_field_ref(f"{where}.fieldRef", source.field_ref, _ENV_FIELDS)
        if source.resource_field_ref is not None:
            yield from check_resource_ref(f"{where}.resourceFieldRef", source.resource_field_ref)
        for field, ref in (("configMapKeyRef", source.config_map_key_ref), ("secretKeyRef", source.secret_key_ref)):
            if ref is not None:
                for message in names.check_subdomain(ref.name):
                    yield v.invalid(f"{where}.{field}.name", ref.name, message)
                yield from v.check_name(f"{where}.{field}.key", ref.key, names.check_config_key)
        given = [name for name in source.__struct_fields__ if getattr(source, name) is not None]
        if not given:
            why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            yield v.invalid(where, "", why)
        elif variable.value:
            yield v.invalid(where, "", "may not be specified when `value` is not empty")
        elif len(given) > 1:
            yield v.invalid(where, "", "may not have more than one field specified at a time")


def _check_env_from(path: str, sources: Sequence[EnvFromSource]) -> v.Errors:
    for i, source in enumerate(sources):
        where = f"{path}[{i}]"
        if source.prefix:
            for message in names.check_env_name(source.prefix):
                yield v.invalid(f"{where}.prefix", source.prefix, message)
        given = [ref for ref in (source.config_map_ref, source.secret_ref) if ref is not None]
        for field, ref in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
            if ref is not None:
                yield from v.check_name(f"{where}.{field}.name", ref.name, names.check_subdomain)
        if not given:
            yield v.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            yield v.invalid(path, "", "may not have more than one field specified at a time")


def _check_mounts(path: str, container: Container | EphemeralContainer, volumes: Mapping[str, Volume]) -> v.Errors:
    """Check where volumes are mounted; upstream tells of some fields below the list, not below the item."""
    devices = {device.name: device.device_path for device in container.volume_devices}
    seen: set[str] = set()
    for i, mount in enumerate(container.volume_mounts):
        where = f"{path}[{i}]"
        if not mount.name:
            yield v.required(f"{where}.name")
        if mount.name not in volumes:
            yield v.not_found(f"{where}.name", mount.name)
        if not mount.mount_path:
            yield v.required(f"{where}.mountPath")
        if mount.mount_path in seen:
            yield v.invalid(f"{where}.mountPath", mount.mount_path, "must be unique")
        seen.add(mount.mount_path)
        if mount.name in devices:
            yield v.invalid(f"{where}.name", mount.name, "must not already exist in volumeDevices")
        if mount.mount_path in devices.values():
            why = "must not already exist as a path in volumeDevices"
            yield v.invalid(f"{where}.mountPath", mount.mount_path, why)
        if mount.sub_path:
            yield from check_descending_path(f"{path}.subPath", mount.sub_path)
        if mount.sub_path_expr:
            if mount.sub_path:
                why = "subPathExpr and subPath are mutually exclusive"
                yield v.invalid(f"{where}.subPathExpr", mount.sub_path_expr, why)
            yield from check_descending_path(f"{path}.subPathExpr", mount.sub_path_expr)
        yield from _check_propagation(path, mount, container.security_context)


def _check_propagation(path: str, mount: VolumeMount, context: SecurityContext | None) -> v.Errors:
    propagation = mount.mount_propagation
    if propagation is not None:
        where = f"{path}.mountPropagation"
        if propagation not in _PROPAGATIONS:
            yield v.not_supported(where, propagation, _PROPAGATIONS)
        if propagation == "Bidirectional" and not (context is not None and context.privileged):
            yield v.forbidden(where, "Bidirectional mount propagation is available only to privileged containers")
    where = f"{path}.recursiveReadOnly"
    match mount.recursive_read_only:
        case None | "Disabled":
            pass
        case "Enabled" | "IfPossible":
            if not mount.read_only:
                yield v.forbidden(where, "may only be specified when readOnly is true")
            if propagation not in (None, "None"):
                yield v.forbidden(where, "may only be specified when mountPropagation is None or not specified")
        case other:
            yield v.not_supported(where, other, ("Disabled", "Enabled", "IfPossible"))


def _check_devices(path: str, container: Container | EphemeralContainer, volumes: Mapping[str, Volume]) -> v.Errors:
    mounts = {mount.name: mount.mount_path for mount in container.volume_mounts}
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for i, device in enumerate(container.volume_devices):
        where = f"{path}[{i}]"
        volume = volumes.get(device.name)
        if not device.name:
            yield v.required(f"{where}.name")
        if device.name in seen_names:
            yield v.invalid(f"{where}.name", device.name, "must be unique")
        if volume is None:
            yield v.not_found(f"{where}.name", device.name)
        elif volume.persistent_volume_claim is None and volume.ephemeral is None:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield v.invalid(f"{where}.name", device.name, why)
        if not device.device_path:
            yield v.required(f"{where}.devicePath")
        if device.device_path in seen_paths:
            yield v.invalid(f"{where}.devicePath", device.device_path, "must be unique")
        if ".." in device.device_path.split("/"):
            yield v.invalid(f"{where}.devicePath", device.device_path, "can not contain backsteps ('..')")
        else:
            seen_paths.add(device.device_path)
        if device.name in mounts:
            yield v.invalid(f"{where}.name", device.name, "must not already exist in volumeMounts")
        if device.device_path in mounts.values():
            why = "must not already exist as a path in volumeMounts"
            yield v.invalid(f"{where}.devicePath", device.device_path, why)
        if device.name:
            seen_names.add(device.name)


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
    grace = probe.termination_grace_period_seconds
    if grace is not None and grace <= 0:
        yield v.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")
    if is_readiness:
        if grace is not None:
            yield v.invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes")
    elif probe.success_threshold != 1:
        yield v.invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1")


def _check_handler(path: str, handler: Probe | LifecycleHandler, grace_s: int | None = None) -> v.Errors:
    """Check what is done to a container; of several kinds only the first counts. `grace_s` is the pod's."""
    fourth = "grpc" if isinstance(handler, Probe) else "sleep"
    kinds = (("exec", "exec"), ("http_get", "httpGet"), ("tcp_socket", "tcpSocket"), (fourth, fourth))
    given = [json_name for name, json_name in kinds if getattr(handler, name) is not None]
    if not given:
        yield v.required(path, "must specify a handler type")
        return
    where = f"{path}.{given[0]}"
    if handler.exec is not None:
        if not handler.exec.command:
            yield v.required(f"{where}.command")
    elif handler.http_get is not None:
        yield from _check_http(where, handler.http_get)
    elif handler.tcp_socket is not None:
        yield from v.check_port_or_name(f"{where}.port", handler.tcp_socket.port)
    elif isinstance(handler, Probe):
        if handler.grpc is not None:
            yield from v.check_port(f"{where}.port", handler.grpc.port)
    elif handler.sleep is not None and grace_s is not None and not 0 < handler.sleep.seconds <= grace_s:
        yield v.invalid(
            where,
            handler.sleep.seconds,
            f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace_s})."
            " Enable AllowPodLifecycleSleepActionZeroValue feature gate for zero sleep.",
        )
    for extra in given[1:]:
        yield v.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")


def _check_http(path: str, action: HTTPGetAction) -> v.Errors:
    if not action.path:
        yield v.required(f"{path}.path")
    yield from v.check_port_or_name(f"{path}.port", action.port)
    if action.scheme not in ("HTTP", "HTTPS"):
        yield v.not_supported(f"{path}.scheme", action.scheme, ("HTTP", "HTTPS"))
    for header in action.http_headers:
        if not header.name or not all(
            letter.isascii() and (letter.isalnum() or letter == "-") for letter in header.name
        ):
            yield v.invalid(
                f"{path}.httpHeaders",
                header.name,
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name',"
                " regex used for validation is '[-A-Za-z0-9]+')",
            )


# --- resources and security -----------------------------------------------------------------------------------------


def check_resources(path: str, resources: ResourceRequirements) -> v.Errors:
    """Check limits and requests; what cannot be shared (huge pages, devices) is asked for just as it is limited."""
    yield from _check_amounts(f"{path}.limits", resources.limits)
    yield from _check_amounts(f"{path}.requests", resources.requests)
    for name, request in resources.requests.items():
        limit = resources.limits.get(name)
        where = f"{path}.requests"
        if limit is None:
            if not may_overcommit(name):
                yield v.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif quantity.compare(request, limit) and not may_overcommit(name):
            yield v.invalid(where, request, f"must be equal to {name} limit of {limit}")
        elif quantity.compare(request, limit) > 0:
            yield v.invalid(where, request, f"must be less than or equal to {name} limit of {limit}")
    asked = {*resources.limits, *resources.requests}
    if any(name.startswith(HUGE_PAGES) for name in asked) and not asked & {"cpu", "memory"}:
        yield v.forbidden(path, "HugePages require cpu or memory")


def _check_amounts(path: str, amounts: Mapping[str, str]) -> v.Errors:
    for name, amount in amounts.items():
        where = f"{path}[{name}]"
        yield from check_container_resource_name(where, name)
        yield from check_amount(where, name, amount)
        yield from check_pages(where, name, amount)


def _check_security(path: str, context: SecurityContext) -> v.Errors:
    for field, value in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        yield from check_id(f"{path}.{field}", value)
    yield from check_seccomp(f"{path}.seccompProfile", context.seccomp_profile)
    if context.allow_privilege_escalation is False:
        if context.privileged:
            yield v.invalid(path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        if context.capabilities is not None and "CAP_SYS_ADMIN" in context.capabilities.add:
            yield v.invalid(
                path,
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            )
    yield from check_windows_options(f"{path}.windowsOptions", context.windows_options)
    yield from check_app_armor(f"{path}.appArmorProfile", context.app_armor_profile)

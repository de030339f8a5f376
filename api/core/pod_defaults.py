"""What a pod gets where its author said nothing: upstream's v1 defaults.

A pod's template (in a Deployment, a ReplicaSet) gets `default_spec`; a pod itself also what depends on being one:
requests from limits, host ports, service links. Admission fills in the rest: service account, priority, tolerations.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from api.core.containers import Container, EnvVar, EphemeralContainer, HTTPGetAction, LifecycleHandler, Probe
from api.core.security_context import PodSecurityContext
from api.core.storage_systems import default_systems
from api.core.volumes import DownwardAPIVolumeFile, EmptyDirVolumeSource, Volume, VolumeProjection

if TYPE_CHECKING:
    from api.core.pod import Pod, PodSpec, PodTemplateSpec

_FILE_MODE = 0o644
_TOKEN_LIFETIME_S = 3600


def default_pod(pod: Pod) -> None:
    """Default a pod, in place."""
    default_spec(pod.spec)
    spec = pod.spec
    if spec.enable_service_links is None:
        spec.enable_service_links = True
    for container in (*spec.containers, *spec.init_containers):
        limits, requests = container.resources.limits, container.resources.requests
        for name, amount in limits.items():
            requests.setdefault(name, amount)
        if spec.host_network:
            for port in container.ports:
                port.host_port = port.host_port or port.container_port


def default_template(template: PodTemplateSpec) -> None:
    """Default a pod template, in place."""
    default_spec(template.spec)


def default_spec(spec: PodSpec) -> None:
    """Default a pod's spec, in place."""
    spec.restart_policy = spec.restart_policy or "Always"
    spec.dns_policy = spec.dns_policy or "ClusterFirst"
    spec.scheduler_name = spec.scheduler_name or "default-scheduler"
    if spec.termination_grace_period_seconds is None:
        spec.termination_grace_period_seconds = 30
    if spec.security_context is None:
        spec.security_context = PodSecurityContext()
    # The older name of the field is kept equal to the newer one.
    spec.service_account_name = spec.service_account_name or spec.service_account
    spec.service_account = spec.service_account_name
    containers: list[Container | EphemeralContainer] = [*spec.init_containers, *spec.containers]
    for container in (*containers, *spec.ephemeral_containers):
        _default_container(container)
    for volume in spec.volumes:
        _default_volume(volume)


def pull_policy_of(image: str) -> str:
    """Return when an image is pulled if nobody says: always when its tag is `latest` or missing.

    What is no reference to an image has no tag that could be missing.
    """
    found = _REFERENCE.fullmatch(image)
    if found is None or _ID.fullmatch(image):
        return "IfNotPresent"
    return "Always" if found["tag"] == "latest" or not (found["tag"] or found["digest"]) else "IfNotPresent"


_ID: Final = re.compile("[a-f0-9]{64}")
_HOST_PART: Final = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PATH_PART: Final = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"(?:{_HOST_PART}(?:[.]{_HOST_PART})*(?::[0-9]+)?/)?{_PATH_PART}(?:/{_PATH_PART})*(?::(?P<tag>[\w][\w.-]{{0,127}}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
"""The grammar of references to images (github.com/distribution/reference)."""


def _default_container(container: Container | EphemeralContainer) -> None:
    container.termination_message_path = container.termination_message_path or "/dev/termination-log"
    container.termination_message_policy = container.termination_message_policy or "File"
    container.image_pull_policy = container.image_pull_policy or pull_policy_of(container.image)
    for port in container.ports:
        port.protocol = port.protocol or "TCP"
    for variable in container.env:
        _default_variable(variable)
    for probe in (container.liveness_probe, container.readiness_probe, container.startup_probe):
        if probe is not None:
            _default_probe(probe)
    if container.lifecycle is not None:
        for handler in (container.lifecycle.post_start, container.lifecycle.pre_stop):
            if handler is not None:
                _default_http(handler)


def _default_variable(variable: EnvVar) -> None:
    source = variable.value_from
    if source is None:
        return
    if source.field_ref is not None:
        source.field_ref.api_version = source.field_ref.api_version or "v1"
    if source.resource_field_ref is not None:
        source.resource_field_ref.divisor = source.resource_field_ref.divisor or "0"


def _default_probe(probe: Probe) -> None:
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.success_threshold = probe.success_threshold or 1
    probe.failure_threshold = probe.failure_threshold or 3
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""
    _default_http(probe)


def _default_http(handler: Probe | LifecycleHandler) -> None:
    action: HTTPGetAction | None = handler.http_get
    if action is not None:
        action.path = action.path or "/"
        action.scheme = action.scheme or "HTTP"


_SOURCES = tuple(name for name in Volume.__struct_fields__ if name != "name")


def _default_volume(volume: Volume) -> None:
    if all(getattr(volume, name) is None for name in _SOURCES):
        volume.empty_dir = EmptyDirVolumeSource()
    default_systems(volume)
    files: tuple[Any, ...] = (volume.secret, volume.config_map, volume.downward_api, volume.projected)
    for source in files:
        if source is not None and source.default_mode is None:
            source.default_mode = _FILE_MODE
    if volume.downward_api is not None:
        _default_items(volume.downward_api.items)
    if volume.projected is not None:
        for projection in volume.projected.sources:
            _default_projection(projection)
    if volume.image is not None:
        volume.image.pull_policy = volume.image.pull_policy or pull_policy_of(volume.image.reference)
    if volume.ephemeral is not None and volume.ephemeral.volume_claim_template is not None:
        claim = volume.ephemeral.volume_claim_template.spec
        if claim.volume_mode is None:
            claim.volume_mode = "Filesystem"


def _default_projection(projection: VolumeProjection) -> None:
    if projection.service_account_token is not None and projection.service_account_token.expiration_seconds is None:
        projection.service_account_token.expiration_seconds = _TOKEN_LIFETIME_S
    if projection.downward_api is not None:
        _default_items(projection.downward_api.items)


def _default_items(items: list[DownwardAPIVolumeFile]) -> None:
    for item in items:
        if item.field_ref is not None:
            item.field_ref.api_version = item.field_ref.api_version or "v1"
        if item.resource_field_ref is not None:
            item.resource_field_ref.divisor = item.resource_field_ref.divisor or "0"

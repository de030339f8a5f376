"""Fields that upstream 1.32 has behind feature gates which are off by default: the API knows them, and drops them.

A client that sends one hears nothing of it, and gets the object without (decision 112). What an object has already it
keeps, so that objects from elsewhere can still be changed. All functions take what is wanted, changed here, and what
is there now, None at create. Pure.

Source: upstream's pkg/api/pod, pkg/api/persistentvolume and pkg/api/persistentvolumeclaim, "drop disabled fields".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from api.core.containers import Container, EphemeralContainer
    from api.core.persistentvolume import PersistentVolumeSpec
    from api.core.pod import PodSpec, PodTemplateSpec
    from api.core.volumes import PersistentVolumeClaimSpec


class _HasTemplate(Protocol):
    @property
    def spec(self) -> Any: ...


def drop_of_template(new: _HasTemplate, old: _HasTemplate | None) -> None:
    """Drop what the pod template of a workload may not say."""
    template: PodTemplateSpec | None = new.spec.template
    before: PodTemplateSpec | None = old.spec.template if old is not None else None
    if template is not None:
        drop_of_pod(template.spec, before.spec if before is not None else None)


def drop_of_pod(new: PodSpec, old: PodSpec | None) -> None:
    """Drop what a pod may not say."""
    if old is None or old.host_users is None:
        new.host_users = None
    if old is None or old.resources is None or not (old.resources.requests or old.resources.limits):
        new.resources = None
    if old is None or not old.resource_claims:
        new.resource_claims = []
        for container in _containers(new):
            container.resources.claims = []
    if old is None or not any(container.resize_policy for container in _containers(old)):
        for container in _containers(new):
            container.resize_policy = []
    _drop_of_security(new, old)
    _drop_of_volumes(new, old)


def _drop_of_security(new: PodSpec, old: PodSpec | None) -> None:
    security, before = new.security_context, old.security_context if old is not None else None
    if security is not None and (before is None or before.supplemental_groups_policy is None):
        security.supplemental_groups_policy = None
    if security is not None and (before is None or before.se_linux_change_policy is None):
        security.se_linux_change_policy = None
    if old is None or not any(_unmasks(container) for container in _containers(old)):
        for container in _containers(new):
            if container.security_context is not None and container.security_context.proc_mount is not None:
                # Not dropped: objects that were stored by 1.12 have it.
                container.security_context.proc_mount = "Default"


def _unmasks(container: Container | EphemeralContainer) -> bool:
    security = container.security_context
    return security is not None and security.proc_mount not in (None, "Default")


def _drop_of_volumes(new: PodSpec, old: PodSpec | None) -> None:
    if old is None or not any(volume.image is not None for volume in old.volumes):
        images = {volume.name for volume in new.volumes if volume.image is not None}
        if images:
            new.volumes = [volume for volume in new.volumes if volume.image is None]
            for container in _containers(new):
                container.volume_mounts = [mount for mount in container.volume_mounts if mount.name not in images]
    if old is None or not any(source.cluster_trust_bundle is not None for source in _sources(old)):
        for source in _sources(new):
            source.cluster_trust_bundle = None


def _sources(spec: PodSpec) -> Iterator[Any]:
    for volume in spec.volumes:
        if volume.projected is not None:
            yield from volume.projected.sources


def _containers(spec: PodSpec) -> Iterator[Container | EphemeralContainer]:
    yield from spec.init_containers
    yield from spec.containers
    yield from spec.ephemeral_containers


def drop_of_claim(new: PersistentVolumeClaimSpec, old: PersistentVolumeClaimSpec | None) -> None:
    """Drop what a claim may not say: a source in another namespace, and the class of a volume's attributes."""
    source = new.data_source_ref
    if source is not None and source.namespace and (old is None or old.data_source_ref is None):
        new.data_source_ref = None
    if old is None or old.volume_attributes_class_name is None:
        new.volume_attributes_class_name = None


def drop_of_volume(new: PersistentVolumeSpec, old: PersistentVolumeSpec | None) -> None:
    """Drop what a volume may not say: the class of its attributes."""
    if old is None or old.volume_attributes_class_name is None:
        new.volume_attributes_class_name = None

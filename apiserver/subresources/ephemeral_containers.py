"""pods/ephemeralcontainers: `kubectl debug`, a container added to a pod that runs already (KEP-277).

Containers may only be added; what is there stays as it is. Nothing else of the pod is written.
"""

from __future__ import annotations

from api import validation as v
from api.core import pod
from api.core.container_validation import check_containers
from api.core.containers import EphemeralContainer
from api.core.pod import Pod
from api.core.static_pods import MIRROR
from api.core.volume_validation import check_volumes
from api.meta import ObjectMeta
from apiserver.request import Answer, Call
from apiserver.verbs import patch as patch_verb
from apiserver.verbs import update as update_verb
from apiserver.verbs.context import Context
from apiserver.verbs.get import get as get_ephemeral_containers

__all__ = ["get_ephemeral_containers", "patch_ephemeral_containers", "update_ephemeral_containers"]

_PATH = "spec.ephemeralContainers"


async def update_ephemeral_containers(context: Context, call: Call) -> Answer:
    """Set the pod's ephemeral containers to the body's."""
    # As for a status, the rules of pod updates do not apply: they forbid this very change.
    return await update_verb.update(context, call, prepare=_prepare, is_status=True)


async def patch_ephemeral_containers(context: Context, call: Call) -> Answer:
    """Patch the pod, and keep what that made of its ephemeral containers."""
    return await patch_verb.patch(context, call, prepare=_prepare, is_status=True)


def _prepare(new: Pod, old: Pod) -> None:
    wanted = new.spec.ephemeral_containers
    new.metadata, new.spec, new.status = _with_version(new, old), old.spec, old.status
    before = list(old.spec.ephemeral_containers)
    new.spec.ephemeral_containers = wanted
    errors = list(_check(new, before))
    if MIRROR in old.metadata.annotations:
        errors = [v.forbidden("", "static pods do not support ephemeral containers")]
    if errors:
        raise v.refuse(pod.RESOURCE, new, errors)


def _with_version(new: Pod, old: Pod) -> ObjectMeta:
    """Return the old metadata, but for the owners of fields, of which the new one knows more."""
    kept = old.metadata
    kept.managed_fields = new.metadata.managed_fields
    return kept


def _check(new: Pod, before: list[EphemeralContainer]) -> v.Errors:
    by_name = {container.name: container for container in new.spec.ephemeral_containers}
    for container in before:
        if container.name not in by_name:
            yield v.forbidden(_PATH, f'existing ephemeral containers "{container.name}" may not be removed')
        elif by_name[container.name] != container:
            yield v.forbidden(_PATH, f'existing ephemeral containers "{container.name}" may not be changed')
    others = {container.name for container in (*new.spec.containers, *new.spec.init_containers)}
    for i, container in enumerate(new.spec.ephemeral_containers):
        target = container.target_container_name
        if target and target not in others:
            yield v.not_found(f"{_PATH}[{i}].targetContainerName", target)
    volumes, _ = check_volumes("spec.volumes", new.spec.volumes)
    for error in check_containers("spec", new.spec, volumes, is_pod=True):
        if error.path.startswith(_PATH):
            yield error

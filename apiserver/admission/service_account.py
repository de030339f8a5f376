"""ServiceAccount: every pod runs as an account, which must exist, and gets a token for it as a volume.

The volume is projected: a token bound to the pod that the kubelet renews, the cluster's CA, and the namespace's name
(KEP-1205). The odd 3607 seconds tell tokens of this volume from those people asked an hour for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Any, Final

from api import names
from api.core import pod, serviceaccount
from api.core.containers import Container
from api.core.references import LocalObjectReference, ObjectFieldSelector
from api.core.static_pods import is_mirror
from api.core.volumes import (
    ConfigMapProjection,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from api.errors import NotFound
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

DEFAULT_ACCOUNT: Final = "default"
DEFAULT_ACCOUNT_LOOKS: Final = 30
"""Some five seconds: clients make a namespace and a pod in it at once, however busy the machine is."""
LOOK_AGAIN_S: Final = 0.1
MOUNT_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX: Final = "kube-api-access-"
TOKEN_EXPIRATION_S: Final = 3607
ROOT_CA_CONFIG_MAP: Final = "kube-root-ca.crt"
ENFORCE_ANNOTATION: Final = "kubernetes.io/enforce-mountable-secrets"
"""On an account: its pods may use only the secrets it lists."""


class ServiceAccountAdmission:
    """Gives a pod its account, its token volume, and the account's imagePullSecrets."""

    def __init__(self, accounts: Lister[serviceaccount.ServiceAccount], read: Read, random: Random) -> None:
        self._accounts = accounts
        self._read = read
        self._random = random

    async def admit(self, request: AdmissionRequest) -> None:
        """Complete a new pod.

        Raises:
            Forbidden: the account does not exist (in a new namespace: not within a second or two), or a mirror pod
                names one.
        """
        if request.resource is not pod.RESOURCE or request.subresource or request.operation != "CREATE":
            return
        new: Any = request.object
        spec: pod.PodSpec = new.spec
        if is_mirror(new):
            # A node's own static pod: a token of any account would be more than the node may give away.
            if spec.service_account_name:
                raise refusal(request, "a mirror pod may not reference service accounts")
            if any(True for _ in _secrets_of(spec)) or spec.image_pull_secrets:
                raise refusal(request, "a mirror pod may not reference secrets")
            if any(source.service_account_token for v in spec.volumes if v.projected for source in v.projected.sources):
                raise refusal(request, "a mirror pod may not use ServiceAccountToken volume projections")
            return
        spec.service_account_name = spec.service_account_name or spec.service_account or DEFAULT_ACCOUNT
        spec.service_account = spec.service_account_name
        account = await self._find(request, ObjectKey(request.namespace, spec.service_account_name))
        if account.metadata.annotations.get(ENFORCE_ANNOTATION) == "true":
            _check_secrets(request, spec, account)
        if _mounts_token(spec, account):
            self._mount(spec)
        if not spec.image_pull_secrets:
            spec.image_pull_secrets = [LocalObjectReference(name=ref.name) for ref in account.image_pull_secrets]

    async def _find(self, request: AdmissionRequest, key: ObjectKey) -> serviceaccount.ServiceAccount:
        found = self._accounts.get(key)
        if found is not None:
            return found
        # The default account of a new namespace is about to be made.
        for left in reversed(range(DEFAULT_ACCOUNT_LOOKS if key.name == DEFAULT_ACCOUNT else 1)):
            try:
                read: serviceaccount.ServiceAccount = await self._read(serviceaccount.RESOURCE, key)
            except NotFound:
                if left:
                    await asyncio.sleep(LOOK_AGAIN_S * (1 + self._random.random()))
                    continue
                break
            return read
        why = f'error looking up service account {key}: serviceaccount "{key.name}" not found'
        raise refusal(request, why)

    def _mount(self, spec: pod.PodSpec) -> None:
        containers = [c for c in (*spec.init_containers, *spec.containers) if not _has_mount(c)]
        if not containers:
            return
        name = next((volume.name for volume in spec.volumes if volume.name.startswith(VOLUME_PREFIX)), "")
        if not name:
            name = names.generate(VOLUME_PREFIX, self._random)
            spec.volumes = [*spec.volumes, token_volume(name)]
        for container in containers:
            mount = VolumeMount(name=name, read_only=True, mount_path=MOUNT_PATH)
            container.volume_mounts = [*container.volume_mounts, mount]


def _mounts_token(spec: pod.PodSpec, account: serviceaccount.ServiceAccount) -> bool:
    if spec.automount_service_account_token is not None:
        return spec.automount_service_account_token
    return account.automount_service_account_token is not False


def _check_secrets(request: AdmissionRequest, spec: pod.PodSpec, account: serviceaccount.ServiceAccount) -> None:
    """Refuse secrets that the account does not list."""
    name = account.metadata.name
    listed = {reference.name for reference in account.secrets}
    for secret, where in _secrets_of(spec):
        if secret not in listed:
            why = f"is not allowed because service account {name} does not reference that secret"
            raise refusal(request, f'{where}secret.secretName="{secret}" {why}')
    pulling = {reference.name for reference in account.image_pull_secrets}
    for index, reference in enumerate(spec.image_pull_secrets):
        if reference.name not in pulling:
            raise refusal(
                request,
                f'imagePullSecrets[{index}].name="{reference.name}" is not allowed because service account {name} '
                "does not reference that imagePullSecret",
            )


def _secrets_of(spec: pod.PodSpec) -> Iterator[tuple[str, str]]:
    """Yield the secrets that volumes and variables are made of, and how a refusal begins."""
    for volume in spec.volumes:
        if volume.secret is not None:
            yield volume.secret.secret_name, "volume with "
        for source in volume.projected.sources if volume.projected is not None else ():
            if source.secret is not None:
                yield source.secret.name, "volume with "
    for kind, containers in (("init container", spec.init_containers), ("container", spec.containers)):
        for container in containers:
            for variable in container.env:
                reference = variable.value_from.secret_key_ref if variable.value_from is not None else None
                if reference is not None:
                    yield reference.name, f"{kind} {container.name} with envVar {variable.name} referencing "
            for whole in container.env_from:
                if whole.secret_ref is not None:
                    yield whole.secret_ref.name, f"{kind} {container.name} with envFrom referencing "


def _has_mount(container: Container) -> bool:
    return any(mount.mount_path == MOUNT_PATH for mount in container.volume_mounts)


def token_volume(name: str) -> Volume:
    """Return the volume that a pod reaches the API with."""
    token = ServiceAccountTokenProjection(expiration_seconds=TOKEN_EXPIRATION_S, path="token")
    root_ca = ConfigMapProjection(name=ROOT_CA_CONFIG_MAP, items=[KeyToPath(key="ca.crt", path="ca.crt")])
    field = ObjectFieldSelector(api_version="v1", field_path="metadata.namespace")
    namespace = DownwardAPIProjection(items=[DownwardAPIVolumeFile(path="namespace", field_ref=field)])
    sources = [
        VolumeProjection(service_account_token=token),
        VolumeProjection(config_map=root_ca),
        VolumeProjection(downward_api=namespace),
    ]
    return Volume(name=name, projected=ProjectedVolumeSource(sources=sources, default_mode=0o644))

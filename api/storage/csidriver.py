"""CSIDriver: what the cluster should know of a storage driver."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int64, Struct, always, field, wire


class TokenRequest(Struct):
    """A token of the pod's service account that a driver gets when it mounts.

    Attributes:
        audience: For whom the token is; empty is the API server.
        expiration_seconds: For how many seconds it is valid, at least 600; unset, as the server chooses (one hour).
    """

    audience: Annotated[str, wire(1, required=True)] = always("")
    expiration_seconds: Annotated[Int64 | None, wire(2)] = None


class CSIDriverSpec(Struct):
    """What a storage driver needs and can.

    Attributes:
        attach_required: Whether volumes must be attached to a node before they are mounted; true by default. Never
            changes.
        pod_info_on_mount: Whether the driver is told name, namespace and uid of the pod; false by default.
        volume_lifecycle_modes: What sort of volumes it has: Persistent (the default) and Ephemeral, which live with a
            pod. Never changes.
        storage_capacity: Whether the scheduler looks at CSIStorageCapacity objects before a volume is made; false by
            default.
        fs_group_policy: Whether a pod's fsGroup is applied to volumes: ReadWriteOnceWithFSType (the default: only to
            those), File (always) or None.
        token_requests: Tokens of the pod's service account that the driver wants.
        requires_republish: Whether mounted volumes are mounted again from time to time, for the driver to renew what is
            there; false by default.
        se_linux_mount: Whether volumes can be mounted with an SELinux label (-o context); false by default.
    """

    attach_required: Annotated[bool | None, wire(1)] = None
    pod_info_on_mount: Annotated[bool | None, wire(2)] = None
    volume_lifecycle_modes: Annotated[list[str], wire(3, list_type="set")] = []
    storage_capacity: Annotated[bool | None, wire(4)] = None
    fs_group_policy: Annotated[str | None, wire(5)] = None
    token_requests: Annotated[list[TokenRequest], wire(6, list_type="atomic")] = []
    requires_republish: Annotated[bool | None, wire(7)] = None
    se_linux_mount: Annotated[bool | None, wire(8)] = None


class CSIDriver(Struct):
    """What the cluster should know of a storage driver; its name is the driver's."""

    api_version: str = always("storage.k8s.io/v1")
    kind: str = always("CSIDriver")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[CSIDriverSpec, wire(2, required=True)] = field(default_factory=CSIDriverSpec)


def default(driver: CSIDriver) -> None:
    """A driver attaches volumes, is told nothing of pods, and provides persistent volumes."""
    spec = driver.spec
    if spec.attach_required is None:
        spec.attach_required = True
    if spec.pod_info_on_mount is None:
        spec.pod_info_on_mount = False
    if spec.storage_capacity is None:
        spec.storage_capacity = False
    if spec.fs_group_policy is None:
        spec.fs_group_policy = "ReadWriteOnceWithFSType"
    if not spec.volume_lifecycle_modes:
        spec.volume_lifecycle_modes = ["Persistent"]
    if spec.requires_republish is None:
        spec.requires_republish = False
    if spec.se_linux_mount is None:
        spec.se_linux_mount = False


def validate(new: CSIDriver, old: CSIDriver | None) -> v.Errors:
    """Check the policies; whether volumes are attached, and how they live, never changes."""
    spec = new.spec
    if spec.fs_group_policy is not None:
        yield from v.check_given(
            "spec.fsGroupPolicy", spec.fs_group_policy, ("File", "None", "ReadWriteOnceWithFSType")
        )
    seen: set[str] = set()
    for i, request in enumerate(spec.token_requests):
        where = f"spec.tokenRequests[{i}]"
        if request.audience in seen:
            yield v.duplicate(f"{where}.audience", request.audience)
            continue
        seen.add(request.audience)
        seconds = request.expiration_seconds
        if seconds is not None and not 600 <= seconds <= 2**32:
            yield v.invalid(
                f"{where}.expirationSeconds",
                seconds,
                "may not specify a duration less than 10 minutes"
                if seconds < 600
                else "may not specify a duration larger than 2^32 seconds",
            )
    for mode in spec.volume_lifecycle_modes:
        yield from v.check_given("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"), in_order=True)
    if old is not None:
        yield from v.check_immutable("spec.attachedRequired", spec.attach_required, old.spec.attach_required)
        yield from v.check_immutable(
            "spec.volumeLifecycleModes", spec.volume_lifecycle_modes, old.spec.volume_lifecycle_modes
        )


def _audiences(driver: CSIDriver, now: float) -> str:
    requests = driver.spec.token_requests
    return ",".join(request.audience for request in requests) if requests else "<unset>"


RESOURCE: Final[Resource[CSIDriver]] = Resource(
    type=CSIDriver,
    group="storage.k8s.io",
    version="v1",
    kind="CSIDriver",
    plural="csidrivers",
    namespaced=False,
    default=default,
    validate=validate,
    generation=True,
    columns=(
        Column(
            "AttachRequired",
            "boolean",
            lambda d, now: bool(d.spec.attach_required),
            "Whether volumes are attached first.",
        ),
        Column(
            "PodInfoOnMount", "boolean", lambda d, now: bool(d.spec.pod_info_on_mount), "Whether it is told of pods."
        ),
        Column(
            "StorageCapacity", "boolean", lambda d, now: bool(d.spec.storage_capacity), "Whether it tells what is free."
        ),
        Column("TokenRequests", "string", _audiences, "For whom it wants tokens of pods' accounts."),
        Column(
            "RequiresRepublish",
            "boolean",
            lambda d, now: bool(d.spec.requires_republish),
            "Whether mounts are made anew now and then.",
        ),
        Column("Modes", "string", lambda d, now: ",".join(d.spec.volume_lifecycle_modes), "How its volumes live."),
        AGE,
    ),
)

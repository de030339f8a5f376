"""VolumeAttachment: the wish that a volume be attached to a node, and whether it is."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.core.persistentvolume import PersistentVolumeSpec
from api.core.persistentvolumeclaim import check_access_modes
from api.core.source_validation import check_driver, check_source
from api.meta import ObjectMeta
from api.resource import Column, Resource, keep_all_but_status
from api.schema import Struct, Time, always, field, wire

_METADATA_BYTES_MAX: Final = 256 * 1024
_MESSAGE_BYTES_MAX: Final = 1024


class VolumeError(Struct):
    """What went wrong, and when.

    Attributes:
        time: When it happened.
        message: What was said; may end up in logs, so it must hold no secrets.
    """

    time: Annotated[Time, wire(1)] = ""
    message: Annotated[str, wire(2)] = ""


class VolumeAttachmentStatus(Struct):
    """Whether a volume is attached, and what went wrong.

    Attributes:
        attached: Whether it is attached; only the attacher says so.
        attachment_metadata: What the driver needs to know when it mounts the volume.
        attach_error: Why attaching last failed; unset after a success.
        detach_error: Why detaching last failed; unset after a success.
    """

    attached: Annotated[bool, wire(1, required=True)] = always(False)
    attachment_metadata: Annotated[dict[str, str], wire(2)] = {}
    attach_error: Annotated[VolumeError | None, wire(3)] = None
    detach_error: Annotated[VolumeError | None, wire(4)] = None


class VolumeAttachmentSource(Struct):
    """The volume that is attached; one of both is set.

    Attributes:
        persistent_volume_name: The PersistentVolume, by name.
        inline_volume_spec: The volume written out, for volumes of pods that are migrated to CSI.
    """

    persistent_volume_name: Annotated[str | None, wire(1)] = None
    inline_volume_spec: Annotated[PersistentVolumeSpec | None, wire(2)] = None


class VolumeAttachmentSpec(Struct):
    """Which volume is to be attached, where, and by whom.

    Attributes:
        attacher: The CSI driver that does it.
        source: Which volume.
        node_name: To which node it is to be attached.
    """

    attacher: Annotated[str, wire(1, required=True)] = always("")
    source: Annotated[VolumeAttachmentSource, wire(2, required=True)] = field(default_factory=VolumeAttachmentSource)
    node_name: Annotated[str, wire(3, required=True)] = always("")


class VolumeAttachment(Struct):
    """The wish that a volume be attached to a node, and whether it is.

    Attributes:
        spec: What is wished for. Never changes.
    """

    api_version: str = always("storage.k8s.io/v1")
    kind: str = always("VolumeAttachment")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[VolumeAttachmentSpec, wire(2, required=True)] = field(default_factory=VolumeAttachmentSpec)
    status: Annotated[VolumeAttachmentStatus, wire(3)] = field(default_factory=VolumeAttachmentStatus)


def validate(new: VolumeAttachment, old: VolumeAttachment | None) -> v.Errors:
    """Check what is to be attached where, which never changes."""
    spec, source = new.spec, new.spec.source
    if not spec.attacher:
        yield v.required("spec.attacher")
    if source.persistent_volume_name is None and source.inline_volume_spec is None:
        yield v.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif source.persistent_volume_name is not None and source.inline_volume_spec is not None:
        yield v.forbidden("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif source.persistent_volume_name == "":
        yield v.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
    elif source.inline_volume_spec is not None:
        yield from _check_inline("spec.source.inlineVolumeSpec", source.inline_volume_spec)
    for message in names.check_subdomain(spec.node_name):
        yield v.invalid("spec.nodeName", spec.node_name, message)
    yield from validate_status(new, new)
    if old is None:
        # Older objects may say what is not allowed any more.
        yield from check_driver("spec.attacher", spec.attacher)
        if source.persistent_volume_name is not None:
            for message in names.check_subdomain(source.persistent_volume_name):
                yield v.invalid("spec.source.persistentVolumeName", source.persistent_volume_name, message)
    elif spec != old.spec:
        yield v.invalid("spec", spec, "field is immutable")


def _check_inline(path: str, volume: PersistentVolumeSpec) -> v.Errors:
    """Check a volume that no object stands for: it is a driver's, and has nothing that only an object has use for."""
    yield from check_access_modes(f"{path}.accessModes", volume.access_modes, why="")
    if volume.csi is None:
        yield v.required(f"{path}.csi", "has to be specified in the context of inline volumes")
    else:
        yield from check_source(path, "csi", volume.csi, is_persistent=True, name="")
    for label, value in (
        ("claimRef", volume.claim_ref),
        ("capacity", volume.capacity),
        ("persistentVolumeReclaimPolicy", volume.persistent_volume_reclaim_policy),
        ("nodeAffinity", volume.node_affinity),
        ("storageClassName", volume.storage_class_name),
        ("volumeMode", volume.volume_mode),
    ):
        if value:
            yield v.forbidden(f"{path}.{label}", "may not be specified in the context of inline volumes")


def validate_status(new: VolumeAttachment, old: VolumeAttachment) -> v.Errors:
    """Check that what a driver tells is no more than the store should hold."""
    status = new.status
    size = sum(len(key.encode()) + len(value.encode()) for key, value in status.attachment_metadata.items())
    if size > _METADATA_BYTES_MAX:
        yield v.too_long("status.attachmentMetadata", _METADATA_BYTES_MAX)
    for name, error in (("attachError", status.attach_error), ("detachError", status.detach_error)):
        if error is not None and len(error.message.encode()) > _MESSAGE_BYTES_MAX:
            yield v.too_long(f"status.{name}.message", _MESSAGE_BYTES_MAX)


RESOURCE: Final[Resource[VolumeAttachment]] = Resource(
    type=VolumeAttachment,
    group="storage.k8s.io",
    version="v1",
    kind="VolumeAttachment",
    plural="volumeattachments",
    namespaced=False,
    subresources=("status",),
    validate=validate,
    validate_status=validate_status,
    prepare_for_status_update=keep_all_but_status,
    columns=(
        Column("Attacher", "string", lambda a, now: a.spec.attacher, "Who attaches it.", format="name"),
        Column("PV", "string", lambda a, now: a.spec.source.persistent_volume_name or "", "The volume."),
        Column("Node", "string", lambda a, now: a.spec.node_name, "The node."),
        Column("Attached", "boolean", lambda a, now: a.status.attached, "Whether it is there."),
        AGE,
    ),
)

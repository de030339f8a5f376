"""Which files a ConfigMap, Secret, downward API or projected volume consists of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.core.configmap import ConfigMap
from api.core.pod import Pod
from api.core.secret import Secret
from api.core.volumes import DownwardAPIVolumeFile, KeyToPath
from kubelet.downward import PodFacts, UnknownField, container_named, field_value, resource_value

DEFAULT_MODE = 0o644


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int
    user: int | None = None
    """Whom it belongs to; None for the kubelet."""


Payload = dict[str, File]
"""By path relative to the volume, `/` between directories."""


class PayloadError(Exception):
    """A volume's content cannot be made: something it names is not there, or a path leads outside."""


def from_keys(
    what: str, content: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, *, optional: bool
) -> Payload:
    """Return all keys as files, or, with `items`, just those under the paths they give.

    Args:
        what: begins what is said of a missing key: `references non-existent secret key`.
        content: values by key.
        items: which keys go where; empty for all under their own names.
        mode: of files whose item has none.
        optional: whether an item's key may be missing.

    Raises:
        PayloadError: an item's key is missing, or its path is not allowed.
    """
    if not items:
        return {check_path(key): File(value, mode) for key, value in content.items()}
    payload: Payload = {}
    for item in items:
        if item.key not in content:
            if optional:
                continue
            raise PayloadError(f"{what}: {item.key}")
        payload[check_path(item.path)] = File(content[item.key], mode if item.mode is None else item.mode)
    return payload


def config_map_content(config_map: ConfigMap | None) -> dict[str, bytes]:
    """Return text and binary values alike, as bytes."""
    if config_map is None:
        return {}
    return {key: value.encode() for key, value in config_map.data.items()} | dict(config_map.binary_data)


def secret_content(secret: Secret | None) -> dict[str, bytes]:
    """Return the Secret's values."""
    return dict(secret.data) if secret is not None else {}


def from_downward(pod: Pod, items: Iterable[DownwardAPIVolumeFile], mode: int, facts: PodFacts) -> Payload:
    """Return the files of a downward API volume. Raises PayloadError."""
    payload: Payload = {}
    for item in items:
        try:
            if item.field_ref is not None:
                text = field_value(pod, item.field_ref.field_path, facts)
            elif item.resource_field_ref is not None:
                container = container_named(pod, item.resource_field_ref.container_name)
                if container is None:
                    raise PayloadError(f"no container {item.resource_field_ref.container_name!r} in the pod")
                text = resource_value(container, item.resource_field_ref, facts)
            else:
                text = ""
        except UnknownField as error:
            raise PayloadError(str(error)) from None
        payload[check_path(item.path)] = File(text.encode(), mode if item.mode is None else item.mode)
    return payload


def check_path(path: str) -> str:
    """Return the path if it stays within the volume; the names the atomic writer keeps for itself begin with `..`.

    Raises:
        PayloadError: it does not.
    """
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise PayloadError(f"invalid path {path!r}: it must be relative, and may not begin with or contain '..'")
    return "/".join(part for part in parts if part not in ("", "."))

"""OCI image archives: one layer, one configuration, one tar, the same bytes every time.

Formats: OCI Image Format Specification 1.0 (image layout, manifest, configuration, index). `write` makes what
`ctr images import` and `steer images load` take; `read_references` says what an archive would import.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_MEDIA = "application/vnd.oci.image"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageUnavailable(Exception):
    """An image cannot be built on this machine; the message says what to install."""


class NotAnArchive(ValueError):
    """A file is not an image archive; the message names it."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file in the layer."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Image:
    """What an image holds and how it starts."""

    reference: str
    """Registry, name and tag, such as `steersman.local/web:1`."""
    files: Sequence[File] = ()
    directories: Sequence[str] = ()
    """Made before files; `tmp` may be written by everybody."""
    links: Sequence[tuple[str, str]] = ()
    """Symbolic links: path and target."""
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Sequence[str] = (f"PATH={PATH}",)
    ports: Sequence[int] = ()
    labels: dict[str, str] = field(default_factory=dict)


def architecture() -> str:
    """Return this machine's architecture in OCI's words."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def fingerprint(image: Image) -> str:
    """Return twelve digits that change when the image's content or the way it starts does."""
    content = hashlib.sha256(repr((image, architecture())).encode())
    return content.hexdigest()[:12]


def write(image: Image, path: Path, *, level: int = 9) -> str:
    """Write `image` as an archive to `path`, whole or not at all, and return its manifest's digest.

    `level` is gzip's, 0 to 9: how much time it takes for how few bytes.
    """
    layer = _layer(image)
    compressed = gzip.compress(layer, compresslevel=level, mtime=0)
    running = {
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "Env": list(image.environment),
        "WorkingDir": "/",
        "ExposedPorts": {f"{port}/tcp": {} for port in image.ports},
        "Labels": image.labels,
    }
    configuration = _json(
        {
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {key: value for key, value in running.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "steersman"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _descriptor(f"{_MEDIA}.config.v1+json", configuration),
            "layers": [_descriptor(f"{_MEDIA}.layer.v1.tar+gzip", compressed)],
        }
    )
    entry = _descriptor(f"{_MEDIA}.manifest.v1+json", manifest) | {
        "platform": {"architecture": architecture(), "os": "linux"},
        "annotations": {
            # containerd takes the full name from the first, other tools the tag from the second.
            "io.containerd.image.name": image.reference,
            "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2],
        },
    }
    index = _json({"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [entry]})
    members = [File("oci-layout", _json({"imageLayoutVersion": "1.0.0"})), File("index.json", index)]
    members += [
        File(f"blobs/sha256/{_digest(blob).partition(':')[2]}", blob) for blob in (compressed, configuration, manifest)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with temporary.open("wb") as file:
        _write_tar(file, [], members, [])
    temporary.replace(path)
    return _digest(manifest)


def read_references(path: Path) -> dict[str, str]:
    """Return the images an archive holds, full name to digest; empty when its index gives no full names.

    Raises:
        NotAnArchive: `path` is missing, or neither an OCI nor a Docker archive.
    """
    try:
        with tarfile.open(path) as archive:
            names = set(archive.getnames())
            if "index.json" not in names:
                if "manifest.json" in names:
                    return {}
                raise NotAnArchive(f"{path} is not an image archive: it has no index.json")
            index = archive.extractfile("index.json")
            assert index is not None
            manifests = json.load(index)["manifests"]
    except (OSError, tarfile.TarError, ValueError, KeyError) as error:
        raise NotAnArchive(f"{path} is not an image archive: {error}") from error
    named = [(entry.get("annotations", {}).get("io.containerd.image.name"), entry["digest"]) for entry in manifests]
    return {name: digest for name, digest in named if name}


def _layer(image: Image) -> bytes:
    buffer = io.BytesIO()
    _write_tar(buffer, image.directories, image.files, image.links)
    return buffer.getvalue()


def _write_tar(
    target: IO[bytes], directories: Sequence[str], files: Sequence[File], links: Sequence[tuple[str, str]]
) -> None:
    """Write a tar whose members carry no time, owner or order of this machine's."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in directories:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
            archive.addfile(member)
        for file in files:
            member = tarfile.TarInfo(file.path)
            member.size, member.mode = len(file.content), file.mode
            archive.addfile(member, io.BytesIO(file.content))
        for name, leads_to in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, leads_to, 0o777
            archive.addfile(member)


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

"""Static pods' files: from a directory (or one file) to the pods in it.

A file is one pod, in YAML or JSON. Names that begin with a dot are passed over, and so is everything that is no plain
file. A pod's name gets the node's appended and its UID is made of what the file says, so a changed file is another pod.
A file that cannot be read as a pod is reported once for each of its contents and harms nothing else. "Create static
Pods" in Kubernetes' documentation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api import bodies, serde, timestamps, validation
from api.core import pod as pods
from api.core.placement import Toleration
from api.core.pod import Pod
from api.core.pod_references import of_static_pod
from api.core.pod_status import PodStatus
from api.core.static_pods import FILE, HASH, MIRROR, SEEN, SOURCE
from api.errors import ApiError
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import key_of

log = logging.getLogger(__name__)

SIZE_BYTES_MAX: Final = 1 << 20
SETTLE_S: Final = 2.0
"""A file that cannot be read so soon after it changed may be half written: what it held before goes on."""

_Signature = tuple[int, int, int]
_NO_SIGNATURE: Final[_Signature] = (0, 0, 0)


class BadManifest(Exception):
    """What a file holds cannot be run as a static pod; the message says why."""


def read_pod(body: bytes, file: str, node: str, now: float) -> Pod:
    """Return the static pod that a file's content describes.

    Args:
        body: the content, YAML or JSON.
        file: the file's path: the same content in another file is another pod.
        node: the name of this node.
        now: when the file was first seen, seconds since the epoch.

    Raises:
        BadManifest: it is no pod, breaks a rule of the API, or refers to what only the API server knows.
    """
    value = _parse(body)
    pod = _decode(value)
    pods.RESOURCE.default(pod)
    metadata = pod.metadata
    metadata.uid = _uid_of(value, file, node)
    if metadata.name:
        metadata.name = f"{metadata.name}-{node.lower()}"
    metadata.namespace = metadata.namespace or "default"
    pod.spec.node_name = node
    # Taints that drive pods away do not reach this one: it would only be started again.
    pod.spec.tolerations = [*pod.spec.tolerations, Toleration(operator="Exists", effect="NoExecute")]
    metadata.annotations = {
        **{key: value for key, value in metadata.annotations.items() if key != MIRROR},
        HASH: metadata.uid,
        SEEN: timestamps.render(now),
        SOURCE: FILE,
    }
    referred = sorted(set(of_static_pod(pod)))
    if referred:
        raise BadManifest(f"a static pod may not refer to {', '.join(referred)}: only the API server knows those")
    errors = [f"{error.path}: {error.message}" for error in validation.find_errors(pods.RESOURCE, pod, None)]
    if errors:
        raise BadManifest("; ".join(errors))
    return pod


def _parse(body: bytes) -> dict[str, Any]:
    content_type = "application/json" if body.lstrip()[:1] == b"{" else "application/yaml"
    try:
        value, _ = bodies.parse(body, content_type)
    except ApiError as error:
        raise BadManifest(error.message) from None
    if not isinstance(value, dict) or (value.get("apiVersion"), value.get("kind")) != ("v1", "Pod"):
        raise BadManifest("it must hold one Pod: apiVersion v1, kind Pod")
    return value


def _decode(value: dict[str, Any]) -> Pod:
    try:
        decoded = serde.decode_value(value, pods.RESOURCE).object
    except ApiError as error:
        raise BadManifest(error.message) from None
    told = decoded.metadata
    decoded.metadata = ObjectMeta(
        name=told.name, namespace=told.namespace, labels=told.labels, annotations=told.annotations
    )
    decoded.status = PodStatus(phase="Pending")
    return decoded


def _uid_of(value: dict[str, Any], file: str, node: str) -> str:
    """Return a name for what a file says: not a secret, and as long as upstream's, which people know from annotations.

    Of the text as it was written, so that a newer kubelet with more defaults does not take it for another pod.
    """
    said = json.dumps(value, sort_keys=True, default=str)
    return hashlib.md5(f"host:{node}\nfile:{file}\n{said}".encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class _Read:
    """What a file held when last read."""

    signature: _Signature
    since_s: float
    """When this content was first seen."""
    pod: Pod | None
    problem: str = ""


class Manifests:
    """The pods of one directory, or of one file."""

    def __init__(self, path: Path, node: str, now: Callable[[], float], tell: Callable[[str], None]) -> None:
        """Make it; `now` is the time since the epoch, `tell` is told of each file that cannot be used, and why."""
        self._path = path
        self._node = node
        self._now = now
        self._tell = tell
        self._known: dict[str, _Read] = {}
        self._told: dict[str, str] = {}

    def look(self) -> dict[ObjectKey, Pod]:
        """Return the pods that are there now; a name that two files give is the first file's."""
        found: dict[ObjectKey, Pod] = {}
        problems: dict[str, str] = {}
        known: dict[str, _Read] = {}
        for file in self._files(problems):
            read = self._read(file)
            if read is None:
                continue
            known[file] = read
            if read.problem and self._now() - read.since_s >= SETTLE_S:
                problems[file] = read.problem
            if read.pod is None:
                continue
            key = key_of(read.pod)
            if key in found:
                problems[file] = f"another file has a pod of the name {key} already"
                continue
            found[key] = read.pod
        self._known = known
        for file, problem in problems.items():
            if self._told.get(file) != problem:
                log.error("not a static pod that can be run", extra={"file": file, "error": problem})
                self._tell(f"{file}: {problem}")
        self._told = problems
        return found

    def _files(self, problems: dict[str, str]) -> list[str]:
        try:
            if not self._path.is_dir():
                return [str(self._path)] if self._path.exists() else []
            return sorted(entry.path for entry in os.scandir(self._path) if not entry.name.startswith("."))
        except OSError as error:
            problems[str(self._path)] = str(error)
            # What cannot be seen is no reason to stop what runs.
            return sorted(self._known)

    def _read(self, file: str) -> _Read | None:
        """Return what a file holds, from memory if it did not change; None if there is no such plain file."""
        before, now = self._known.get(file), self._now()
        running = before.pod if before is not None else None
        try:
            found = os.stat(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _Read(_NO_SIGNATURE, now - SETTLE_S, running, str(error))
        if not stat.S_ISREG(found.st_mode):
            return None
        signature, since_s = (found.st_mtime_ns, found.st_size, found.st_ino), now
        if before is not None and before.signature == signature:
            if not before.problem or before.pod is None:
                return before
            since_s = before.since_s
        try:
            if found.st_size > SIZE_BYTES_MAX:
                raise BadManifest(f"it is larger than {SIZE_BYTES_MAX} bytes")
            pod = read_pod(Path(file).read_bytes(), file, self._node, now)
        except (BadManifest, OSError) as error:
            return _Read(signature, since_s, running if now - since_s < SETTLE_S else None, str(error))
        if running is not None and running.metadata.uid == pod.metadata.uid:
            pod = running
        return _Read(signature, since_s, pod)

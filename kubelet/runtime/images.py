"""Images: whether to pull one, and not asking again too soon after it failed."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass

import grpc

from component.clock import Clock
from kubelet.runtime.cri import Cri, CriError, RuntimeUnavailable
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 10.0
BACKOFF_MAX_S = 300.0
PULLS_AT_ONCE = 4

_REFERENCE = re.compile(
    r"(?:(?:[a-zA-Z0-9.-]+|\[[a-fA-F0-9:]+\])(?::[0-9]+)?/)?"  # registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"  # repository
    r"(?::[\w][\w.-]{0,127})?"  # tag
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",  # digest
    re.ASCII,
)
"""The grammar of image references (OCI Distribution Specification, "Pulling manifests", and its registries' usage)."""


class ImageError(Exception):
    """An image is not to be had now; `reason` is what the container's state shows."""

    def __init__(self, reason: str, message: str, *, retry_at: float) -> None:
        super().__init__(message)
        self.reason = reason
        """ErrImagePull, ImagePullBackOff, ErrImageNeverPull, ImageInspectError or InvalidImageName."""
        self.message = message
        self.retry_at = retry_at
        """When to try again, by the monotonic clock."""


class PullReporter:
    """Told of what happens with an image, to make events of it; this one tells nobody."""

    def pulling(self, image: str) -> None:
        """A pull begins."""

    def pulled(self, image: str, took_s: float, size_bytes: int) -> None:
        """A pull has ended well."""

    def present(self, image: str) -> None:
        """No pull is needed."""


@dataclass(slots=True)
class _Failure:
    delay_s: float
    until: float
    message: str


def reference_flaw(image: str) -> str:
    """Return why `image` cannot name an image, in the words of the registries' reference library; empty if it can."""
    if re.fullmatch("[0-9a-f]{64}", image):
        return f"invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
    repository = _split_registry(image)[1].partition(":")[0]
    if repository != repository.lower():
        return f"invalid reference format: repository name ({repository}) must be lowercase"
    return "" if _REFERENCE.fullmatch(image) else "invalid reference format"


def _split_registry(image: str) -> tuple[str, str]:
    """Return the registry and what it is asked for; what is before a slash is a registry only if it looks like one."""
    first, slash, rest = image.partition("/")
    looks_like_one = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if slash and looks_like_one:
        return first, rest
    return "docker.io", image if slash else f"library/{image}"


def _told(error: CriError) -> str:
    """Return why a pull failed; "Unknown" would add nothing to it (upstream's cri-client)."""
    return error.message if error.code is grpc.StatusCode.UNKNOWN else error.with_code


def normalize(image: str) -> str:
    """Return the full name of an image: `web` is `docker.io/library/web:latest`."""
    name, at, digest = image.partition("@")
    last = name.rsplit("/", 1)[-1]
    if not at and ":" not in last:
        name += ":latest"
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name + at + digest


class Images:
    """The images of one node."""

    def __init__(self, cri: Cri, clock: Clock) -> None:
        self._cri = cri
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        self._slots = asyncio.Semaphore(PULLS_AT_ONCE)

    async def ensure(
        self, image: str, policy: str, sandbox: pb.PodSandboxConfig, auths: list[pb.AuthConfig], report: PullReporter
    ) -> pb.Image:
        """Return the image, pulling it if `policy` (Always, IfNotPresent, Never) says so.

        Raises:
            ImageError: it is not to be had; ask again no sooner than it says.
            CriError: the runtime does not answer.
        """
        flaw = reference_flaw(image)
        if flaw:
            message = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {flaw}'
            raise ImageError("InvalidImageName", message, retry_at=self._clock.monotonic() + BACKOFF_FIRST_S)
        name = normalize(image)
        present = await self._cri.image_status(name)
        if present is not None and policy != "Always":
            report.present(image)
            return present
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            raise ImageError("ErrImageNeverPull", message, retry_at=self._clock.monotonic() + BACKOFF_FIRST_S)
        failure = self._failures.get(name)
        if failure is not None and self._clock.monotonic() < failure.until:
            message = f'Back-off pulling image "{image}": ErrImagePull: {failure.message}'
            raise ImageError("ImagePullBackOff", message, retry_at=failure.until)
        report.pulling(image)
        began = self._clock.monotonic()
        error: CriError | None = None
        async with self._slots:
            for auth in [*auths, None]:
                try:
                    await self._cri.pull_image(name, auth, sandbox)
                    error = None
                    break
                except RuntimeUnavailable:
                    raise
                except CriError as failed:
                    error = failed
        pulled = await self._cri.image_status(name)
        if error is not None or pulled is None:
            said = _told(error) if error is not None else "the runtime does not show it"
            delay = min(failure.delay_s * 2, BACKOFF_MAX_S) if failure is not None else BACKOFF_FIRST_S
            until = self._clock.monotonic() + delay
            self._failures[name] = _Failure(delay, until, said)
            raise ImageError("ErrImagePull", said, retry_at=until)
        self._failures.pop(name, None)
        report.pulled(image, self._clock.monotonic() - began, pulled.size)
        return pulled

"""ImagePolicyWebhook: somebody else's server says whether a pod's images may be run (ImageReview).

Its answers are kept for a while by what was asked. That it cannot be asked refuses the pod, or, where `defaultAllow`
says so, lets it be, with a note in the pod's annotations and the audit log.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from api.core import pod
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest
from apiserver.webhooks.client import CallFailed, WebhookClient
from apiserver.webhooks.identities import parse_server
from apiserver.webhooks.services import no_services
from component.clock import Clock

log = logging.getLogger(__name__)
ATTEMPTS: Final = 5
TIMEOUT_S: Final = 30.0
KEPT_MAX: Final = 1024
_API_VERSION: Final = "imagepolicy.k8s.io/v1alpha1"
_KIND: Final = "ImageReview"
_AUDIT: Final = "imagepolicywebhook.image-policy.k8s.io/"
_ABOUT_IMAGES: Final = ".image-policy.k8s.io/"
_FAILED_OPEN: Final = "alpha.image-policy.k8s.io/failed-open"


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """What the plugin is told."""

    kubeconfig: Path
    allow_ttl_s: float = 300.0
    deny_ttl_s: float = 30.0
    retry_backoff_s: float = 0.5
    default_allow: bool = False


class _Status(msgspec.Struct, rename="camel"):
    allowed: bool = False
    reason: str = ""
    audit_annotations: dict[str, str] | None = None


class _Review(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status = msgspec.field(default_factory=_Status)


class ImagePolicyWebhook:
    """The plugin."""

    def __init__(self, told: ImagePolicy, clock: Clock) -> None:
        """Read the kubeconfig.

        Raises:
            BadIdentities, OSError: it cannot be used.
        """
        place, identities = parse_server(told.kubeconfig)
        self._told = told
        self.client = WebhookClient(no_services, identities=identities)
        """To be closed in the end."""
        self._place = place
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, _Status]] = OrderedDict()

    async def validate(self, request: AdmissionRequest) -> None:
        """Ask about the images of a pod; raises Forbidden."""
        if request.resource is not pod.RESOURCE or request.operation not in ("CREATE", "UPDATE"):
            return
        if request.subresource not in ("", "ephemeralcontainers"):
            return
        new: Any = request.object
        spec = _spec_about(new, request)
        key = msgspec.json.encode(spec)
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() < kept[0]:
            status = kept[1]
        else:
            try:
                status = await self._ask(spec)
            except (CallFailed, msgspec.MsgspecError) as error:
                log.warning("the image policy webhook gives no answer", extra={"why": str(error)})
                if not self._told.default_allow:
                    raise refusal(request, str(error)) from None
                request.annotations[_AUDIT + "failed-open"] = "true"
                new.metadata.annotations = {**new.metadata.annotations, _FAILED_OPEN: "true"}
                return
            self._keep(key, status)
        for name, value in (status.audit_annotations or {}).items():
            request.annotations[_AUDIT + name] = value
        if status.allowed:
            return
        if status.reason:
            raise refusal(request, f"image policy webhook backend denied one or more images: {status.reason}")
        raise refusal(request, "one or more images rejected by webhook backend")

    def _keep(self, key: bytes, status: _Status) -> None:
        ttl_s = self._told.allow_ttl_s if status.allowed else self._told.deny_ttl_s
        self._kept[key] = self._clock.monotonic() + ttl_s, status
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    async def _ask(self, spec: dict[str, Any]) -> _Status:
        """Return the answer; raises CallFailed and msgspec.MsgspecError."""
        question = {"kind": _KIND, "apiVersion": _API_VERSION, "metadata": {"creationTimestamp": None}}
        body = msgspec.json.encode({**question, "spec": spec, "status": {"allowed": False}})
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self.client.ask(self._place, body, timeout_s=TIMEOUT_S)
                review = msgspec.json.decode(answer, type=_Review)
                if (review.api_version, review.kind) != (_API_VERSION, _KIND):
                    raise CallFailed(f"it answers with {review.api_version or '-'}, {review.kind or '-'}")
                return review.status
            except CallFailed as failed:
                if attempt == ATTEMPTS or not failed.may_pass:
                    raise
            await self._clock.sleep(self._told.retry_backoff_s * 1.5 ** (attempt - 1))
        raise AssertionError("unreachable")


def _spec_about(of: Any, request: AdmissionRequest) -> dict[str, Any]:
    spec = of.spec
    # Of a pod that gets an ephemeral container, the others run already.
    others = () if request.subresource else (*spec.containers, *spec.init_containers)
    found = {key: value for key, value in of.metadata.annotations.items() if _ABOUT_IMAGES in key}
    asked: dict[str, Any] = {
        "containers": [{"image": each.image} for each in (*others, *spec.ephemeral_containers)],
        "annotations": dict(sorted(found.items())),
        "namespace": request.namespace,
    }
    return {key: value for key, value in asked.items() if value}

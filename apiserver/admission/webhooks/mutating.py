"""MutatingAdmissionWebhook: asks webhooks one after the other, each about what those before it have made.

A webhook that wants to see what others changed after it (reinvocationPolicy IfNeeded) is asked once more in a second
round, which any change starts; so are the server's own plugins.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from api import serde
from api.errors import ApiError
from api.patch import json_patch
from api.patch.failure import PatchFailure
from api.resource import Resource
from apiserver.admission.matching import is_exempt
from apiserver.admission.webhooks.call import ADMIT, Caller, Invocation, WebhookFailed, internal_error
from apiserver.admission.webhooks.registered import Registered
from apiserver.admission.webhooks.review import JSON_PATCH, Answer
from apiserver.request import AdmissionRequest

log = logging.getLogger(__name__)

_NAME: Final = "MutatingAdmissionWebhook"
_ANNOTATED: Final = "mutation.webhook.admission.k8s.io"
_PATCHED: Final = "patch.webhook.admission.k8s.io"
_FAILED_OPEN: Final = "failed-open.mutation.webhook.admission.k8s.io"


@dataclass(slots=True)
class _Memory:
    """What happened so far to one request."""

    asked: set[str] = field(default_factory=set)
    """Webhooks that have been asked and want to be asked again if something changes."""
    again: set[str] = field(default_factory=set)
    """Those of them for which something has changed."""
    left: bytes = b""
    """The object as the last round left it."""

    def note_change(self) -> None:
        """Let all who were asked be asked again."""
        self.again |= self.asked
        self.asked = set()


class MutatingWebhooks:
    """The plugin."""

    def __init__(self, registered: Registered, caller: Caller) -> None:
        self._registered = registered
        self._caller = caller

    async def admit(self, request: AdmissionRequest) -> None:
        """Let webhooks change the object.

        Raises:
            Refused: a webhook says no. InternalError: one that has to be asked can't be.
        """
        webhooks = self._registered.webhooks()
        if not webhooks or is_exempt(request):
            return
        memory: _Memory = request.memory.setdefault(_NAME, _Memory())
        if request.is_reinvocation and memory.left != _encoded(request.object):
            memory.note_change()  # Our own plugins changed something in this round.
        for index, webhook in enumerate(webhooks):
            invocation = await self._caller.select(webhook, request)
            if invocation is None or (request.is_reinvocation and webhook.uid not in memory.again):
                continue
            try:
                is_changed = await self._ask(invocation, request, index)
            except WebhookFailed as failed:
                if not webhook.ignores_failure:
                    log.warning("a webhook failed; the request fails with it", extra={"error": str(failed)})
                    raise failed.error() from None
                log.warning("a webhook failed; the request goes on without it", extra={"error": str(failed)})
                request.annotations[_key(_FAILED_OPEN, request, index)] = webhook.name
                self._caller.metrics.failed_open.add((webhook.name, ADMIT))
                is_changed = False
            if is_changed:
                memory.note_change()
                request.wants_another_round = True
            if webhook.is_asked_again:
                memory.asked.add(webhook.uid)
        if request.wants_another_round:
            memory.left = _encoded(request.object)

    async def _ask(self, invocation: Invocation, request: AdmissionRequest, index: int) -> bool:
        """Ask one webhook and apply its patch; returns whether that changed anything."""
        webhook = invocation.webhook
        answer = await self._caller.ask(invocation, request, is_mutating=True)
        is_changed = bool(answer.patch) and await self._apply(answer, invocation, request)
        told = {"configuration": webhook.configuration, "webhook": webhook.name, "mutated": is_changed}
        request.annotations[_key(_ANNOTATED, request, index)] = msgspec.json.encode(told).decode()
        if is_changed:
            told = {**told, "patch": answer.patch, "patchType": JSON_PATCH}
            del told["mutated"]
            request.annotations[_key(_PATCHED, request, index)] = msgspec.json.encode(told).decode()
        return is_changed

    async def _apply(self, answer: Answer, invocation: Invocation, request: AdmissionRequest) -> bool:
        name = invocation.webhook.name
        if request.object is None:
            raise internal_error(
                f'admission webhook "{name}" attempted to modify the object, which is not supported for this operation'
            )
        if answer.patch_type != JSON_PATCH:
            raise WebhookFailed(name, f'unsupported patch type "{answer.patch_type}"')
        if len(answer.patch) > json_patch.OPERATIONS_MAX:
            raise internal_error(f"the patch has more than {json_patch.OPERATIONS_MAX} operations")
        matched = invocation.matched
        shown = await self._caller.convert(request.object, request.resource, matched)
        try:
            patched = json_patch.apply(serde.to_value(shown), answer.patch)
            new = _decoded(patched, shown, matched)
        except (PatchFailure, RecursionError, msgspec.ValidationError) as failure:
            raise internal_error(str(failure) or "the patch nests too deeply") from None
        except ApiError as error:
            raise internal_error(error.message) from None
        if _encoded(new) == _encoded(shown):
            return False
        made = await self._caller.convert(new, matched, request.resource)
        if type(made) is request.resource.type:
            request.resource.default(made)
        request.object = made
        return True


def _decoded(value: Any, shown: Any, resource: Resource[Any]) -> Any:
    """Return plain values as an object of the kind of `shown`: `resource`'s, or what its subresource shows of it."""
    if type(shown) is not resource.type:
        return msgspec.convert(value, type(shown))
    obj: Any = serde.decode_value(value, resource).object
    obj.api_version, obj.kind = shown.api_version, shown.kind
    resource.default(obj)
    return obj


def _encoded(obj: Any) -> bytes:
    return serde.encode(obj) if obj is not None else b""


def _key(prefix: str, request: AdmissionRequest, index: int) -> str:
    return f"{prefix}/round_{int(request.is_reinvocation)}_index_{index}"

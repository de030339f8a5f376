"""Asking one webhook about one request."""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

from api.errors import ApiError, BadRequest, Cause, Forbidden, InternalError, Timeout
from api.resource import Resource
from apiserver.admission.conditions import ConditionFailed
from apiserver.admission.matching import Matcher
from apiserver.admission.metrics import AdmissionMetrics
from apiserver.admission.variables import Variables
from apiserver.admission.versions import Versions
from apiserver.admission.webhooks import review
from apiserver.admission.webhooks.registered import Webhook
from apiserver.evaluating import Evaluating
from apiserver.request import AdmissionRequest, Authorizer
from apiserver.webhooks.client import CallFailed, WebhookClient
from component.clock import Clock

ADMIT: Final = "admit"
VALIDATE: Final = "validating"
"""What mutating and validating webhooks are counted as."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class WebhookFailed(Exception):
    """A webhook could not be asked, or answered something that is no answer; its failurePolicy says what then."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f'failed calling webhook "{name}": {why}')

    def error(self) -> InternalError:
        """Return what a client is told where the policy is to fail."""
        return internal_error(str(self))


def internal_error(why: str) -> InternalError:
    """Return the error for what is nobody's fault but a webhook's."""
    return InternalError(f"Internal error occurred: {why}", causes=[Cause("", why)])


def _time_left(webhook: Webhook, request: AdmissionRequest) -> float:
    """Return how long a webhook may take, in seconds: no longer than the request that it is asked about."""
    left_s = request.deadline - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise Timeout("Timeout: request did not complete within requested timeout")
    return min(webhook.timeout_s, left_s)


@dataclass(frozen=True, slots=True)
class Invocation:
    """A webhook that is to be asked, and the version in which it wants to see the object."""

    webhook: Webhook
    matched: Resource[Any]


class Caller:
    """Asks webhooks.

    Args:
        client: carries the questions.
        matcher: knows which requests are meant.
        versions: converts objects.
        authorizer: what conditions may ask.
        random: makes the ids of questions.
        clock: says how long they took.
        metrics: count them.
        evaluating: evaluates conditions.
    """

    def __init__(
        self,
        client: WebhookClient,
        matcher: Matcher,
        versions: Versions,
        authorizer: Authorizer,
        random: Random,
        clock: Clock,
        metrics: AdmissionMetrics,
        evaluating: Evaluating,
    ) -> None:
        self.metrics = metrics
        self._evaluating = evaluating
        self._clock = clock
        self._client = client
        self._matcher = matcher
        self._versions = versions
        self._authorizer = authorizer
        self._random = random

    async def select(self, webhook: Webhook, request: AdmissionRequest) -> Invocation | None:
        """Return whether and how a webhook is to be asked about a request.

        Raises:
            Forbidden: its conditions cannot be evaluated, and it is to fail then.
            NotFound: the object's namespace is not there.
        """
        matched = await self._matcher.match(webhook.criteria, request)
        if matched is None:
            return None
        if webhook.conditions:
            variables = await self.variables(request, matched)
            try:
                if not await self._evaluating.run(partial(webhook.conditions.hold, variables)):
                    return None
            except ConditionFailed as failed:
                raise _forbidden(request, str(failed)) from None
        return Invocation(webhook, matched)

    async def variables(self, request: AdmissionRequest, matched: Resource[Any]) -> Variables:
        """Return what expressions see of a request, in the version in which it is meant."""
        try:
            obj = await self._versions.convert(request.object, request.resource, matched)
            old = await self._versions.convert(request.old, request.resource, matched)
        except ApiError as error:
            raise internal_error(error.message) from None
        return Variables(request, matched, obj, old, self._authorizer)

    async def ask(self, invocation: Invocation, request: AdmissionRequest, *, is_mutating: bool) -> review.Answer:
        """Ask a webhook; what it warns of and annotates goes to the request.

        Raises:
            WebhookFailed: it gives no answer that could be used.
            BadRequest: it must not be asked about dry runs, and this is one.
            Refused: it says no.
        """
        webhook = invocation.webhook
        if request.dry_run and webhook.has_side_effects:
            raise BadRequest(f'admission webhook "{webhook.name}" does not support dry run')
        if not webhook.review_version:
            raise WebhookFailed(
                webhook.name,
                "could not create admission objects: webhook does not accept known AdmissionReview versions",
            )
        uid = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        try:
            obj = await self._versions.convert(request.object, request.resource, invocation.matched)
            old = await self._versions.convert(request.old, request.resource, invocation.matched)
        except ApiError as error:
            raise internal_error(error.message) from None
        body = review.question(webhook.review_version, uid, request, invocation.matched, obj, old)
        code, has_answered, began = 500, False, self._clock.monotonic()
        try:
            answered = await self._client.ask(webhook.config, body, timeout_s=_time_left(webhook, request))
            answer = review.read(answered, webhook.review_version, uid, is_mutating=is_mutating)
            has_answered = True
            refused = None if answer.is_allowed else review.refusal(webhook.name, answer.status)
            code = 200 if refused is None else refused.code
        except CallFailed as failed:
            raise WebhookFailed(webhook.name, f"failed to call webhook: {failed}") from None
        except review.BadAnswer as bad:
            raise WebhookFailed(webhook.name, f"received invalid webhook response: {bad}") from None
        finally:
            took_s, kind = self._clock.monotonic() - began, ADMIT if is_mutating else VALIDATE
            self.metrics.asked(webhook.name, kind, request.operation, took_s=took_s, code=code, failed=not has_answered)
            if request.excuse is not None:
                request.excuse(took_s)
        for key, value in answer.annotations.items():
            request.annotations[f"{webhook.name}/{key}"] = value
        for warning in answer.warnings:
            if warning and not _CONTROL.search(warning):  # What no header can hold is left out, as upstream.
                request.warn(warning)
        if refused is not None:
            raise refused
        return answer

    async def convert(self, obj: Any, resource: Resource[Any], wanted: Resource[Any]) -> Any:
        """Return an object in another version; raises InternalError."""
        try:
            return await self._versions.convert(obj, resource, wanted)
        except ApiError as error:
            raise internal_error(error.message) from None


def _forbidden(request: AdmissionRequest, why: str) -> Forbidden:
    resource = request.resource
    return Forbidden(
        f'{resource} "{request.name}" is forbidden: {why}',
        group=resource.group,
        kind=resource.plural,
        name=request.name,
    )

"""ValidatingAdmissionWebhook: asks all webhooks at once about the object as it will be stored."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from api.errors import ApiError
from apiserver.admission.matching import is_exempt
from apiserver.admission.webhooks.call import VALIDATE, Caller, Invocation, WebhookFailed
from apiserver.admission.webhooks.registered import Registered
from apiserver.request import AdmissionRequest

log = logging.getLogger(__name__)

_FAILED_OPEN: Final = "failed-open.validating.webhook.admission.k8s.io"


class ValidatingWebhooks:
    """The plugin."""

    def __init__(self, registered: Registered, caller: Caller) -> None:
        self._registered = registered
        self._caller = caller

    async def validate(self, request: AdmissionRequest) -> None:
        """Let webhooks judge the object; of several that say no, the first in order is heard.

        Raises:
            Refused: a webhook says no. InternalError: one that has to be asked can't be.
        """
        webhooks = self._registered.webhooks()
        if not webhooks or is_exempt(request):
            return
        selected = [await self._caller.select(webhook, request) for webhook in webhooks]
        invocations = [invocation for invocation in selected if invocation is not None]
        if len(invocations) == 1:
            answers = [await self._ask(invocations[0], request, 0)]
        else:
            answers = await asyncio.gather(*(self._ask(each, request, i) for i, each in enumerate(invocations)))
        for error in answers:
            if error is not None:
                raise error

    async def _ask(self, invocation: Invocation, request: AdmissionRequest, index: int) -> ApiError | None:
        try:
            await self._caller.ask(invocation, request, is_mutating=False)
        except WebhookFailed as failed:
            if not invocation.webhook.ignores_failure:
                log.warning("a webhook failed; the request fails with it", extra={"error": str(failed)})
                return failed.error()
            log.warning("a webhook failed; the request goes on without it", extra={"error": str(failed)})
            request.annotations[f"{_FAILED_OPEN}/round_0_index_{index}"] = invocation.webhook.name
            self._caller.metrics.failed_open.add((invocation.webhook.name, VALIDATE))
        except ApiError as error:
            return error
        return None

"""Tokens that somebody else knows: a webhook is sent each one that nobody here knows, and says whose it is.

Its answers are kept for a while, yes and no alike; that it cannot be asked is not. The question is a TokenReview.
Facts: Kubernetes documentation, "Webhook Token Authentication".
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from typing import Any, Final

import msgspec

from api.errors import Unauthorized
from apiserver.auth.certificates import AUTHENTICATED
from apiserver.request import Credentials, User
from apiserver.webhooks.client import CallFailed, WebhookClient
from apiserver.webhooks.identities import Place
from component.clock import Clock

log = logging.getLogger(__name__)

WITHIN_S: Final = 10.0
"""How long may be asked, all attempts together."""
ATTEMPTS: Final = 4
PAUSE_S: Final = 0.5
"""Before the second attempt; each other is half as long again."""
KEPT_MAX: Final = 4096
ANSWER_BYTES_MAX: Final = 1 << 20


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    groups: list[str] | None = None
    extra: dict[str, list[str]] | None = None


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User | None = None
    audiences: list[str] | None = None
    error: str = ""


class _Review(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status = msgspec.field(default_factory=_Status)


class WebhookTokenAuthenticator:
    """Asks the webhook about tokens; meant to come after all others."""

    def __init__(
        self, client: WebhookClient, place: Place, clock: Clock, *, version: str, ttl_s: float, audience: str
    ) -> None:
        """Ask nothing yet.

        Args:
            client: shows the webhook who we are.
            place: where it is.
            clock: the time.
            version: of the question: v1 or v1beta1.
            ttl_s: how long an answer is kept; 0: not at all.
            audience: whom tokens have to be for, where the webhook says whom they are for.
        """
        self._client = client
        self._place = place
        self._clock = clock
        self._api_version = f"authentication.k8s.io/{version}"
        self._ttl_s = ttl_s
        self._audience = audience
        self._kept: OrderedDict[bytes, tuple[float, User | None]] = OrderedDict()

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None when there is no token, or the webhook does not know it.

        Raises:
            Unauthorized: the webhook could not be asked. The log says why.
        """
        token = credentials.token
        if not token:
            return None
        digest, now = hashlib.sha256(token.encode()).digest(), self._clock.monotonic()
        kept = self._kept.get(digest)
        if kept is not None and now < kept[0]:
            return kept[1]
        try:
            async with asyncio.timeout(WITHIN_S):
                user = self._read(await self._ask(token))
        except (CallFailed, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("the token webhook gives no answer", extra={"why": str(error) or "no answer in time"})
            raise Unauthorized("Unauthorized") from None
        if self._ttl_s > 0:
            self._kept[digest] = now + self._ttl_s, user
            self._kept.move_to_end(digest)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return user

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()

    async def _ask(self, token: str) -> bytes:
        spec: dict[str, Any] = {"token": token, "audiences": [self._audience]}
        question = {"apiVersion": self._api_version, "kind": "TokenReview", "metadata": {}, "spec": spec}
        body = json.dumps({**question, "status": {"user": {}}}).encode()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._client.ask(self._place, body, timeout_s=WITHIN_S, answer_bytes_max=ANSWER_BYTES_MAX)
            except CallFailed:
                if attempt == ATTEMPTS:
                    raise
            await self._clock.sleep(PAUSE_S * 1.5 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _read(self, answer: bytes) -> User | None:
        review = msgspec.json.decode(answer, type=_Review)
        if (review.api_version, review.kind) != (self._api_version, "TokenReview"):
            raise CallFailed(f"it answers with {review.api_version or '-'}, {review.kind or '-'}")
        status = review.status
        if not status.authenticated or status.user is None or not status.user.username:
            if status.error:
                log.info("token refused by the webhook", extra={"why": status.error})
            return None
        if status.audiences and self._audience not in status.audiences:
            log.info("token refused: the webhook says that it is for others")
            return None
        user = status.user
        groups = dict.fromkeys([*(user.groups or ()), AUTHENTICATED])
        extra = {key: tuple(values) for key, values in (user.extra or {}).items()}
        return User(user.username, uid=user.uid, groups=tuple(groups), extra=extra)

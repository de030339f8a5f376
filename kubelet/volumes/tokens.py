"""Tokens that identify a pod: asked of the API server, bound to the pod, renewed before they expire (KEP-1205)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from api.authentication.tokenrequest import BoundObjectReference, TokenRequest, TokenRequestSpec
from api.core import serviceaccount
from api.core.pod import Pod
from api.core.volumes import ServiceAccountTokenProjection
from api.resource import ObjectKey
from api.timestamps import parse
from client.verbs import Client
from component.clock import Clock

EXPIRATION_DEFAULT_S = 3600
_RENEW_AT = 0.8
"""Of its life; or after a day, whichever is sooner."""
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    renew_at_s: float
    expires: str


class TokenSource:
    """Tokens of the pods of one node; each is asked for once and shared until it should be renewed."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._held: dict[tuple[str, str, int], _Held] = {}
        self._decoder = msgspec.json.Decoder(TokenRequest)

    async def token(self, pod: Pod, projection: ServiceAccountTokenProjection) -> str:
        """Return a token that will be good for a while. Raises ApiError."""
        return (await self._hold(pod, projection.audience, projection.expiration_seconds)).token

    async def issue(self, pod: Pod, audience: str, seconds: int | None) -> tuple[str, str]:
        """Return a token that will be good for a while, and when it ends, as RFC 3339. Raises ApiError."""
        held = await self._hold(pod, audience, seconds)
        return held.token, held.expires

    async def _hold(self, pod: Pod, audience: str, seconds: int | None) -> _Held:
        seconds = seconds or EXPIRATION_DEFAULT_S
        key = (pod.metadata.uid, audience, seconds)
        held = self._held.get(key)
        now = self._clock.now()
        if held is not None and now < held.renew_at_s:
            return held
        bound = BoundObjectReference(kind="Pod", api_version="v1", name=pod.metadata.name, uid=pod.metadata.uid)
        spec = TokenRequestSpec(
            audiences=[audience] if audience else [],
            expiration_seconds=seconds,
            bound_object_ref=bound,
        )
        account = ObjectKey(pod.metadata.namespace, pod.spec.service_account_name or "default")
        answer = await self._client.create_subresource(
            serviceaccount.RESOURCE, account, "token", TokenRequest(spec=spec)
        )
        status = self._decoder.decode(answer).status
        life = parse(status.expiration_timestamp) - now
        held = _Held(status.token, now + min(life * _RENEW_AT, _DAY_S), status.expiration_timestamp)
        self._held[key] = held
        return held

    def renew_at_s(self, uid: str) -> float | None:
        """Return when the first of a pod's tokens should be renewed, in seconds since the epoch."""
        return min((held.renew_at_s for key, held in self._held.items() if key[0] == uid), default=None)

    def forget(self, uid: str) -> None:
        """Drop a pod's tokens."""
        for key in [key for key in self._held if key[0] == uid]:
            del self._held[key]

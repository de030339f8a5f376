"""Who may use a node's HTTPS server: certificates and tokens to users, users to decisions of the API server.

The API server's own certificate, and administrators', are let in by their group, so that logs and exec work while the
API server is busy. Anybody else is who the certificate or the bearer token says (TokenReview), and may do what the API
server says they may to the node's subresources (SubjectAccessReview): `nodes/metrics` for a metrics server, for
example. Answers are remembered for a while. Which path is which subresource is upstream's rule ("Kubelet
authentication/authorization" in Kubernetes' documentation).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.authentication import tokenreview
from api.authentication.tokenreview import TokenReview, TokenReviewSpec
from api.authorization import subjectaccessreview
from api.authorization.selfsubjectaccessreview import ResourceAttributes
from api.authorization.subjectaccessreview import SubjectAccessReview, SubjectAccessReviewSpec
from api.errors import ApiError
from client.verbs import Client
from component.clock import Clock

log = logging.getLogger(__name__)

ADMITTED: Final = frozenset({"system:kubelet-api-admins", "system:masters"})
KNOWN_S: Final = 120.0
"""How long it is remembered whose a token is."""
ALLOWED_S: Final = 300.0
REFUSED_S: Final = 30.0
REMEMBERED_MAX: Final = 1000
_VERBS: Final = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUBRESOURCES: Final = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint"}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Turned(Exception):
    """Somebody is not let in: the HTTP status, and the body that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Access:
    """Decides who is let in; asks the API server through `client`, as the node."""

    def __init__(self, node_name: str, client: Client, clock: Clock) -> None:
        self._node_name = node_name
        self._client = client
        self._clock = clock
        self._known: dict[str, tuple[float, Asker | None]] = {}
        self._decided: dict[tuple[Asker, str, str], tuple[float, bool]] = {}

    async def check(self, certificate: Mapping[str, Any] | None, authorization: str, method: str, path: str) -> None:
        """Return if whoever shows `certificate` (as getpeercert gives it) or `authorization` may do this.

        Raises:
            Turned: they may not, or it cannot be found out.
        """
        if is_admitted(certificate):
            return
        asker = asker_of(certificate) if certificate else await self._by_token(authorization)
        if asker is None:
            raise Turned(401, "Unauthorized")
        verb, subresource = wanted(method, path)
        if not await self._may(asker, verb, subresource):
            what = f"user={asker.name}, verb={verb}, resource=nodes, subresource={subresource}"
            raise Turned(403, f"Forbidden ({what})")

    async def _by_token(self, authorization: str) -> Asker | None:
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        until, asker = self._known.get(token, (0.0, None))
        if until > self._clock.monotonic():
            return asker
        review = TokenReview(spec=TokenReviewSpec(token=token))
        try:
            status = (await self._client.create(tokenreview.RESOURCE, review)).status
        except ApiError as error:
            log.warning("whose token it is cannot be found out", extra={"why": error.message})
            raise Turned(401, "Unauthorized") from None
        user = status.user
        extra = tuple((key, tuple(values)) for key, values in sorted(user.extra.items()))
        found = Asker(user.username, user.uid, tuple(user.groups), extra) if status.authenticated else None
        if found is not None:
            _remember(self._known, token, (self._clock.monotonic() + KNOWN_S, found))
        return found

    async def _may(self, asker: Asker, verb: str, subresource: str) -> bool:
        key = (asker, verb, subresource)
        until, allowed = self._decided.get(key, (0.0, False))
        if until > self._clock.monotonic():
            return allowed
        what = ResourceAttributes(
            verb=verb, version="v1", resource="nodes", subresource=subresource, name=self._node_name
        )
        spec = SubjectAccessReviewSpec(
            resource_attributes=what,
            user=asker.name,
            uid=asker.uid,
            groups=list(asker.groups),
            extra={name: list(values) for name, values in asker.extra},
        )
        try:
            review = await self._client.create(subjectaccessreview.RESOURCE, SubjectAccessReview(spec=spec))
        except ApiError as error:
            log.warning("what somebody may do cannot be found out", extra={"user": asker.name, "why": error.message})
            what_failed = f"user={asker.name}, verb={verb}, resource=nodes, subresource={subresource}"
            raise Turned(500, f"Authorization error ({what_failed})") from None
        allowed = review.status.allowed
        lasts_s = ALLOWED_S if allowed else REFUSED_S
        _remember(self._decided, key, (self._clock.monotonic() + lasts_s, allowed))
        return allowed


def _remember(memory: dict[Any, Any], key: Any, value: Any) -> None:
    """Remember one thing more, and forget the oldest where there are too many."""
    memory.pop(key, None)
    memory[key] = value
    while len(memory) > REMEMBERED_MAX:
        del memory[next(iter(memory))]


def is_admitted(certificate: Mapping[str, Any] | None) -> bool:
    """Whether a verified client certificate (as getpeercert gives it) is of a group that may use the node."""
    return bool(certificate) and not ADMITTED.isdisjoint(asker_of(certificate or {}).groups)


def asker_of(certificate: Mapping[str, Any]) -> Asker:
    """Return whom a verified certificate names."""
    told = [pair for pairs in certificate.get("subject", ()) for pair in pairs]
    name = next((value for key, value in told if key == "commonName"), "")
    organizations = tuple(value for key, value in told if key == "organizationName")
    return Asker(name, groups=(*organizations, "system:authenticated"))


def wanted(method: str, path: str) -> tuple[str, str]:
    """Return what a request is in the API server's terms: the verb, and the subresource of `nodes`."""
    first = path.partition("?")[0].lstrip("/").partition("/")[0]
    return _VERBS.get(method, method.lower()), _SUBRESOURCES.get(first, "proxy")

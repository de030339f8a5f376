"""OpenID Connect: users whom an identity provider vouches for, with ID tokens that it signs.

Whom to believe comes from the `--oidc-*` flags (`OidcSettings`), or from a file (`apiserver.auth.configuration`).

The provider's keys come from its discovery document, over TLS, are kept, and are fetched anew when a token names one
that is not known. Nothing about a token is asked of the provider. Claims to users: upstream's flags of the same names
("OpenID Connect Tokens"); the tokens: OpenID Connect Core 1.0, section 2 and 3.1.3.7.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import msgspec

from api.errors import Unauthorized
from apiserver.auth.certificates import AUTHENTICATED
from apiserver.request import Credentials, User
from component.clock import Clock

log = logging.getLogger(__name__)

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
FETCH_TIMEOUT_S: Final = 10.0
FETCH_PAUSE_S: Final = 10.0
"""Between two fetches of keys: tokens that name keys nobody has must not make us hammer the provider."""
_BYTES_MAX: Final = 1 << 20


class BadSettings(ValueError):
    """Settings that cannot work; says which."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A provider whose tokens are believed."""

    url: str
    """As its tokens name it, to the letter."""
    audiences: Sequence[str]
    """A token has to be for one of them."""
    user_of: Callable[[Mapping[str, Any]], User]
    """The user that verified claims name; raises jwt.InvalidTokenError where they name none that is welcome."""
    discovery_url: str = ""
    """Where its discovery document is, if that is not where its own URL says."""
    ca_file: Path | None = None
    ca_data: str = ""
    """Who signed its certificate, in a file or as PEM; with neither, whom this machine trusts."""
    signing_algs: Sequence[str] = ALGORITHMS

    @property
    def described_at(self) -> str:
        """Where its discovery document is."""
        return self.discovery_url or f"{self.url.rstrip('/')}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """What to believe of whom, as upstream's `--oidc-*` flags say it."""

    issuer_url: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str = ""
    """Empty: the issuer and `#`, unless the claim is `email`. `-`: none."""
    groups_claim: str = ""
    groups_prefix: str = ""
    required_claims: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    """Who signed the provider's certificate; None: whom this machine trusts."""
    signing_algs: Sequence[str] = ("RS256",)

    def issuer(self) -> Issuer:
        """Return whom to believe.

        Raises:
            BadSettings: it cannot work.
        """
        if not self.issuer_url.startswith("https://"):
            raise BadSettings(f"--oidc-issuer-url {self.issuer_url}: must begin with https://")
        if not self.client_id:
            raise BadSettings("--oidc-client-id is needed with --oidc-issuer-url")
        unknown = [each for each in self.signing_algs if each not in ALGORITHMS]
        if unknown or not self.signing_algs:
            raise BadSettings(f"--oidc-signing-algs {','.join(unknown)}: expected some of {', '.join(ALGORITHMS)}")
        return Issuer(
            self.issuer_url,
            (self.client_id,),
            lambda claims: user_of(self, claims),
            ca_file=self.ca_file,
            signing_algs=self.signing_algs,
        )

    @property
    def prefix(self) -> str:
        """What usernames begin with."""
        if self.username_prefix == "-":
            return ""
        if not self.username_prefix and self.username_claim != "email":
            return f"{self.issuer_url}#"
        return self.username_prefix


class OidcAuthenticator:
    """Believes ID tokens of one provider."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        """Take the issuer; nothing is fetched before the first token.

        Raises:
            OSError: its CA cannot be read.
        """
        self._issuer = issuer
        self._clock = clock
        cafile = str(issuer.ca_file) if issuer.ca_file is not None else None
        self._tls = ssl.create_default_context(cafile=cafile, cadata=issuer.ca_data or None)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._fetching = asyncio.Lock()

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None when there is no token, or one of another issuer.

        Raises:
            Unauthorized: the provider's token is forged, expired or for others. The log says which.
        """
        token = credentials.token
        if not token or not self._is_ours(token):
            return None
        try:
            claims = await self._verified(token)
            return self._issuer.user_of(claims)
        except (jwt.PyJWTError, _Unknown) as error:
            log.info("OIDC token refused", extra={"why": str(error)})
            raise Unauthorized("Unauthorized") from None

    def _is_ours(self, token: str) -> bool:
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return False
        return bool(claims.get("iss") == self._issuer.url)

    async def _verified(self, token: str) -> Mapping[str, Any]:
        key = await self._key(jwt.get_unverified_header(token))
        claims = jwt.decode(
            token,
            key,
            algorithms=list(self._issuer.signing_algs),
            issuer=self._issuer.url,
            audience=list(self._issuer.audiences),
            options={"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        now = self._clock.now()
        if not isinstance(claims["exp"], int | float) or now >= claims["exp"]:
            raise jwt.ExpiredSignatureError("the token has expired")
        if isinstance(claims.get("nbf"), int | float) and now < claims["nbf"]:
            raise jwt.ImmatureSignatureError("the token is not valid yet")
        found: Mapping[str, Any] = claims
        return found

    async def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        name = str(header.get("kid") or "")
        if self._found(name) is None:
            async with self._fetching:
                now = self._clock.monotonic()
                is_due = self._fetched_at is None or now - self._fetched_at >= FETCH_PAUSE_S
                if self._found(name) is None and is_due:
                    self._fetched_at = now
                    await self._fetch()
        found = self._found(name)
        if found is None:
            raise _Unknown(f"the provider has no key {name!r}")
        return found

    def _found(self, name: str) -> jwt.PyJWK | None:
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    async def _fetch(self) -> None:
        issuer = self._issuer.url
        try:
            timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
            connector = aiohttp.TCPConnector(ssl=self._tls)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
                found = await _get(http, self._issuer.described_at)
                if found.get("issuer") != issuer:
                    raise _Unknown(f"the provider calls itself {found.get('issuer')!r}, and not {issuer!r}")
                where = str(found.get("jwks_uri", ""))
                if not where.startswith("https://"):
                    raise _Unknown(f"the provider's jwks_uri is {where!r}")
                listed = (await _get(http, where)).get("keys")
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            raise _Unknown(f"the provider's keys cannot be fetched: {error}") from None
        keys: dict[str, jwt.PyJWK] = {}
        for described in listed if isinstance(listed, list) else ():
            try:
                if described.get("use", "sig") == "sig" and described.get("kty") in ("RSA", "EC"):
                    keys[str(described.get("kid") or "")] = jwt.PyJWK.from_dict(described)
            except (jwt.PyJWTError, AttributeError):
                continue  # A key of a kind that is not known here.
        self._keys = keys


class _Unknown(Exception):
    """The provider, or its key, is not to be had."""


async def _get(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url, allow_redirects=False) as answer:
        if answer.status != 200:
            raise _Unknown(f"{url}: {answer.status}")
        body = await answer.content.read(_BYTES_MAX)
        while not answer.content.at_eof():
            more = await answer.content.read(_BYTES_MAX)
            body += more
            if len(body) > _BYTES_MAX:
                raise _Unknown(f"{url}: the answer has more than {_BYTES_MAX} bytes")
        return msgspec.json.decode(body, type=dict[str, Any])


def user_of(settings: OidcSettings, claims: Mapping[str, Any]) -> User:
    """Return the user that claims name. Pure.

    Raises:
        jwt.InvalidTokenError: they name none, or lack a claim that is required.
    """
    name = claims.get(settings.username_claim)
    if not isinstance(name, str) or not name:
        raise jwt.InvalidTokenError(f"the claim {settings.username_claim!r} names nobody")
    if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
        raise jwt.InvalidTokenError("the email address is not verified")
    for claim, wanted in settings.required_claims.items():
        if claims.get(claim) != wanted:
            raise jwt.InvalidTokenError(f"the claim {claim!r} is not {wanted!r}")
    groups: Sequence[Any] = ()
    if settings.groups_claim and claims.get(settings.groups_claim) is not None:
        given = claims[settings.groups_claim]
        groups = [given] if isinstance(given, str) else given
        if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
            raise jwt.InvalidTokenError(f"the claim {settings.groups_claim!r} is no list of names")
    prefixed = [settings.groups_prefix + each for each in groups]
    return User(settings.prefix + name, groups=(*dict.fromkeys([*prefixed, AUTHENTICATED]),))

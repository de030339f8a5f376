"""Bootstrap tokens: what a newcomer shows until it has a certificate, and what it believes the cluster by.

A token is `id.secret`, kept as a Secret of type bootstrap.kubernetes.io/token in kube-system, as upstream keeps it
("Authenticating with Bootstrap Tokens"): the API server takes it for the user system:bootstrap:<id>, and the signature
it makes over `cluster-info` in kube-public tells a newcomer that it talks to the cluster it was sent to. Both ways end
at its expiration.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from api.core import secret
from api.core.bootstrap_token import NAME_PREFIX, NAMESPACE, TYPE, data_of
from api.core.secret import Secret
from api.errors import AlreadyExists, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from api.timestamps import parse, render
from client.verbs import Client
from deploy.report import BadInput, CannotDo

GROUP = "system:bootstrappers:steersman"
DEFAULT_TTL = timedelta(hours=24)
_ALPHABET = string.ascii_lowercase + string.digits
_SHAPE = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")


@dataclass(frozen=True, slots=True)
class Token:
    """A token in full."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}"

    def __repr__(self) -> str:
        return f"Token({self.id}.…)"  # tracebacks and logs show this


@dataclass(frozen=True, slots=True)
class Known:
    """A token that the cluster has."""

    token: Token
    expires: datetime | None
    """None: never."""
    usages: tuple[str, ...]
    """authentication, signing."""
    groups: tuple[str, ...]
    description: str

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.expires is not None and self.expires <= now


def parse_token(text: str) -> Token:
    """Return the token that `text` is.

    Raises:
        BadInput: it has not the shape of one; what was given is not repeated.
    """
    found = _SHAPE.fullmatch(text.strip())
    if not found:
        raise BadInput(
            "this is no token: one is six and sixteen small letters and digits, as in abcdef.0123456789abcdef"
        )
    return Token(found[1], found[2])


def generate() -> Token:
    """Return a new token: 83 bits of secret."""
    return Token(*("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16)))


def build(
    token: Token,
    expires: datetime | None,
    *,
    usages: Sequence[str] = ("authentication", "signing"),
    groups: Sequence[str] = (GROUP,),
    description: str = "",
) -> Secret:
    """Return the Secret that keeps a token. Pure."""
    values = {"token-id": token.id, "token-secret": token.secret, "description": description}
    values |= {f"usage-bootstrap-{usage}": "true" for usage in usages}
    if expires is not None:
        values["expiration"] = render(int(expires.timestamp()))
    if "authentication" in usages:
        values["auth-extra-groups"] = ",".join(groups)
    metadata = ObjectMeta(name=f"{NAME_PREFIX}{token.id}", namespace=NAMESPACE)
    return Secret(metadata=metadata, type=TYPE, data={key: text.encode() for key, text in values.items() if text})


def read(found: Secret) -> Known | None:
    """Return the token that a Secret keeps; None if it keeps none that is whole. Pure."""
    if found.type != TYPE:
        return None
    values = data_of(found)
    token = _SHAPE.fullmatch(f"{values.get('token-id', '')}.{values.get('token-secret', '')}")
    if not token or found.metadata.name != f"{NAME_PREFIX}{token[1]}":
        return None
    expires: datetime | None = None
    if values.get("expiration"):
        try:
            expires = datetime.fromtimestamp(parse(values["expiration"]), UTC)
        except ValueError:
            expires = datetime.fromtimestamp(0, UTC)  # one that nobody can read is over, not eternal
    usages = tuple(use for use in ("authentication", "signing") if values.get(f"usage-bootstrap-{use}") == "true")
    groups = tuple(group for group in values.get("auth-extra-groups", "").split(",") if group)
    return Known(Token(token[1], token[2]), expires, usages, groups, values.get("description", ""))


def read_all(found: Iterable[Secret]) -> list[Known]:
    """Return every token among Secrets, those that end first first. Pure."""
    known = [token for each in found if (token := read(each)) is not None]
    return sorted(known, key=lambda each: (each.expires is None, each.expires or datetime.max.replace(tzinfo=UTC)))


async def list_tokens(client: Client) -> list[Known]:
    """Return every token of the cluster."""
    listed = await client.list(secret.RESOURCE, NAMESPACE, field_selector=f"type={TYPE}")
    return read_all(listed.items)


async def create(
    client: Client,
    ttl: timedelta | None = DEFAULT_TTL,
    *,
    token: Token | None = None,
    usages: Sequence[str] = ("authentication", "signing"),
    description: str = "",
) -> tuple[Token, Secret]:
    """Make a token that lasts for `ttl` (None: until it is deleted), and return it with the Secret that keeps it.

    Raises:
        CannotDo: `token` was asked for, and its id is taken.
    """
    expires = datetime.now(UTC) + ttl if ttl else None
    while True:
        made = token or generate()
        try:
            kept = await client.create(secret.RESOURCE, build(made, expires, usages=usages, description=description))
            return made, kept
        except AlreadyExists:
            if token is not None:
                raise CannotDo(f"there is a token {token.id} already: `steer token delete {token.id}` first") from None


async def delete(client: Client, token_id: str) -> bool:
    """Delete a token by its id; return whether it was there."""
    with contextlib.suppress(NotFound):
        await client.delete(secret.RESOURCE, ObjectKey(NAMESPACE, f"{NAME_PREFIX}{token_id}"))
        return True
    return False


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def parse_duration(text: str) -> timedelta | None:
    """Return a duration such as 24h or 1h30m; None for 0, which means for ever.

    Raises:
        BadInput: it is neither.
    """
    if text.strip() == "0":
        return None
    found = _DURATION.fullmatch(text.strip())
    if not text.strip() or not found or not any(found.groups()):
        raise BadInput(f"{text!r} is no duration: give one such as 24h or 1h30m, or 0 for a token that never ends")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)

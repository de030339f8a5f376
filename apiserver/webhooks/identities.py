"""What webhooks are shown of this server: users of a kubeconfig, by where the webhook is.

A user is named after the webhook's host, `SERVICE.NAMESPACE.svc` or that of its URL: with its port, without it where
that is 443, or with the first labels as `*`. `*` stands for all others, and after it the current context's. The words
and order are those of "Authenticate API servers" in Kubernetes' documentation of admission webhooks.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import yaml

HTTPS_PORT: Final = 443


class BadIdentities(ValueError):
    """A kubeconfig that cannot be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One user: a token or a password, a certificate, or both."""

    token: str = ""
    token_file: Path | None = None
    """Read for each request: tokens are renewed."""
    basic: str = ""
    certificate: bytes | Path = b""
    key: bytes | Path = b""

    def authorization(self) -> str:
        """Return the header's value, empty for none; raises OSError."""
        token = self.token_file.read_text().strip() if self.token_file is not None else self.token
        return f"Bearer {token}" if token else self.basic

    def pair(self) -> bytes:
        """Return certificate and key in PEM, one after the other, empty for none; raises OSError."""
        parts = (self.certificate, self.key)
        return b"\n".join(each.read_bytes() if isinstance(each, Path) else each for each in parts).strip()


NOBODY: Final = Identity()


class _User(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    username: str = ""
    password: str = ""
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""


class _NamedUser(msgspec.Struct):
    name: str
    user: _User


class _Context(msgspec.Struct):
    user: str = ""


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _File(msgspec.Struct, rename="kebab"):
    users: list[_NamedUser] = []
    contexts: list[_NamedContext] = []
    current_context: str = ""


@dataclass(frozen=True, slots=True)
class Identities:
    """The users of a kubeconfig."""

    users: Mapping[str, Identity]
    current: str = ""
    """The user of the current context."""

    def of(self, host: str, port: int) -> Identity:
        """Return what a webhook at `host` and `port` is shown."""
        for name in _names(host, port):
            if name in self.users:
                return self.users[name]
        return self.users.get(self.current, NOBODY)


def _names(host: str, port: int) -> Iterator[str]:
    for target in (f"{host}:{port}", *([host] if port == HTTPS_PORT else ())):
        labels = target.split(".")
        yield target
        for i in range(1, len(labels)):
            yield "*." + ".".join(labels[i:])
    yield "*"


def parse_identities(path: Path) -> Identities:
    """Read a kubeconfig.

    Raises:
        BadIdentities: it cannot be used, or its users are known by what is not supported here (programs).
        OSError: it cannot be read.
    """
    try:
        file = msgspec.convert(yaml.safe_load(path.read_bytes()) or {}, _File)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadIdentities(f"{path}: {' '.join(str(error).split())}") from None
    users = {each.name: _identity(each, path.parent) for each in file.users}
    current = next((each.context.user for each in file.contexts if each.name == file.current_context), "")
    return Identities(users, current)


def _identity(named: _NamedUser, directory: Path) -> Identity:
    user = named.user
    basic = ""
    if user.username:
        basic = "Basic " + base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
    made = Identity(
        user.token,
        directory / user.token_file if user.token_file else None,
        basic,
        _material(named.name, user.client_certificate_data, user.client_certificate, directory),
        _material(named.name, user.client_key_data, user.client_key, directory),
    )
    if bool(made.certificate) != bool(made.key):
        raise BadIdentities(f"user {named.name!r}: a certificate and its key must be given together")
    return made


def _material(name: str, data: str, file: str, directory: Path) -> bytes | Path:
    if not data:
        return directory / file if file else b""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise BadIdentities(f"user {name!r}: what is to be base64 is not") from None

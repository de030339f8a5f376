"""What webhooks are shown of this server: users of a kubeconfig, by where the webhook is; and where that says it is.

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
from typing import Any, Final

import msgspec
import yaml

from apiserver.webhooks.credential_programs import BadProgram, CredentialProgram

HTTPS_PORT: Final = 443


class BadIdentities(ValueError):
    """A kubeconfig that cannot be used."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook is that a kubeconfig names, and who is believed to be there: as good as a `ClientConfig`."""

    url: str
    ca_bundle: bytes = b""
    """Empty: whom this machine trusts."""
    service: None = None
    server_name: str = ""
    """What the certificate there must name, where that is not the URL's host."""
    is_anybody: bool = False
    """Whoever answers is believed."""
    proxy: str = ""
    """The URL of who carries the connection there."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One user: a token or a password, a certificate, or both."""

    token: str = ""
    token_file: Path | None = None
    """Read for each request: tokens are renewed."""
    basic: str = ""
    certificate: bytes | Path = b""
    key: bytes | Path = b""
    program: CredentialProgram | None = None
    """Asked for all of them instead."""

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
    exec: dict[str, Any] | None = None


class _NamedUser(msgspec.Struct):
    name: str
    user: _User


class _Cluster(msgspec.Struct, rename="kebab", forbid_unknown_fields=True):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    proxy_url: str = ""
    disable_compression: bool = False
    """Nothing is compressed here in any case."""
    extensions: Any = None


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster


class _Context(msgspec.Struct):
    user: str = ""
    cluster: str = ""


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _File(msgspec.Struct, rename="kebab"):
    clusters: list[dict[str, Any]] = []
    """Read where they are needed: the kubeconfigs of admission have none, or ones that do not matter."""
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
        BadIdentities: it cannot be used, or its users are known by what is not supported here.
        OSError: it cannot be read.
    """
    return _identities(_parse(path), path)


def parse_server(path: Path) -> tuple[Place, Identities]:
    """Return where a kubeconfig's server is, and who we are to it.

    Raises:
        BadIdentities: it cannot be used.
        OSError: it cannot be read.
    """
    file = _parse(path)
    context = next((each.context for each in file.contexts if each.name == file.current_context), None)
    try:
        clusters = msgspec.convert(file.clusters, list[_NamedCluster])
    except msgspec.ValidationError as error:
        raise BadIdentities(f"{path}: clusters: {error}") from None
    cluster = next((each.cluster for each in clusters if context is not None and each.name == context.cluster), None)
    if cluster is None:
        raise BadIdentities(f"{path}: the current context names no cluster of the file")
    if not cluster.server.startswith("https://"):
        raise BadIdentities(f"{path}: server {cluster.server!r}: must begin with https://")
    ca = _material("of the cluster", cluster.certificate_authority_data, cluster.certificate_authority, path.parent)
    if ca and cluster.insecure_skip_tls_verify:
        why = "specifying a root certificates file with the insecure flag is not allowed"
        raise BadIdentities(f"{path}: {why}")
    place = Place(
        cluster.server,
        ca.read_bytes() if isinstance(ca, Path) else ca,
        server_name=cluster.tls_server_name,
        is_anybody=cluster.insecure_skip_tls_verify,
        proxy=_proxy(cluster.proxy_url, path),
    )
    return place, _identities(file, path)


def _proxy(text: str, path: Path) -> str:
    if not text:
        return ""
    scheme, mark, rest = text.partition("://")
    if not mark or not rest or scheme not in ("http", "https", "socks5"):
        why = f'unsupported scheme "{scheme if mark else ""}", must be http, https, or socks5'
        raise BadIdentities(f"{path}: invalid proxy-url {text!r}: {why}")
    if scheme != "http":
        raise BadIdentities(f"{path}: proxy-url {text!r}: only proxies that are spoken to by http are supported")
    return text


def _parse(path: Path) -> _File:
    try:
        return msgspec.convert(yaml.safe_load(path.read_bytes()) or {}, _File)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadIdentities(f"{path}: {' '.join(str(error).split())}") from None


def _identities(file: _File, path: Path) -> Identities:
    users = {each.name: _identity(each, path.parent, _cluster_of(file, each.name)) for each in file.users}
    current = next((each.context.user for each in file.contexts if each.name == file.current_context), "")
    return Identities(users, current)


def _cluster_of(file: _File, user: str) -> dict[str, Any] | None:
    """Return the cluster of the first context of a user's, the current one before all others."""
    contexts = sorted(file.contexts, key=lambda each: each.name != file.current_context)
    name = next((each.context.cluster for each in contexts if each.context.user == user), None)
    found = next((each.get("cluster") for each in file.clusters if name and each.get("name") == name), None)
    return found if isinstance(found, dict) else None


def _identity(named: _NamedUser, directory: Path, cluster: dict[str, Any] | None = None) -> Identity:
    user = named.user
    if user.exec is not None:
        try:
            return Identity(program=CredentialProgram.of(user.exec, named.name, directory, cluster))
        except BadProgram as error:
            raise BadIdentities(str(error)) from None
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

"""Asks webhooks, over TLS alone and with nothing of the caller's credentials, and keeps the connections.

Each place to ask (a URL or Service, with whom to trust there) has connections of its own. Bodies of answers are
bounded, redirects are not followed. What goes wrong is worded as upstream words it, since people search for it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, Protocol

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from apiserver.webhooks.credential_programs import ProgramFailed
from apiserver.webhooks.identities import HTTPS_PORT, NOBODY, Identities, Identity, Place
from apiserver.webhooks.services import Locate, Unreachable

TARGETS_MAX: Final = 256
"""Places whose connections are kept; the one unused for longest makes way."""
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
IDLE_S: Final = 30.0


class ServiceReference(Protocol):
    """A Service that listens."""

    namespace: str
    name: str
    path: str | None
    port: int | None


class ClientConfig(Protocol):
    """Where a webhook is: `url`, or `service`; and whom to trust there."""

    @property
    def url(self) -> str | None: ...
    @property
    def service(self) -> Any: ...
    @property
    def ca_bundle(self) -> bytes: ...


class CallFailed(Exception):
    """A webhook gave no answer that could be used, and why."""

    def __init__(
        self,
        why: str,
        code: int = 0,
        *,
        is_late: bool = False,
        is_cut_off: bool = False,
        asks_for_patience: bool = False,
    ) -> None:
        super().__init__(why)
        self.code = code
        """The answer's, where there was one."""
        self.is_late = is_late
        is_passing = code == HTTPStatus.TOO_MANY_REQUESTS or (code >= 500 and code != HTTPStatus.SERVICE_UNAVAILABLE)
        self.may_pass = is_cut_off or asks_for_patience or is_passing
        """Whether to ask again soon may help, as apimachinery judges it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place to ask: what connections are kept by."""

    url: str
    ca_bundle: bytes = b""
    service: tuple[str, str, int] | None = None
    """Namespace, name and port of the Service that `url` names; None where the host is one that DNS knows."""
    certificate: bytes = field(default=b"", repr=False)
    """What is shown there, with its key (PEM)."""
    server_name: str = ""
    is_anybody: bool = False
    proxy: str = ""
    """The last three as in `Place`."""


class WebhookClient:
    """Asks webhooks; `close` lets go of the connections.

    Args:
        locate: where a Service is reached.
        connector: makes what opens connections; takes the options of aiohttp's TCPConnector.
        identities: what webhooks are shown; nothing without them.
    """

    def __init__(
        self,
        locate: Locate,
        connector: Callable[..., aiohttp.TCPConnector] = aiohttp.TCPConnector,
        identities: Identities | None = None,
    ) -> None:
        self._identities = identities
        self._locate = locate
        self._connector = connector
        self._sessions: OrderedDict[Target, aiohttp.ClientSession] = OrderedDict()

    async def ask(
        self, config: ClientConfig, body: bytes, *, timeout_s: float, answer_bytes_max: int = ANSWER_BYTES_MAX
    ) -> bytes:
        """Post `body`, which is JSON, and return the answer's.

        Args:
            config: whom to ask.
            body: the question.
            timeout_s: for the whole of it; the webhook is told, in whole seconds.
            answer_bytes_max: longer answers fail.

        Raises:
            CallFailed: nobody answers in time, or somebody else than the certificate has to name, or not with 200.
        """
        target, authorization, identity = target_of(config), "", NOBODY
        url = f"{target.url}?timeout={max(1, -(-int(timeout_s * 1000) // 1000))}s"
        try:
            async with asyncio.timeout(timeout_s):
                if self._identities is not None:
                    identity = _who(self._identities, target)
                    shown, authorization = await _shown(identity, url)
                    target = replace(target, certificate=shown)
                session = await self._session(target)
                try:
                    return await _post(session, target, url, body, answer_bytes_max, authorization)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # A kept connection that the other side has closed meanwhile: once more, on a new one.
                    return await _post(session, target, url, body, answer_bytes_max, authorization)
        except CallFailed as failed:
            if failed.code == HTTPStatus.UNAUTHORIZED and identity.program is not None:
                identity.program.forget()
            raise
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            late, cut_off = isinstance(error, TimeoutError), isinstance(error, ConnectionResetError)
            raise CallFailed(f'Post "{url}": {_worded(error)}', is_late=late, is_cut_off=cut_off) from None

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = self._sessions, OrderedDict()
        for session in sessions.values():
            await session.close()

    async def _session(self, target: Target) -> aiohttp.ClientSession:
        session = self._sessions.get(target)
        if session is None:
            resolver = _ServiceResolver(self._locate, target.service) if target.service is not None else None
            connector = self._connector(
                ssl=_trust(target.ca_bundle, target.certificate, is_anybody=target.is_anybody),
                resolver=resolver,
                use_dns_cache=False,
                keepalive_timeout=IDLE_S,
                limit=0,
            )
            session = self._sessions[target] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
                auto_decompress=False,
            )
        self._sessions.move_to_end(target)
        if len(self._sessions) > TARGETS_MAX:
            _, oldest = self._sessions.popitem(last=False)
            await oldest.close()
        return session


@dataclass(frozen=True, slots=True)
class WebhookClients:
    """Who asks which webhooks: each may have something else to show."""

    mutating: WebhookClient
    validating: WebhookClient
    converting: WebhookClient
    others: tuple[WebhookClient, ...] = ()

    async def close(self) -> None:
        """Close every connection."""
        for client in {
            id(each): each for each in (self.mutating, self.validating, self.converting, *self.others)
        }.values():
            await client.close()


def target_of(config: ClientConfig) -> Target:
    """Return where a configuration leads. Pure."""
    if isinstance(config, Place):
        place = config
        return Target(
            place.url, place.ca_bundle, server_name=place.server_name, is_anybody=place.is_anybody, proxy=place.proxy
        )
    service: ServiceReference | None = config.service
    if service is None:
        return Target(config.url or "", config.ca_bundle)
    port = service.port or 443
    host = f"{service.name}.{service.namespace}.svc"
    path = (service.path or "").lstrip("/")
    return Target(f"https://{host}:{port}/{path}", config.ca_bundle, (service.namespace, service.name, port))


def _who(identities: Identities, target: Target) -> Identity:
    host = yarl.URL(target.url)
    return identities.of(host.host or "", host.port or HTTPS_PORT)


async def _shown(identity: Identity, url: str) -> tuple[bytes, str]:
    """Return certificate and Authorization header; raises CallFailed."""
    try:
        if identity.program is not None:
            found = await identity.program.credentials()
            return found.pair, f"Bearer {found.token}" if found.token else ""
        return identity.pair(), identity.authorization()
    except ProgramFailed as failed:
        raise CallFailed(f'Post "{url}": getting credentials: {failed}') from None
    except OSError as error:
        raise CallFailed(f"{error.filename}: {error.strerror}") from None


async def _post(
    session: aiohttp.ClientSession, target: Target, url: str, body: bytes, answer_bytes_max: int, authorization: str
) -> bytes:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # A small answer must not become a large one here.
        "User-Agent": "kube-apiserver-admission",
    }
    if authorization:
        headers["Authorization"] = authorization
    async with session.post(
        url,
        data=body,
        headers=headers,
        allow_redirects=False,
        proxy=target.proxy or None,
        server_hostname=target.server_name or None,
    ) as response:
        answer = bytearray()
        async for part in response.content.iter_chunked(1 << 16):
            answer += part
            if len(answer) > answer_bytes_max:
                response.close()
                raise CallFailed(f'Post "{url}": the answer has more than {answer_bytes_max} bytes')
        if not 200 <= response.status <= 206:
            waits = "Retry-After" in response.headers
            is_text = response.headers.get("Content-Type", "text/").lower().startswith("text/")
            told = _refused(response.status, bytes(answer), is_text=is_text)
            raise CallFailed(told, response.status, asks_for_patience=waits)
        if not answer:
            kind = response.headers.get("Content-Type", "")
            raise CallFailed(f"0-length response with status code: {response.status} and content type: {kind}")
        return bytes(answer)


def _refused(code: int, body: bytes, *, is_text: bool) -> str:
    """Return what is told of a refusal: of words that are neither a Status nor text, nothing is repeated."""
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status" and status.get("message"):
        return str(status["message"])
    said = (body[:2048].decode(errors="replace").strip() if is_text else "") or "unknown"
    match code:
        case 401:
            return "the server has asked for the client to provide credentials"
        case 403:
            return f"forbidden: {said}"
        case 404:
            return "the server could not find the requested resource"
        case 405:
            return "the server does not allow this method on the requested resource"
        case 413:
            return "Request entity too large: " + said
        case 429:
            return "the server has received too many requests and has asked us to try again later"
        case 503:
            return "the server is currently unable to handle the request"
        case 504:
            return (
                "the server was unable to return a response in the time allotted, "
                "but may still be processing the request"
            )
        case _ if code >= 500:
            return f'an error on the server ("{said}") has prevented the request from succeeding'
    return f"the server rejected our request for an unknown reason: {code}"


def _worded(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "context deadline exceeded"
        case aiohttp.ClientConnectorCertificateError():
            return f"tls: failed to verify certificate: x509: {_certificate_fault(error.certificate_error)}"
        case aiohttp.ClientConnectorDNSError():
            return (
                str(error.os_error)
                if isinstance(error.os_error, _NoService)
                else f"dial tcp: lookup {error.host}: no such host"
            )
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return f"dial tcp {_address(error)}: connect: connection refused"
        case aiohttp.ClientConnectorError():
            return f"dial tcp {_address(error)}: {error.os_error.strerror or error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "EOF"
    return str(error) or type(error).__name__


def _address(error: aiohttp.ClientConnectorError) -> str:
    return f"{error.host}:{error.port}"


def _certificate_fault(fault: Exception) -> str:
    why = getattr(fault, "verify_message", "") or str(fault)
    if "self-signed" in why or "local issuer" in why:
        return "certificate signed by unknown authority"
    if "mismatch" in why:
        return why.partition(", ")[2]
    if "expired" in why:
        return "certificate has expired or is not yet valid"
    return why


@functools.lru_cache(maxsize=64)
def _trust(ca_bundle: bytes, certificate: bytes = b"", *, is_anybody: bool = False) -> ssl.SSLContext:
    """Return what to trust: the bundle, or without one what this machine trusts; and with what to be trusted.

    Whoever answers is trusted with `is_anybody`.

    Raises:
        CallFailed: the bundle or the certificate cannot be read.
    """
    try:
        context = ssl.create_default_context(cadata=ca_bundle.decode() if ca_bundle else None)
    except (ssl.SSLError, ValueError):
        raise CallFailed("unable to load root certificates: unable to parse bytes as PEM block") from None
    if certificate:
        with tempfile.NamedTemporaryFile() as file:  # That is how the library wants it.
            file.write(certificate)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except (ssl.SSLError, OSError):
                raise CallFailed("tls: failed to find any PEM data in certificate input") from None
    if is_anybody:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Upstream trusts any certificate of the bundle, whoever issued it, and does not mind missing key identifiers.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _NoService(OSError):
    """A Service cannot be reached."""


class _ServiceResolver(AbstractResolver):
    """Resolves a Service's name, which means nothing to this host's DNS, to where it is reached at present."""

    def __init__(self, locate: Locate, service: tuple[str, str, int]) -> None:
        self._locate = locate
        self._service = service

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        """Return the one address to connect to."""
        try:
            address, number = self._locate(*self._service)
        except Unreachable as error:
            raise _NoService(str(error)) from None
        found = await asyncio.get_running_loop().getaddrinfo(address, number, type=socket.SOCK_STREAM)
        return [
            {"hostname": host, "host": each[4][0], "port": number, "family": each[0], "proto": 0, "flags": 0}
            for each in found[:1]
        ]

    async def close(self) -> None:
        """Hold nothing."""

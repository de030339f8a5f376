"""The servers that have groups of their own: whose a request is, and asking them in this server's own name.

Such a server believes what the front proxy's certificate tells it of a user (X-Remote-User and its kin), and nobody
else. It is reached at a ready endpoint of its Service, and has to prove to be `SERVICE.NAMESPACE.svc`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from api.apiregistration.apiservice import APIService
from api.errors import ApiError
from api.lister import Lister
from api.resource import ObjectKey
from apiserver.egress import Egress
from apiserver.onward import Onward, PlainUnavailable
from apiserver.proxies import Finder
from apiserver.registry.kinds import Kinds
from apiserver.request import Call, RequestInfo, User
from apiserver.webhooks.services import Locate, Unreachable
from component.certificates import stamp

AGGREGATOR: Final = User("system:kube-aggregator", groups=("system:masters",))
"""Who this server is when it asks for itself."""
PORT: Final = 443
CONNECT_S: Final = 10.0
OPEN_S: Final = 30.0
"""How long the beginning of an answer that goes on may take."""
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
_TOKEN: Final = "!#$&'*+-.^_`|~"
"""What a header's name may hold beside letters and digits, but `%`, which escapes the rest."""
_PATH: Final = re.compile(r"/(openapi/v3/)?apis/(?P<group>[^/]+)/(?P<version>[^/]+)(/.*)?")


def unavailable(problem: str) -> ApiError:
    """Return the error for a server that does not answer."""
    return PlainUnavailable(f"error trying to reach service: {problem}")


class Servers:
    """Finds and asks aggregated servers.

    Args:
        services: the APIServices.
        kinds: what is served here, which nobody can take away.
        locate: finds a Service's endpoint.
        egress: connects to it.
        cert: the front proxy's certificate; None where there is none to show.
        key: its key.
    """

    def __init__(
        self,
        services: Lister[APIService],
        kinds: Kinds,
        locate: Locate,
        egress: Egress,
        cert: Path | None,
        key: Path | None,
    ) -> None:
        self._services = services
        self._built_in = {(kind.group, kind.version) for kind in kinds.built_in}
        self._locate = locate
        self._egress = egress
        self._identity = (cert, key) if cert is not None and key is not None else None
        self._contexts: dict[tuple[bytes, bool], ssl.SSLContext] = {}
        self._stamps: tuple[object, ...] = ()
        """By which our own certificate's files were known when `_contexts` were made of them."""
        self._session: aiohttp.ClientSession | None = None
        self.without_openapi_v3: set[str] = set()
        """APIServices whose OpenAPI v3 document is made here, of the v2 document that they have alone."""

    def remote(self) -> list[APIService]:
        """Return the APIServices that another server has, by priority."""
        found = [each for each in self._services.list() if self._is_remote(each)]
        return sorted(found, key=lambda each: (-each.spec.group_priority_minimum, each.metadata.name))

    def finder(self, info: RequestInfo, target: str) -> Finder | None:
        """Return what finds the server that a request is for; None when that is this one."""
        path = _PATH.fullmatch(info.path)
        if path is not None and not {".", ".."}.isdisjoint(info.path.split("/")):
            return None  # What the other server made of it might be something else than was authorized here.
        if path is None or (path["group"], path["version"]) in self._built_in:
            return None
        name = f"{path['version']}.{path['group']}"
        if info.path.startswith("/openapi/") and name in self.without_openapi_v3:
            return None
        found = self._services.get(ObjectKey("", name))
        if found is None or not self._is_remote(found):
            return None

        async def find(call: Call) -> Onward:
            current = self._services.get(ObjectKey("", name))
            if current is None or not is_available(current):
                raise PlainUnavailable("service unavailable")
            return self.onward(current, target, call.user)

        return find

    def onward(self, service: APIService, target: str, user: User) -> Onward:
        """Return where `service` has `target`, asked for by `user`.

        Raises:
            ServiceUnavailable: nobody is there to be asked.
        """
        ref = service.spec.service
        assert ref is not None, "a local APIService is not asked"
        try:
            host, port = self._locate(ref.namespace, ref.name, ref.port or PORT)
        except Unreachable:
            raise PlainUnavailable("service unavailable") from None
        return Onward(
            host,
            port,
            self._context(service),
            f"{ref.name}.{ref.namespace}.svc",
            target,
            headers=tuple(identity_headers(user)),
            host_header=f"{host}:{port}",
            failed=unavailable,
        )

    async def get(self, service: APIService, path: str, accept: str, *, timeout_s: float) -> tuple[int, str, bytes]:
        """Ask a server for a document in this server's own name; returns status, Content-Type and body.

        Raises:
            ApiError, OSError, TimeoutError, aiohttp.ClientError: there is no answer.
        """
        onward = self.onward(service, path, AGGREGATOR)
        return await self.ask(onward, headers={"Accept": accept}, timeout_s=timeout_s)

    async def ask(
        self,
        onward: Onward,
        *,
        method: str = "GET",
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float,
    ) -> tuple[int, str, bytes]:
        """Ask what `onward` says; returns status, Content-Type and body.

        Raises:
            OSError, TimeoutError, aiohttp.ClientError: there is no answer.
        """
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._request(onward, method, headers, body, timeout) as answer:
            told = bytearray()
            async for piece in answer.content.iter_any():
                told += piece
                if len(told) > ANSWER_BYTES_MAX:
                    raise OSError(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            return answer.status, answer.headers.get("Content-Type", ""), bytes(told)

    async def open(self, onward: Onward, *, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Ask what `onward` says for an answer that may go on for hours; the caller closes it.

        Raises:
            OSError, TimeoutError, aiohttp.ClientError: there is no answer.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
        async with asyncio.timeout(OPEN_S):
            answer: aiohttp.ClientResponse = await self._request(onward, "GET", headers, b"", timeout)
            return answer

    def _request(
        self, onward: Onward, method: str, headers: Mapping[str, str], body: bytes, timeout: aiohttp.ClientTimeout
    ) -> Any:
        if self._session is None:
            connector = self._egress.connector(limit=0, use_dns_cache=False)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        host = f"[{onward.host}]" if ":" in onward.host else onward.host
        assert onward.tls is not None
        return self._session.request(
            method,
            URL(f"https://{host}:{onward.port}{onward.target}", encoded=True),
            headers=[*onward.headers, *headers.items()],
            data=body or None,
            ssl=onward.tls,
            server_hostname=onward.server_name,
            allow_redirects=False,
            timeout=timeout,
        )

    async def close(self) -> None:
        """Close what is kept open; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _is_remote(self, service: APIService) -> bool:
        spec = service.spec
        return spec.service is not None and (spec.group, spec.version) not in self._built_in

    def _context(self, service: APIService) -> ssl.SSLContext:
        stamps = tuple(stamp(path) for path in self._identity or ())
        if stamps != self._stamps:
            self._stamps = stamps
            self._contexts.clear()
        key = (service.spec.ca_bundle, service.spec.insecure_skip_tls_verify)
        context = self._contexts.get(key)
        if context is None:
            try:
                context = self._contexts[key] = self._make_context(*key)
            except (ssl.SSLError, ValueError, OSError) as error:
                raise PlainUnavailable(f"service unavailable: caBundle: {error}") from None
        return context

    def _make_context(self, ca_bundle: bytes, is_insecure: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=ca_bundle.decode() if ca_bundle else None)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._identity is not None:
            context.load_cert_chain(*self._identity)
        return context


def is_available(service: APIService) -> bool:
    """Whether the last check found a server able to answer."""
    return any(each.type == "Available" and each.status == "True" for each in service.status.conditions)


def identity_headers(user: User) -> Iterator[tuple[str, str]]:
    """Yield the headers that say who asks."""
    yield "X-Remote-User", user.name
    if user.uid:
        yield "X-Remote-Uid", user.uid
    for group in user.groups:
        yield "X-Remote-Group", group
    for key, values in user.extra.items():
        for value in values:
            yield f"X-Remote-Extra-{quote(key, safe=_TOKEN)}", value

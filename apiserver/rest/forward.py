"""Carries a request to another server and its answer back, bytes as they come, holding a few chunks of either.

The client's credentials stay here, and so does what HTTP says is for one connection only (RFC 9110, section 7.6.1).
Where the answer comes from a place that thinks itself the root of a host (`Onward.prefix`), its redirects and the links
of its pages are made to lead back through this server. `upgrade.py` does the same for upgraded connections.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Final

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from apiserver.egress import Egress
from apiserver.onward import Onward
from apiserver.request import Call
from apiserver.rest import links, request_body

_HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade"),
    }
)
_OURS: Final = ("impersonate-", "x-remote-")
"""Headers that say who asks: for this server, and nobody behind it."""
_CORS: Final = "access-control-allow-"
_ABOUT_THE_WAY: Final = ("x-forwarded-uri", "x-forwarded-host", "x-forwarded-proto")
_NOT_OF_OURSELVES: Final = (hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE)


class Forwarder:
    """Forwards ordinary requests; keeps connections to those it forwards to."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._session: aiohttp.ClientSession | None = None

    async def forward(self, request: web.BaseRequest, call: Call, onward: Onward) -> web.StreamResponse:
        """Carry one request and its answer.

        Raises:
            ApiError: nobody answers there, or somebody else; `Onward.failed` words it.
        """
        if onward.prefix and onward.target.partition("?")[0] == "" and request.method in ("GET", "HEAD"):
            path, mark, query = request.raw_path.partition("?")
            return web.Response(status=301, headers={hdrs.LOCATION: f"{path}/{mark}{query}"})
        scheme = "https" if onward.tls is not None else "http"
        host = f"[{onward.host}]" if ":" in onward.host else onward.host
        target = onward.target if onward.target.startswith("/") else f"/{onward.target}"
        try:
            answer = await self._client().request(
                request.method,
                URL(f"{scheme}://{host}:{onward.port}{target}", encoded=True),
                headers=headers_onward(request.headers.items(), onward, request.remote or ""),
                data=request_body.chunks(request) if request.body_exists else None,
                allow_redirects=False,
                skip_auto_headers=_NOT_OF_OURSELVES,
                ssl=onward.tls if onward.tls is not None else True,
                server_hostname=onward.server_name or None,
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise onward.failed(_worded(error)) from None
        try:
            return await self._answer(request, call, onward, answer)
        finally:
            # What was not read to its end cannot be followed by another answer.
            if answer.content.at_eof():
                answer.release()
            else:
                answer.close()

    async def close(self) -> None:
        """Close what is kept open; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._egress.connector(limit=0, use_dns_cache=False, keepalive_timeout=30),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
                auto_decompress=False,
            )
        return self._session

    async def _answer(
        self, request: web.BaseRequest, call: Call, onward: Onward, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        headers = _headers_back(answer, onward, request)
        if call.audit_id:
            headers["Audit-Id"] = call.audit_id
        pages: AsyncIterator[bytes] = answer.content.iter_any()
        if onward.prefix and answer.content_type == "text/html" and request.method != "HEAD":
            encoding = answer.headers.get(hdrs.CONTENT_ENCODING, "").lower()
            if encoding in ("", "gzip", "deflate"):
                # Both change: pages are sent as they are rewritten, and uncompressed.
                headers.pop(hdrs.CONTENT_LENGTH, None)
                headers.pop(hdrs.CONTENT_ENCODING, None)
                rewriter = links.HtmlRewriter(onward.prefix, f"{onward.host}:{onward.port}", request.host)
                pages = _rewritten(pages, rewriter, encoding)
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        if hdrs.CONTENT_TYPE not in headers:
            response.headers.popall(hdrs.CONTENT_TYPE, None)
        try:
            await response.prepare(request)
            await response.write(b"")  # sends the headers now: the body may be long in coming
            async for chunk in pages:
                await response.write(chunk)
        except (aiohttp.ClientError, zlib.error, TimeoutError):
            # Half an answer must not look like a whole one.
            if request.transport is not None:
                request.transport.close()
            return response
        await response.write_eof()
        return response


def headers_onward(sent: Iterable[tuple[str, str]], onward: Onward, remote: str) -> CIMultiDict[str]:
    """Return what the other server is told: what the client sent, without what is this server's alone."""
    headers = CIMultiDict(sent)
    dropped = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    for name in {name.lower() for name in headers}:
        if name in _HOP_BY_HOP or name in dropped or name.startswith(_OURS) or name == "authorization":
            headers.popall(name)
    headers.popall(hdrs.EXPECT, None)
    before = ", ".join(headers.popall(hdrs.X_FORWARDED_FOR, ()))
    if remote:
        headers[hdrs.X_FORWARDED_FOR] = f"{before}, {remote}" if before else remote
    if onward.prefix:
        for name in _ABOUT_THE_WAY:
            headers.popall(name, None)
        headers["X-Forwarded-Uri"] = onward.prefix + onward.target.partition("?")[0]
    for name, value in onward.headers:
        headers.add(name, value)
    if onward.host_header:
        headers[hdrs.HOST] = onward.host_header
    return headers


def _headers_back(answer: aiohttp.ClientResponse, onward: Onward, request: web.BaseRequest) -> CIMultiDict[str]:
    headers = CIMultiDict(answer.headers)
    dropped = {name.strip().lower() for value in headers.getall(hdrs.CONNECTION, ()) for name in value.split(",")}
    for name in {name.lower() for name in headers}:
        if name in _HOP_BY_HOP or name in dropped or (onward.prefix and name.startswith(_CORS)):
            headers.popall(name)
    if onward.prefix and (location := headers.get(hdrs.LOCATION, "")):
        backend = f"{onward.host}:{onward.port}"
        headers[hdrs.LOCATION] = links.rewrite(location, onward.prefix, backend, request.host)
    return headers


async def _rewritten(pages: AsyncIterator[bytes], rewriter: links.HtmlRewriter, encoding: str) -> AsyncIterator[bytes]:
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding else None
    async for page in pages:
        pending = page
        while pending:
            if unpacked is None:
                piece, pending = pending, b""
            else:
                # In pieces: a small page may unpack to a very large one.
                piece = unpacked.decompress(pending, 1 << 16)
                pending = unpacked.unconsumed_tail
            if made := rewriter.feed(piece):
                yield made
        await asyncio.sleep(0)
    if made := rewriter.finish():
        yield made


def _worded(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "dial: i/o timeout"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        fault = error.certificate_error
        return f"tls: failed to verify certificate: x509: {getattr(fault, 'verify_message', '') or fault}"
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or str(error.os_error)
        if why.startswith("dial "):
            return why  # A node tried, and says so in these words.
        return f"dial tcp {error.host}:{error.port}: connect: {why.lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "EOF"
    return str(error) or type(error).__name__

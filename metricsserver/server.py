"""Answers the API server's front proxy: paths to documents, and the HTTPS port they are asked at.

Whoever shows a certificate of the front proxy's CA under one of the names it may bear has authorized the user whose
request it forwards; nobody else gets in. Objects are looked up in the API server at each request: what is measured of
something that is gone is not told, and labels need not be remembered here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from component import relay
from component.clock import Clock
from metricsserver import documents, openapi
from metricsserver.asking import Asking, NoAnswer, Refused
from metricsserver.documents import NODES, PODS, Document, Kind
from metricsserver.samples import Samples

log = logging.getLogger(__name__)

REQUEST_WITHIN_S: Final = 90.0
"""How long a connection may be idle."""
CONNECTIONS_MAX: Final = 1000
_PATH: Final = re.compile(
    rf"/apis/{re.escape(documents.VERSION)}(/namespaces/(?P<namespace>[^/]+))?/(?P<plural>nodes|pods)(/(?P<name>[^/]+))?"
)
_SELECTORS: Final = ("labelSelector", "fieldSelector")


class Answers:
    """From requests to documents."""

    def __init__(self, asking: Asking, samples: Samples, clock: Clock) -> None:
        self._asking = asking
        self._samples = samples
        self._clock = clock

    async def answer(self, method: str, target: str, accept: str) -> tuple[int, bytes]:
        """Return the status and body for a request."""
        path, _, query = target.partition("?")
        if method not in ("GET", "HEAD"):
            message = "the server does not allow this method on the requested resource"
            return _encoded(documents.failure(405, "MethodNotAllowed", message))
        path = unquote(path)
        if path in documents.DISCOVERY:
            return _encoded(documents.DISCOVERY[path])
        if path in openapi.DOCUMENTS:
            return _encoded(openapi.DOCUMENTS[path])
        found = _PATH.fullmatch(path.rstrip("/"))
        if found is None or (found["plural"] == "nodes" and found["namespace"]):
            return _encoded(documents.failure(404, "NotFound", "the server could not find the requested resource"))
        selectors = {name: values[0] for name, values in parse_qs(query).items() if name in _SELECTORS}
        namespace, name = found["namespace"] or "", found["name"] or ""
        if name:
            selectors = {"fieldSelector": f"metadata.name={name}"}
        try:
            kind, items = await self._items(found["plural"], namespace, selectors)
        except Refused as refused:
            return refused.code, refused.body
        except NoAnswer as error:
            return _encoded(documents.failure(503, "ServiceUnavailable", f"cannot tell what there is: {error}"))
        if "as=Table" in accept:
            if name and not items:
                return _encoded(documents.not_found(kind, namespace, name))
            return _encoded(documents.table(items, documents.usages_in))
        if name:
            return _encoded(items[0] if items else documents.not_found(kind, namespace, name))
        return _encoded(documents.listed(kind, items))

    async def _items(
        self, plural: str, namespace: str, selectors: Mapping[str, str]
    ) -> tuple[Kind, Sequence[Document]]:
        within = f"/namespaces/{namespace}" if namespace else ""
        now = self._clock.now()
        found = await self._asking.metadata(f"/api/v1{within}/{plural}", selectors)
        if plural == "nodes":
            nodes = self._samples.of_nodes()
            return NODES, [documents.of_node(one, nodes[one["name"]], now) for one in found if one["name"] in nodes]
        pods = self._samples.of_pods()
        keyed = [(one, (one.get("namespace", ""), one["name"])) for one in found]
        return PODS, [documents.of_pod(one, pods[key], now) for one, key in keyed if key in pods]


class Listener:
    """The HTTPS port.

    Args:
        answers: what is answered.
        names: common names that a front proxy's certificate may bear; any, if there is none.
    """

    def __init__(self, answers: Answers, names: Sequence[str]) -> None:
        self._answers = answers
        self._names = names
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        """Listen until `close`; raises OSError if the port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, ssl=tls, limit=relay.HEAD_BYTES_MAX)

    @property
    def port(self) -> int:
        """The port in use."""
        assert self._server is not None, "it was not started"
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening, and end every connection."""
        if self._server is not None:
            self._server.close()
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await self._serve_one(reader, writer):
                    pass
        except Exception:
            log.exception("a request failed")
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; returns whether another may follow."""
        async with asyncio.timeout(REQUEST_WITHIN_S):
            head = await reader.readuntil(b"\r\n\r\n")
        line, _, fields = head[:-4].partition(b"\r\n")
        words = line.decode("latin-1").split(" ")
        try:
            headers = relay.parse_fields(fields)
        except relay.BadHead:
            return False
        if len(words) != 3:
            return False
        # What has a body is refused, and nothing may be read from this connection after it.
        has_body = relay.header(headers, "Content-Length") not in ("", "0") or relay.header(
            headers, "Transfer-Encoding"
        )
        method = words[0]
        if is_front_proxy(writer.get_extra_info("peercert"), self._names):
            status, body = await self._answers.answer(method, words[1], relay.header(headers, "Accept"))
        else:
            status, body = _encoded(documents.failure(401, "Unauthorized", "Unauthorized"))
        goes_on = not has_body and "close" not in relay.header(headers, "Connection").lower()
        told = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        told += [] if goes_on else [("Connection", "close")]
        writer.write(f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode() + relay.encode_fields(told))
        if method != "HEAD":
            writer.write(body)
        async with asyncio.timeout(REQUEST_WITHIN_S):
            await writer.drain()
        return goes_on


def is_front_proxy(certificate: Mapping[str, Any] | None, names: Sequence[str]) -> bool:
    """Whether a verified certificate (as getpeercert gives it) bears a name that the front proxy may have. Pure."""
    if not certificate:
        return False
    told = {value for pairs in certificate.get("subject", ()) for key, value in pairs if key == "commonName"}
    return not names or not told.isdisjoint(names)


def _encoded(document: Document) -> tuple[int, bytes]:
    return document.get("code", 200) if document.get("kind") == "Status" else 200, msgspec.json.encode(document)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"

"""Asks others: API servers for nodes and for metadata of pods, kubelets for what is used. HTTP/1.1 over mTLS.

A connection a question: there are few, and none to keep alive or to find broken.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from component import relay
from component.serve import Identity, client_context

ANSWER_WITHIN_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
MESSAGE_MAX: Final = 200
"""Characters shown of an API server's refusal."""
SERVER_NAME: Final = "kubernetes"
"""The name every API server's certificate carries, whatever address was dialled."""
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ADDRESSES: Final = ("InternalIP", "ExternalIP", "Hostname")
"""Which of a node's addresses to take, the first there is."""


class NoAnswer(Exception):
    """Nobody answered, or not with what was asked for; the text says who, and what came instead."""


class Refused(Exception):
    """The API server answered with an error: its status, and the Status it sent."""

    def __init__(self, code: int, body: bytes) -> None:
        super().__init__(f"the API server answers {code}: {_message(body)}")
        self.code = code
        self.body = body


def _message(body: bytes) -> str:
    """Return what a Status says, or the beginning of what is none."""
    try:
        said = msgspec.json.decode(body).get("message")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
        said = None
    return str(said or body.decode(errors="replace"))[:MESSAGE_MAX]


@dataclass(frozen=True, slots=True)
class Kubelet:
    """Where a node's kubelet is."""

    node: str
    host: str
    port: int


class Asking:
    """Asks in this process's own name.

    Args:
        servers: host:port of each API server's REST API; asked in turn until one answers.
        identity: our certificate, and the CA that API servers and kubelets are believed by; read anew when it changes.
    """

    def __init__(self, servers: Sequence[str], identity: Identity) -> None:
        self._servers = list(servers)
        self._identity = identity
        self._versions: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None

    async def kubelets(self) -> list[Kubelet]:
        """Return every node's kubelet."""
        found = await self._from_server("/api/v1/nodes", {"resourceVersion": "0"}, "application/json")
        kubelets = (kubelet_of(item) for item in found.get("items") or ())
        return [each for each in kubelets if each is not None]

    async def metadata(self, path: str, selectors: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the metadata of the objects at `path` that are selected.

        Raises:
            NoAnswer: no API server answers.
            Refused: one does not like the question.
        """
        found = await self._from_server(path, {"resourceVersion": "0", **selectors}, _METADATA_ONLY)
        return [item["metadata"] for item in found.get("items") or ()]

    async def usage(self, kubelet: Kubelet) -> str:
        """Return a kubelet's /metrics/resource; raises NoAnswer."""
        status, body = await self._get(kubelet.host, kubelet.port, None, "/metrics/resource", "text/plain")
        if status != 200 or not body.endswith(b"\n"):
            raise NoAnswer(f"node {kubelet.node}: {status} {body[:200].decode(errors='replace').strip()}")
        return body.decode(errors="replace")

    async def _from_server(self, path: str, query: Mapping[str, str], accept: str) -> Any:
        target = f"{path}?{urlencode(query)}"
        problem = NoAnswer("there is no API server to ask")
        for server in list(self._servers):
            host, _, port = server.rpartition(":")
            try:
                status, body = await self._get(host, int(port), SERVER_NAME, target, accept)
                if status == 200:
                    return msgspec.json.decode(body)
            except (NoAnswer, msgspec.MsgspecError) as error:
                problem = NoAnswer(f"{server}: {error}")
            else:
                if status < 500:
                    raise Refused(status, body)
                problem = NoAnswer(f"{server}: {status} {body[:200].decode(errors='replace')}")
            # The others are asked first from now on.
            self._servers.append(self._servers.pop(0))
        raise problem

    async def _get(self, host: str, port: int, name: str | None, target: str, accept: str) -> tuple[int, bytes]:
        headers = [("Host", name or host), ("User-Agent", "steer-metrics"), ("Accept", accept), ("Connection", "close")]
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                connection = await relay.dial(host.strip("[]"), port, tls=self._tls(), server_name=name)
                try:
                    answer = await relay.request_upgrade(connection, "GET", target, headers)
                    body = await relay.read_body(connection, answer.headers, limit_bytes=ANSWER_BYTES_MAX)
                finally:
                    connection.abort()
        except (OSError, TimeoutError, relay.BadHead) as error:
            raise NoAnswer(str(error) or f"no answer within {ANSWER_WITHIN_S:g} s") from error
        return answer.status, body

    def _tls(self) -> ssl.SSLContext:
        identity = self._identity
        versions = tuple(path.stat().st_mtime_ns for path in (identity.cert, identity.key, identity.ca))
        if self._context is None or versions != self._versions:
            self._context, self._versions = client_context(identity), versions
        return self._context


def kubelet_of(node: Mapping[str, Any]) -> Kubelet | None:
    """Return where a Node says that its kubelet is; None when it does not say."""
    status = node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or 10250
    addresses = {each["type"]: each["address"] for each in reversed(status.get("addresses") or ())}
    host = next((addresses[kind] for kind in _ADDRESSES if addresses.get(kind)), None)
    return Kubelet(node["metadata"]["name"], host, port) if host else None

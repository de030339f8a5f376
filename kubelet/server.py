"""The kubelet's HTTPS server: logs, exec, attach and port-forward for the API server, and what operators read.

Paths are upstream's. Who gets in is for `kubelet.access` to say. Streams go on to the address that the runtime gives,
as `kubelet.streaming` says: most of them byte for byte.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from aiohttp import web

from api.core.pod import Pod
from api.timestamps import parse
from component import health, relay, websocket
from component.certificates import Fresh, fresh_server
from component.metrics import render
from component.serve import Identity
from component.unnamed import unnamed
from kubelet import logs, machine, metrics, metrics_pages, node_pages, streaming, tunnel
from kubelet.access import Access, Turned, is_admitted
from kubelet.cgroups import Cgroups, GroupUsage
from kubelet.logs import LogOptions
from kubelet.paths import Paths
from kubelet.runtime.cri import Cri, CriError
from kubelet.runtime.pleg import Pleg
from kubelet.runtime.records import ContainerRecord, RuntimePod
from kubelet.stats import storage, summary, system
from proto.cri import api_pb2 as pb

log = logging.getLogger(__name__)

HOLLOW_LOG = "This node is hollow: its containers exist only in memory, and say nothing.\n"

_STREAM = re.compile(r"/(exec|attach)/([^/]+)/([^/]+)/([^/]+)|/(portForward)/([^/]+)/([^/]+)")


class _Refused(Exception):
    """A request that cannot be served; the message is the body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the server shows, of one node."""

    node_name: str
    cri: Cri
    pleg: Pleg
    pods: Callable[[], list[Pod]]
    cgroups: Cgroups | None
    now: Callable[[], float]
    access: Access
    ready: Mapping[str, health.Check]
    is_hollow: bool = False
    runtime_endpoint: str = ""
    """Where the runtime listens."""
    paths: Paths | None = None
    """Where pods' files are; a hollow node's are nowhere."""
    claimed: Callable[[str], Mapping[str, tuple[str, Path]]] = lambda uid: {}
    """Returns what volumes a pod, by UID, has by claims: claim and path by the volume's name."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """What the kubelet was told, as a KubeletConfiguration."""


def _metrics_response(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": health.METRICS_TYPE})


class Server:
    """Serves one node."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._board: relay.Switchboard | None = None
        self._certificates: Fresh | None = None
        self._rates = summary.Rates()
        self._started = served.now()

    async def start(self, host: str, port: int, identity: Identity) -> None:
        """Listen until `close`.

        Raises:
            OSError: the port is taken; the message names it.
        """
        app = web.Application(middlewares=[self._admit], client_max_size=1 << 16)
        app.add_routes(health.routes(self._served.ready, metrics=self._metrics))
        app.add_routes(
            [
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
                web.get("/pods", self._pods),
                web.get("/stats/summary", self._summary),
                web.get("/metrics/resource", self._resource_metrics),
                web.get("/metrics/cadvisor", self._container_metrics),
                web.get("/metrics/probes", self._probe_metrics),
                web.route("*", "/exec/{rest:.*}", self._not_an_upgrade),
                web.route("*", "/attach/{rest:.*}", self._not_an_upgrade),
                web.route("*", "/portForward/{rest:.*}", self._not_an_upgrade),
            ]
        )
        served = self._served
        log_directory = None if served.is_hollow else node_pages.LOG_DIRECTORY
        app.add_routes(node_pages.routes(served.configuration, self._runtime_pods, log_directory))
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        assert self._runner.server is not None
        self._board = relay.Switchboard(
            unnamed(self._runner.server),
            self._takes,
            self._upgrade,
            protocols=("spdy/3.1", "websocket", tunnel.PROTOCOL),
        )
        self._certificates = fresh_server(identity, client_certificates=ssl.CERT_OPTIONAL)
        context = self._certificates.serving()
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._board, host or None, port, ssl=context)

    async def follow_certificates(self) -> None:
        """Show another certificate whenever the files hold one, until cancelled; standing connections keep theirs."""
        assert self._certificates is not None, "the server was not started"
        await self._certificates.follow()

    async def close(self) -> None:
        """Stop listening, and end every connection."""
        if self._listener is not None:
            self._listener.close()
        if self._board is not None:
            await self._board.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # Who gets in

    @web.middleware
    async def _admit(self, request: web.Request, handler: Any) -> web.StreamResponse:
        cert = request.transport.get_extra_info("peercert") if request.transport is not None else None
        authorization = request.headers.get("Authorization", "")
        try:
            await self._served.access.check(cert, authorization, request.method, request.path)
            with metrics.serving(request.method, request.path, _is_true(request.query, "follow")):
                response: web.StreamResponse = await handler(request)
        except (_Refused, Turned) as refused:
            return web.Response(status=refused.status, text=refused.message)
        except CriError as error:
            return web.Response(status=500, text=error.message)
        return response

    # Ordinary requests

    async def _not_an_upgrade(self, request: web.Request) -> web.Response:
        raise _Refused(400, "Upgrade request required")

    async def _pods(self, _: web.Request) -> web.Response:
        body = msgspec.json.encode(
            {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._served.pods()}
        )
        return web.Response(body=body, content_type="application/json")

    def _served_pods(self) -> list[tuple[Pod, RuntimePod]]:
        return [(pod, self._served.pleg.get(pod.metadata.uid)) for pod in self._served.pods()]

    def _runtime_pods(self) -> list[RuntimePod]:
        return [runtime for _, runtime in self._served_pods()]

    def _used(
        self, pods: list[tuple[Pod, RuntimePod]], now: float, own: Mapping[str, system.Process] = MappingProxyType({})
    ) -> summary.Stats:
        served = self._served
        return summary.summary(served.node_name, pods, served.cgroups, now, self._rates, self._started, own)

    async def _summary(self, request: web.Request) -> web.Response:
        served, pods, now = self._served, self._served_pods(), self._served.now()
        told = self._used(pods, now, self._own_processes())
        if not _is_true(request.query, "only_cpu_and_memory") and served.paths is not None:
            stored = await self._stored(pods, served.paths)
            told = summary.fill(told, pods, served.cgroups, now, served.paths.root, served.claimed, stored)
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")

    def _own_processes(self) -> dict[str, system.Process]:
        served = self._served
        if served.cgroups is None:
            return {}
        pids = {"kubelet": os.getpid(), "runtime": system.listener(served.runtime_endpoint)}
        found = {name: system.process(pid, served.cgroups) for name, pid in pids.items() if pid}
        return {name: process for name, process in found.items() if process is not None}

    async def _stored(self, pods: list[tuple[Pod, RuntimePod]], paths: Paths) -> dict[str, storage.PodStorage]:
        if self._served.cgroups is None:
            return {}
        layers = {each: storage.Held(*held) for each, held in (await self._served.cri.writable_layers()).items()}

        def walk() -> dict[str, storage.PodStorage]:
            return {pod.metadata.uid: storage.measure(pod, runtime, layers, paths) for pod, runtime in pods}

        return await asyncio.to_thread(walk)

    def _metrics(self) -> bytes:
        served, pods = self._served, self._served_pods()
        own = metrics_pages.kubelet(served.node_name, pods, summary.volumes(pods, served.claimed, served.now()))
        return health.registered_metrics() + render(own)

    async def _resource_metrics(self, _: web.Request) -> web.Response:
        now = self._served.now()
        return _metrics_response(metrics_pages.resource(self._used(self._served_pods(), now), now))

    async def _container_metrics(self, _: web.Request) -> web.Response:
        cgroups, pods, now = self._served.cgroups, self._served_pods(), self._served.now()
        here = metrics_pages.Machine(os.cpu_count() or 1, machine.memory_bytes())
        if cgroups is None:
            nothing = metrics_pages.cadvisor(
                {}, here, pods, lambda pod: "", lambda group: _NO_USE, lambda group: {}, now
            )
            return _metrics_response(nothing)
        networks = {pod.metadata.uid: summary.carried(pod, runtime, cgroups) or () for pod, runtime in pods}
        return _metrics_response(
            metrics_pages.cadvisor(networks, here, pods, cgroups.parent, cgroups.usage, cgroups.disks, now)
        )

    async def _probe_metrics(self, _: web.Request) -> web.Response:
        return _metrics_response(render([metrics_pages.PROBES]))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        match = request.match_info
        pod = self._pod(match["namespace"], match["pod"])
        name = match["container"]
        self._check_container(pod, name)
        options = self._options(request.query)
        previous = _is_true(request.query, "previous")
        if self._served.is_hollow:
            return web.Response(text=HOLLOW_LOG)
        record = self._record(pod, name, previous)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        path = Path(record.log_path)
        if not await asyncio.to_thread(path.exists):
            raise _Refused(404, f"the log of container {name} is not there: {path}")
        await response.prepare(request)
        await response.write(b"")  # Sends the headers now: a follower may wait long for the first line.
        async for piece in logs.read(path, options, lambda: self._is_running(pod.metadata.uid, record.id)):
            await response.write(piece)
        await response.write_eof()
        return response

    def _options(self, query: Mapping[str, str]) -> LogOptions:
        since = None
        if "sinceSeconds" in query:
            since = self._served.now() - _integer(query, "sinceSeconds", 1)
        elif query.get("sinceTime"):
            try:
                since = parse(query["sinceTime"])
            except ValueError as error:
                raise _Refused(400, f"sinceTime: {error}") from None
        return LogOptions(
            follow=_is_true(query, "follow"),
            timestamps=_is_true(query, "timestamps"),
            since_s=since,
            tail_lines=_integer(query, "tailLines", 0) if query.get("tailLines") else None,
            limit_bytes=_integer(query, "limitBytes", 1) if query.get("limitBytes") else None,
        )

    def _is_running(self, uid: str, container_id: str) -> bool:
        return any(record.id == container_id for record in self._served.pleg.get(uid).running)

    # Upgrades

    def _takes(self, method: str, target: str) -> bool:
        return target.startswith(("/exec/", "/attach/", "/portForward/", tunnel.PATH))

    async def _upgrade(self, upgrade: relay.Upgrade) -> None:
        try:
            await self._check(upgrade)
        except Turned as turned:
            await self._refuse(upgrade, turned.status, turned.message)
            return
        with metrics.serving(upgrade.method, upgrade.target, is_long=True):
            await self._stream(upgrade)

    async def _stream(self, upgrade: relay.Upgrade) -> None:
        if upgrade.target.startswith(tunnel.PATH):
            await tunnel.carry(upgrade)
            return
        try:
            url, has_ended = await self._stream_url(upgrade.target)
        except _Refused as refused:
            await self._refuse(upgrade, refused.status, refused.message)
            return
        except CriError as error:
            await self._refuse(upgrade, 500, error.message)
            return
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        try:
            onward = await relay.dial(host, port, is_apart=True)
        except (OSError, TimeoutError) as error:
            await self._refuse(upgrade, 502, f"the container runtime's streaming server at {host}:{port}: {error}")
            return
        offered = relay.tokens(upgrade.headers, "Sec-WebSocket-Protocol")
        translated = streaming.translated(upgrade.protocol, offered)
        if translated:
            method, headers = "POST", streaming.onward_headers(translated, f"{host}:{port}")
        else:
            method, headers = upgrade.method, [("Host", f"{host}:{port}")]
            headers += [(name, value) for name, value in upgrade.headers if name.lower() not in _NOT_ONWARD]
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            answer = await relay.request_upgrade(onward, method, target, headers)
        except (relay.BadHead, OSError, TimeoutError) as error:
            onward.abort()
            await self._refuse(upgrade, 502, f"the container runtime's streaming server: {error}")
            return
        if not answer.switched:
            body = await relay.read_body(onward, answer.headers)
            await onward.close()
            await upgrade.refuse(answer.status, body, "text/plain")
            return
        switch = answer.headers
        if translated:
            switch = websocket.accept_headers(upgrade.header("Sec-WebSocket-Key"), translated)
        await relay.send_switch(upgrade.connection, switch)
        watching = asyncio.ensure_future(streaming.hang_up(onward, has_ended)) if has_ended is not None else None
        try:
            if translated:
                wanted = _wanted(upgrade.target)
                await streaming.carry(translated, upgrade.connection, onward, wanted, has_ended)
            else:
                await relay.relay(upgrade.connection, onward)
        finally:
            if watching is not None:
                watching.cancel()

    async def _check(self, upgrade: relay.Upgrade) -> None:
        if not upgrade.target.startswith(tunnel.PATH):
            authorization = upgrade.header("Authorization")
            await self._served.access.check(upgrade.peer_cert, authorization, upgrade.method, upgrade.target)
        elif not is_admitted(upgrade.peer_cert):
            # A way into the whole network of pods: no subresource of the node stands for that.
            raise Turned(403, "Forbidden: your certificate is in no group that may use this node")

    async def _refuse(self, upgrade: relay.Upgrade, status: int, message: str) -> None:
        await upgrade.refuse(status, message.encode(), "text/plain")

    async def _stream_url(self, target: str) -> tuple[str, Callable[[], bool] | None]:
        """Return where the runtime carries a stream on, and what says whether a container attached to ended."""
        parts = urlsplit(target)
        query = parse_qs(parts.query, keep_blank_values=True)
        found = _STREAM.fullmatch(parts.path)
        if found is None:
            raise _Refused(404, f"no such path: {parts.path}")
        if found[5]:
            pod = self._pod(unquote(found[6]), unquote(found[7]))
            sandbox = self._served.pleg.get(pod.metadata.uid).ready_sandbox
            if sandbox is None and not self._served.is_hollow:
                raise _Refused(400, f"pod {pod.metadata.name} is not running")
            ports = [int(port) for value in query.get("port", []) for port in value.split(",") if port.isdecimal()]
            return await self._served.cri.port_forward_url(sandbox.id if sandbox else "", ports), None
        pod, name = self._pod(unquote(found[2]), unquote(found[3])), unquote(found[4])
        self._check_container(pod, name)
        uid = pod.metadata.uid
        record = self._served.pleg.get(uid).newest(name)
        if record is None or not record.is_running:
            full_name = f"{pod.metadata.name}_{pod.metadata.namespace}"
            is_exec = found[1] == "exec"
            raise _Refused(
                500, f'container not found ("{name}")' if is_exec else f"container {name} not found in pod {full_name}"
            )
        wanted = _wanted(target)
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise _Refused(400, "you must specify at least 1 of stdin, stdout, stderr")
        streams = {"stdin": wanted.stdin, "stdout": wanted.stdout, "stderr": wanted.stderr, "tty": wanted.tty}
        if found[1] == "exec":
            command = query.get("command", [])
            return await self._served.cri.exec_url(pb.ExecRequest(container_id=record.id, cmd=command, **streams)), None
        url = await self._served.cri.attach_url(pb.AttachRequest(container_id=record.id, **streams))
        return url, lambda: not self._is_running(uid, record.id)

    # Finding things

    def _pod(self, namespace: str, name: str) -> Pod:
        for pod in self._served.pods():
            if pod.metadata.name == name and pod.metadata.namespace == namespace:
                return pod
        raise _Refused(404, f'pod "{name}" not found in namespace "{namespace}" on this node')

    def _check_container(self, pod: Pod, name: str) -> None:
        spec = pod.spec
        known = [c.name for c in [*spec.containers, *spec.init_containers]] + [
            c.name for c in spec.ephemeral_containers
        ]
        if name not in known:
            raise _Refused(404, f"container {name} not found in pod {pod.metadata.name}")

    def _record(self, pod: Pod, name: str, previous: bool) -> ContainerRecord:
        runtime: RuntimePod = self._served.pleg.get(pod.metadata.uid)
        attempts = runtime.attempts(name)
        if previous:
            if len(attempts) < 2:
                raise _Refused(400, f'previous terminated container "{name}" in pod "{pod.metadata.name}" not found')
            return attempts[1]
        if not attempts:
            status = pod.status
            known = [
                *status.container_statuses,
                *status.init_container_statuses,
                *status.ephemeral_container_statuses,
            ]
            waiting = next((s.state.waiting.reason for s in known if s.name == name and s.state.waiting), "")
            if waiting in ("ErrImagePull", "ImagePullBackOff"):
                waiting = "trying and failing to pull image"
            waiting = waiting or "ContainerCreating"
            raise _Refused(400, f'container "{name}" in pod "{pod.metadata.name}" is waiting to start: {waiting}')
        return attempts[0]


_NO_USE = GroupUsage(0, 0, 0, 0, 0, 0)
_NOT_ONWARD = frozenset({"host", "authorization", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})


def _wanted(target: str) -> streaming.Wanted:
    """Return the streams that a request asks for; a terminal has one output for both."""
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    stdin, stdout, stderr, tty = (_is_set(query, key) for key in ("input", "output", "error", "tty"))
    return streaming.Wanted(stdin, stdout, stderr and not tty, tty)


def _is_set(query: Mapping[str, list[str]], key: str) -> bool:
    return query.get(key, [""])[0] in ("1", "true")


def _is_true(query: Mapping[str, str], key: str) -> bool:
    return query.get(key, "") in ("true", "1")


def _integer(query: Mapping[str, str], key: str, least: int) -> int:
    try:
        value = int(query[key])
    except ValueError:
        raise _Refused(400, f"{key}: {query[key]!r} is not a number") from None
    if value < least:
        raise _Refused(400, f"{key}: must be at least {least}")
    return value

"""The real wire between members: msgpack frames of bounded size over mutual TLS, one connection each way.

A member dials every other and sends on the connection it dialled, so each connection has one sender, and there is never
a tie to break. Both ends show certificates of the store's CA whose common name is `steer-store-<member's name>`. The
dialler begins with a greeting: the cluster's id, its own id, and the id it takes the other for. All must be right, so
another cluster is never mistaken for this one. Both ends also say which data directory they have, by a number drawn
when it was made: a member that lost its disk and was started anew under its old name has forgotten whom it voted for
and what it acknowledged, and is refused by whoever knew it before.

What comes before the greeting is accepted is bounded in size and time; what comes after is read as fast as raft takes
it, which is at once. A peer that does not drain what it is sent is cut off, and one that says nothing is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgpack

from component.certificates import Fresh, ca_changes
from component.serve import Identity
from store import counts
from store.consensus.transport import Message, Receiver

log = logging.getLogger(__name__)

COMMON_NAME_PREFIX = "steer-store-"
FRAME_BYTES_MAX = 16 << 20
"""A larger frame ends the connection; the largest made are a few entries, or a chunk of a snapshot."""
GREETING_BYTES_MAX = 4096
GREETING_TIMEOUT_S = 3.0
PING_INTERVAL_S = 1.0
SILENCE_MAX_S = 4.0
"""A connection on which nothing came for so long is closed."""
ROOM_BYTES = 4 << 20
"""While more than this waits to be sent to a peer, it is sent no more entries."""
BUFFER_BYTES_MAX = 64 << 20
"""A peer for which more than this waits is cut off."""
READ_BYTES = 256 << 10
"""Read at a time."""
REDIAL_MIN_S, REDIAL_MAX_S = 0.05, 1.0
UNGREETED_MAX = 64
"""Connections waiting for their greeting."""
_VERSION = 1
_LENGTH = struct.Struct(">I")

Adopt = Callable[[int, int, dict[str, Any]], None]


class Refused(Exception):
    """The other side is not who it should be, or takes us for somebody else; the message goes to it and to the log."""


@dataclass(slots=True)
class _Link:
    """How to reach one peer, and the connection to it."""

    name: str
    address: str
    task: asyncio.Task[None] | None = None
    writer: asyncio.StreamWriter | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    last_problem: str = ""


class Peers:
    """`PeerTransport` over mTLS."""

    def __init__(
        self,
        listen: str,
        identity: Identity,
        rng: random.Random,
        *,
        name: str,
        advertise: str = "",
        incarnation: str = "",
        known: Mapping[str, str] | None = None,
        remember: Callable[[Mapping[str, str]], None] = lambda known: None,
    ) -> None:
        """Prepare; `listen` begins to take connections.

        Args:
            listen: host:port to listen on.
            identity: certificate, key and CA for both directions.
            rng: spreads redialling.
            name: this member's name, which its certificate must carry.
            advertise: host:port at which others reach this member; `listen` where empty.
            incarnation: names this member's data directory.
            known: the incarnations of other members, by peer.
            remember: keeps `known` when one was learnt, on disk before it returns.
        """
        self._listen = listen
        self._advertise = advertise or listen
        self._rng = rng
        self._name = name
        self._incarnation = incarnation
        self._known = dict(known or {})
        self._remember = remember
        files = (identity.cert, identity.key, identity.ca)
        self._server_context = Fresh(files, partial(_server_context, identity))
        self._client_context = Fresh(files, partial(_client_context, identity))
        self._ca = identity.ca
        self._following: asyncio.Task[None] | None = None
        self.cluster_id = 0
        self.member_id = 0
        self._links: dict[str, _Link] = {}
        self._dropped: set[str] = set()
        self._server: asyncio.Server | None = None
        self._listening: asyncio.Task[None] | None = None
        self._receiver: Receiver | None = None
        self._adopted: asyncio.Future[tuple[int, int]] | None = None
        self._adopters: frozenset[str] = frozenset()
        self._incoming: set[asyncio.StreamWriter] = set()
        self._ungreeted = 0
        self._is_stopped = False
        self.refused = 0
        """Connections refused: no certificate, a wrong one, or a wrong greeting."""

    # -- coming up

    async def listen(self) -> None:
        """Take connections from now on; what comes before `start` is not acted on.

        Raises:
            OSError: the port is taken.
        """
        host, _, port = self._listen.rpartition(":")
        if self._server is not None:
            return
        self._server = await asyncio.start_server(
            self._serve,
            host.strip("[]"),
            int(port),
            ssl=self._server_context.serving(),
            ssl_handshake_timeout=GREETING_TIMEOUT_S,
        )

    async def wait_adopted(self, by: Collection[str] = ()) -> tuple[int, int]:
        """As a member that is to join: wait to be greeted; return (cluster id, our member id) as the cluster has it.

        Only those named in `by` may greet first, where it is not empty: at this address there may have been a member of
        another cluster, which its former companions still look for.
        """
        self._adopters = frozenset(by)
        self._adopted = asyncio.get_running_loop().create_future()
        self.cluster_id, self.member_id = await self._adopted
        return self.cluster_id, self.member_id

    def identify(self, cluster_id: int, member_id: int) -> None:
        """Say who we are, in greetings and when greeted."""
        self.cluster_id, self.member_id = cluster_id, member_id

    async def start(self, receiver: Receiver) -> None:
        """Hand messages to `receiver`, and dial whoever was added."""
        self._receiver = receiver
        self._following = asyncio.get_running_loop().create_task(self._follow_trust())
        for peer, link in self._links.items():
            self._dial_soon(peer, link)

    async def stop(self) -> None:
        """Close everything."""
        self._is_stopped = True
        for task in (self._listening, self._following):
            if task is not None:
                task.cancel()
        for link in self._links.values():
            if link.task:
                link.task.cancel()
        if self._server is not None:
            self._server.close()
        for writer in [*self._incoming, *(link.writer for link in self._links.values() if link.writer)]:
            writer.transport.abort()
        tasks = [link.task for link in self._links.values() if link.task]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_trust(self) -> None:
        """When other CAs are trusted than before, have every peer come again and show who it is."""
        async for _ in ca_changes(self._ca):
            for writer in [*self._incoming, *(link.writer for link in self._links.values() if link.writer)]:
                writer.transport.abort()

    # -- PeerTransport

    def send(self, peer: str, message: Message) -> bool:
        """Queue a message on the connection we dialled."""
        link = self._links.get(peer)
        if link is None or link.writer is None:
            counts.PEER_UNSENT.add((peer,))
            return False
        body = msgpack.packb(message, use_bin_type=True)
        assert len(body) <= FRAME_BYTES_MAX, f"a frame of {len(body)} bytes ({message['type']}) is over the limit"
        transport = link.writer.transport
        if transport.is_closing():
            return False
        if transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            log.warning("a member does not drain what it is sent", extra={"peer": link.name or peer})
            transport.abort()
            return False
        transport.write(_LENGTH.pack(len(body)) + body)
        counts.PEER_SENT.add((peer,), len(body) + _LENGTH.size)
        return True

    def has_room(self, peer: str) -> bool:
        """Whether little waits to be sent to the peer."""
        link = self._links.get(peer)
        return bool(link and link.writer and link.writer.transport.get_write_buffer_size() < ROOM_BYTES)

    def add_peer(self, peer: str, name: str, address: str) -> None:
        """Dial a member from now on."""
        link = self._links.get(peer)
        if link is not None and link.address == address and (link.name == name or not name):
            return
        if link is not None:
            link.name = name or link.name
            if link.address == address:
                return
            self.drop_peer(peer)
        self._dropped.discard(peer)
        link = self._links[peer] = _Link(name, address)
        if self._receiver is not None:
            self._dial_soon(peer, link)

    def drop_peer(self, peer: str) -> None:
        """Forget a member."""
        link = self._links.pop(peer, None)
        self._dropped.add(peer)
        if link is not None:
            if link.task:
                link.task.cancel()
            if link.writer:
                link.writer.transport.abort()

    # -- dialling

    def _dial_soon(self, peer: str, link: _Link) -> None:
        if link.task is None and not self._is_stopped and peer != f"{self.member_id:x}":
            if self._server is None and self._listening is None:
                self._listening = asyncio.get_running_loop().create_task(self._listen_at_last())
            link.task = asyncio.get_running_loop().create_task(self._keep_dialled(peer, link))

    async def _listen_at_last(self) -> None:
        """Listen, now that a cluster of one has got company; the port may have to become free first."""
        while True:
            try:
                await self.listen()
                return
            except OSError as error:
                log.error("can't listen for other members", extra={"at": self._listen, "why": str(error)})
                await asyncio.sleep(REDIAL_MAX_S)

    async def _keep_dialled(self, peer: str, link: _Link) -> None:
        """Keep one connection to a peer, however often it breaks."""
        wait_s = REDIAL_MIN_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._hold(peer, link)
                problem = "the connection ended"
            except (OSError, ssl.SSLError, TimeoutError, EOFError, Refused, ValueError) as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            except Exception as error:  # or nobody would ever dial this member again
                log.exception("a connection to a member ended by a bug", extra={"peer": link.name or peer})
                problem = f"{type(error).__name__}: {error}"
            if problem != link.last_problem:
                link.last_problem = problem
                level = logging.WARNING if problem.startswith("Refused") else logging.INFO
                where = {"peer": link.name or peer, "address": link.address, "why": problem}
                log.log(level, "not connected", extra=where)
            lasted_s = asyncio.get_running_loop().time() - began
            wait_s = REDIAL_MIN_S if lasted_s > REDIAL_MAX_S else min(2 * wait_s, REDIAL_MAX_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rng.uniform(wait_s / 2, wait_s)):
                    await link.wanted.wait()  # it has just dialled us, so it is there
            link.wanted.clear()

    async def _hold(self, peer: str, link: _Link) -> None:
        """Dial, greet, and stay until the connection ends."""
        host, _, port = link.address.rpartition(":")
        async with asyncio.timeout(GREETING_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                host.strip("[]"), int(port), ssl=self._client_context.current()
            )
        failure: BaseException | None = None
        try:
            _tune(writer)
            name = _name_of(writer)
            if link.name and name != link.name:
                raise Refused(f"the member at {link.address} is {name}, not {link.name}")
            greeting: dict[str, Any] = {
                "v": _VERSION,
                "cluster": self.cluster_id,
                "from": self.member_id,
                "to": int(peer, 16),
            }
            greeting |= {"name": self._name, "address": self._advertise, "incarnation": self._incarnation}
            _write(writer, greeting)
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                answer = await _read(reader, GREETING_BYTES_MAX)
            if answer.get("error"):
                raise Refused(str(answer["error"]))
            self._check_incarnation(peer, name, str(answer.get("incarnation", "")))
            link.writer, link.last_problem = writer, ""
            log.info("connected", extra={"peer": name, "address": link.address})
            assert self._receiver is not None
            self._receiver.on_connected(peer)
            async with asyncio.TaskGroup() as tasks:
                pinger = tasks.create_task(_ping(writer))
                try:
                    while True:
                        async with asyncio.timeout(SILENCE_MAX_S):
                            await _read(reader, GREETING_BYTES_MAX)  # pongs, and nothing else
                finally:
                    pinger.cancel()
        except* (OSError, EOFError, TimeoutError, Refused, ValueError) as errors:
            failure = _first(errors)  # raised below: early Python 3.11 wraps in a group what is raised here
        finally:
            writer.transport.abort()
            if link.writer is writer:
                link.writer = None
                if not self._is_stopped and self._receiver is not None and self._links.get(peer) is link:
                    self._receiver.on_disconnected(peer)
        if failure is not None:
            raise failure

    # -- being dialled

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._incoming.add(writer)
        peer = ""
        try:
            peer = await self._welcome(reader, writer)
            async for message in _messages(reader, peer):
                if self._is_stopped:
                    break
                if message.get("type") == "ping":
                    _write(writer, {"type": "pong"})
                elif peer in self._dropped:
                    raise Refused("you were removed from this cluster")
                elif self._receiver is not None:
                    self._receiver.on_message(peer, message)
        except Refused as error:
            self.refused += 1
            log.warning("refused a connection", extra={"why": str(error), "from": _where(writer)})
            with contextlib.suppress(OSError, TimeoutError):
                _write(writer, {"error": str(error)})
                async with asyncio.timeout(1):
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        except ValueError as error:
            self.refused += 1
            log.warning("closed a connection", extra={"why": str(error), "from": _where(writer)})
        except (OSError, EOFError, TimeoutError, ssl.SSLError):
            pass  # gone; whoever dialled sees to it
        finally:
            self._incoming.discard(writer)
            writer.transport.abort()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Read and check the greeting; return who it is."""
        if self._ungreeted >= UNGREETED_MAX:
            raise Refused("too many connections wait to be greeted")
        self._ungreeted += 1
        try:
            _tune(writer)
            name = _name_of(writer)
            async with asyncio.timeout(GREETING_TIMEOUT_S):
                greeting = await _read(reader, GREETING_BYTES_MAX)
        finally:
            self._ungreeted -= 1
        if greeting.get("v") != _VERSION or not all(type(greeting.get(k)) is int for k in ("cluster", "from", "to")):
            raise Refused(f"a greeting of version {greeting.get('v')!r}; this program knows {_VERSION}")
        if not self.member_id:
            if self._adopted is None:
                raise Refused("this member is starting")
            if self._adopters and name not in self._adopters:
                raise Refused(f"this member waits to be called by {', '.join(sorted(self._adopters))}, not by {name}")
            if not self._adopted.done():
                self._adopted.set_result((greeting["cluster"], greeting["to"]))
                self.identify(greeting["cluster"], greeting["to"])
        if greeting["cluster"] != self.cluster_id:
            raise Refused(f"you are of cluster {greeting['cluster']:x}, and this one is {self.cluster_id:x}")
        if greeting["to"] != self.member_id:
            raise Refused(f"you are looking for member {greeting['to']:x}, and this one is {self.member_id:x}")
        peer = f"{greeting['from']:x}"
        if peer in self._dropped or greeting["from"] == self.member_id:
            raise Refused("you were removed from this cluster")
        link = self._links.get(peer)
        if link is not None and link.name and link.name != name:
            raise Refused(f"member {peer} is {link.name}, and your certificate says {name}")
        if link is None and any(other.name == name for other in self._links.values()):
            raise Refused(f"{name} is a member already, under another id than {peer}")
        self._check_incarnation(peer, name, str(greeting.get("incarnation", "")))
        _write(writer, {"v": _VERSION, "name": self._name, "incarnation": self._incarnation})
        if link is None:
            # Somebody added since our log ended; what it sends will say so.
            self.add_peer(peer, name, str(greeting.get("address", "")))
        else:
            link.wanted.set()
        return peer

    def _check_incarnation(self, peer: str, name: str, incarnation: str) -> None:
        known = self._known.get(peer)
        if known is None:
            self._known[peer] = incarnation
            self._remember(self._known)
        elif known != incarnation:
            raise Refused(
                f"{name} has another data directory than the one known as member {peer}: what it voted for and "
                "acknowledged is lost. Remove it from the cluster, and add it again"
            )


async def _ping(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(PING_INTERVAL_S)
        _write(writer, {"type": "ping"})


def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    body = msgpack.packb(message, use_bin_type=True)
    writer.write(_LENGTH.pack(len(body)) + body)


async def _read(reader: asyncio.StreamReader, bytes_max: int) -> dict[str, Any]:
    """Read one frame; raises ValueError for what is not one."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > bytes_max:
        raise ValueError(f"a frame of {length} bytes is over the limit of {bytes_max}")
    return _decode(await reader.readexactly(length))


async def _messages(reader: asyncio.StreamReader, peer: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the messages of a peer's connection: what came together is taken together, since most of them are small.

    Raises TimeoutError when nothing came for SILENCE_MAX_S, EOFError at the end, and ValueError for what is no frame.
    """
    rest = b""
    while True:
        async with asyncio.timeout(SILENCE_MAX_S):
            chunk = await reader.read(READ_BYTES)
        if not chunk:
            raise EOFError
        counts.PEER_RECEIVED.add((peer,), len(chunk))
        rest = rest + chunk if rest else chunk
        position = 0
        while len(rest) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest, position)
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
            begin = position + _LENGTH.size
            position = begin + length
            if position > len(rest):
                async with asyncio.timeout(SILENCE_MAX_S):
                    rest += await reader.readexactly(position - len(rest))
            yield _decode(rest[begin:position])
        rest = rest[position:]


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(body, raw=False, strict_map_key=True, use_list=True)
    except Exception as error:
        raise ValueError(f"a frame that is not msgpack: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("a frame that is not a message")
    return message


def _name_of(writer: asyncio.StreamWriter) -> str:
    """Return the member's name in the other side's certificate."""
    certificate = writer.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    for name in names:
        if name.startswith(COMMON_NAME_PREFIX):
            return str(name[len(COMMON_NAME_PREFIX) :])
    raise Refused(f"certificate of {', '.join(names) or 'nobody'} is not that of a member ({COMMON_NAME_PREFIX}<name>)")


def _tune(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE_MAX_S * 1000))


def _where(writer: asyncio.StreamWriter) -> str:
    address = writer.get_extra_info("peername") or ("?", 0)
    return f"{address[0]}:{address[1]}"


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _server_context(identity: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(identity.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    return _with_pair(context, identity)


def _client_context(identity: Identity) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(identity.ca))
    context.check_hostname = False  # the common name says which member it is, wherever it is
    return _with_pair(context, identity)


def _with_pair(context: ssl.SSLContext, identity: Identity) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity.cert, identity.key)
    return context

"""DNS over UDP and TCP: packets to questions, answers to packets.

`Responder` turns one packet into another. Names of the cluster's are answered at once, from memory; others go to the
forwarder. Follows RFC 1035, RFC 6891 (EDNS, for answers over 512 bytes), RFC 7766 (TCP), RFC 2308 (negative answers).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import dnslib

from clusterdns import metrics
from clusterdns.forward import Forwarder, Unanswered
from clusterdns.records import Answer, Rcode, Record, Srv, Zone, with_name

log = logging.getLogger(__name__)

UDP_BYTES_MIN, UDP_BYTES_MAX = 512, 1232
"""The larger is what passes without fragments anywhere (DNS flag day 2020)."""
TCP_BYTES_MAX = 65_535
TCP_IDLE_S = 10.0
TCP_CONNECTIONS_MAX = 500
IN, ANY_CLASS = 1, 255


class Responder:
    """Answers questions."""

    def __init__(
        self, zone: Zone, forwarder: Forwarder | None, rng: random.Random, has_synced: Callable[[], bool]
    ) -> None:
        """Without a forwarder other people's names are refused; before `has_synced`, ours are SERVFAIL."""
        self._zone, self._forwarder, self._rng, self._has_synced = zone, forwarder, rng, has_synced

    async def respond(self, packet: bytes, transport: str) -> bytes | None:
        """Return the answer to `packet` as it came over udp or tcp; None for what deserves none."""
        try:
            query = dnslib.DNSRecord.parse(packet)
        except Exception:  # dnslib raises many kinds for malformed packets
            return _format_error(packet)
        if query.header.qr:
            # An answer to an answer could go on for ever between two servers.
            return None
        began = time.perf_counter()
        reply = await self._reply(query)
        answer = _fit(reply, TCP_BYTES_MAX if transport == "tcp" else _udp_limit(query))
        question = query.q
        zone = self._zone.domain if self._zone.claims(str(question.qname).lower()) else "."
        rcode = dnslib.RCODE.forward.get(reply.header.rcode, "")
        took_s = time.perf_counter() - began
        metrics.answered(zone, transport, _type_name(question.qtype), rcode, took_s, len(packet), len(answer))
        return answer

    async def _reply(self, query: Any) -> Any:
        reply = query.reply(ra=1 if self._forwarder else 0, aa=0)
        edns = [record for record in query.ar if record.rtype == dnslib.QTYPE.OPT]
        if edns:
            reply.add_ar(dnslib.EDNS0(udp_len=UDP_BYTES_MAX))
        if query.header.opcode != 0 or len(query.questions) != 1:
            reply.header.rcode = Rcode.NOTIMP if query.header.opcode else Rcode.FORMERR
            return reply
        question = query.q
        if question.qclass not in (IN, ANY_CLASS):
            reply.header.rcode = Rcode.REFUSED
            return reply
        name, kind = str(question.qname), _type_name(question.qtype)
        answer = self._zone.resolve(name, kind) if self._has_synced() else None
        if answer is None:
            if self._zone.claims(name.lower()):
                reply.header.rcode = Rcode.SERVFAIL
            else:
                await self._forward(reply, name, question.qtype)
            return reply
        reply.header.aa = 1
        self._fill(reply, with_name(answer, name))
        if answer.chase:
            # A pod's resolver does not follow a CNAME by itself; it expects the whole answer.
            await self._forward(reply, answer.chase, question.qtype)
        return reply

    def _fill(self, reply: Any, answer: Answer) -> None:
        reply.header.rcode = answer.rcode
        records = list(answer.records)
        if all(record.type in ("A", "AAAA", "SRV") for record in records):
            # Many a client only ever tries the first.
            self._rng.shuffle(records)
        for record in records:
            reply.add_answer(_encode(record))
        for record in answer.extra:
            reply.add_ar(_encode(record))
        if answer.has_soa:
            owner, server, mailbox, times = self._zone.soa()
            soa = dnslib.SOA(server, mailbox, times)
            reply.add_auth(dnslib.RR(owner, dnslib.QTYPE.SOA, ttl=times[-1], rdata=soa))

    async def _forward(self, reply: Any, name: str, kind: int) -> None:
        if self._forwarder is None:
            reply.header.rcode = Rcode.REFUSED
            return
        try:
            found = await self._forwarder.ask(name, kind)
        except Unanswered as error:
            log.debug("upstream did not answer", extra={"question": name, "error": error})
            reply.header.rcode = Rcode.SERVFAIL
            return
        reply.header.rcode = found.rcode
        for record in found.answers:
            reply.add_answer(record)
        for record in found.authority:
            reply.add_auth(record)


def _type_name(number: int) -> str:
    try:
        return str(dnslib.QTYPE[number])
    except Exception:  # dnslib's own, for types it has no name for
        return f"TYPE{number}"


def _encode(record: Record) -> Any:
    value = record.value
    if isinstance(value, Srv):
        data = dnslib.SRV(value.priority, value.weight, value.port, value.target)
    else:
        data = getattr(dnslib, record.type)(value)
    return dnslib.RR(record.name, getattr(dnslib.QTYPE, record.type), ttl=record.ttl_s, rdata=data)


def _udp_limit(query: Any) -> int:
    for record in query.ar:
        if record.rtype == dnslib.QTYPE.OPT:
            # An OPT record's class is the size its sender takes.
            return min(max(int(record.rclass), UDP_BYTES_MIN), UDP_BYTES_MAX)
    return UDP_BYTES_MIN


def _fit(reply: Any, limit: int) -> bytes:
    """Return the packet, cut down to `limit` bytes if it must be.

    Additional addresses go first, silently; then answers, with the bit that says "ask again over TCP". Some are kept,
    because some resolvers never do.
    """
    packet = bytes(reply.pack())
    if len(packet) <= limit:
        return packet
    reply.ar = [record for record in reply.ar if record.rtype == dnslib.QTYPE.OPT]
    packet = bytes(reply.pack())
    if len(packet) <= limit:
        return packet
    reply.header.tc = 1
    reply.auth = []
    low, high, records = 0, len(reply.rr), list(reply.rr)
    while low < high:
        middle = (low + high + 1) // 2
        reply.rr = records[:middle]
        if len(reply.pack()) <= limit:
            low = middle
        else:
            high = middle - 1
    reply.rr = records[:low]
    return bytes(reply.pack())


def _format_error(packet: bytes) -> bytes | None:
    if len(packet) < 12 or packet[2] & 0x80:
        return None
    return packet[:2] + bytes([0x80 | (packet[2] & 0x79), Rcode.FORMERR]) + bytes(8)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, responder: Responder, tasks: set[asyncio.Task[None]]) -> None:
        self._responder, self._tasks = responder, tasks
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Neither asyncio's own nor uvloop's is declared to be one.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            reply = await self._responder.respond(data, "udp")
        except Exception:
            # One packet's trouble ends with it.
            log.exception("could not answer")
            return
        if reply is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, addr)


class Server:
    """Listens on one address, UDP and TCP."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._connections = 0

    async def listen(self, host: str, port: int) -> int:
        """Start to answer at host:port and return the port (0 takes any).

        Raises:
            OSError: it is taken or not ours; the message says so.
        """
        loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(self._serve_tcp, host, port)
            self._servers.append(server)
            port = server.sockets[0].getsockname()[1]
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Udp(self._responder, self._tasks), local_addr=(host, port)
            )
        except OSError as error:
            reason = "another program answers there" if error.errno == errno.EADDRINUSE else str(error)
            raise OSError(error.errno, f"cannot listen on {host}:{port}: {reason}") from error
        self._transports.append(transport)
        return port

    async def close(self) -> None:
        """Stop listening; answers under way are dropped."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        try:
            if self._connections > TCP_CONNECTIONS_MAX:
                return
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    packet = await reader.readexactly(length)
                reply = await self._responder.respond(packet, "tcp")
                if reply is None:
                    return
                writer.write(len(reply).to_bytes(2, "big") + reply)
                async with asyncio.timeout(TCP_IDLE_S):
                    await writer.drain()
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass
        finally:
            self._connections -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def nameservers_in(resolv_conf: str, excluding: Sequence[str] = ()) -> list[str]:
    """Return the name servers that a resolv.conf's text lists, but for those `excluding` (ourselves). Pure."""
    rows = [line.split() for line in resolv_conf.splitlines()]
    found = [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]
    return [address for address in found if address not in excluding]

"""Other people's names: asked upstream, remembered for as long as they say.

`Cache` is pure but for the clock it is handed. `Forwarder` asks one server after the other, over UDP, and over TCP when
an answer was cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dnslib

from clusterdns import metrics
from component.clock import Clock

TIMEOUT_S = 2.0
ROUNDS = 2
"""How often each server is asked before giving up."""
IN_FLIGHT_MAX = 1_000
ENTRIES_MAX = 10_000
TTL_S_MAX, NEGATIVE_TTL_S_MAX = 3_600, 60
DNS_PORT = 53


class Unanswered(Exception):
    """No upstream server gave an answer in time."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer from upstream: records as dnslib has them."""

    rcode: int
    answers: tuple[Any, ...]
    authority: tuple[Any, ...]

    def ttl_s(self) -> int:
        """Return for how long it may be remembered; 0: not at all."""
        if self.rcode not in (0, 3):
            return 0
        if self.answers:
            return min(TTL_S_MAX, *(int(record.ttl) for record in self.answers))
        # Negative: the SOA says for how long (RFC 2308 section 5).
        limits = [
            min(int(record.ttl), int(record.rdata.times[4]))
            for record in self.authority
            if record.rtype == dnslib.QTYPE.SOA
        ]
        return min(NEGATIVE_TTL_S_MAX, *limits) if limits else 0

    def aged(self, seconds: int) -> Found:
        """Return the same as it is after `seconds` in a cache."""

        def older(record: Any) -> Any:
            ttl = max(0, record.ttl - seconds)
            return dnslib.RR(record.rname, record.rtype, record.rclass, ttl, record.rdata)

        return Found(self.rcode, tuple(map(older, self.answers)), tuple(map(older, self.authority)))


class Cache:
    """Answers by question, the least recently asked for leaving first."""

    def __init__(self, clock: Clock, entries_max: int = ENTRIES_MAX) -> None:
        self._clock, self._entries_max = clock, entries_max
        self._entries: OrderedDict[tuple[str, int], tuple[float, float, Found]] = OrderedDict()

    def get(self, name: str, kind: int) -> Found | None:
        """Return what is remembered and still true, its lifetimes shortened by its age."""
        key, now = (name.lower(), kind), self._clock.monotonic()
        entry = self._entries.get(key)
        if entry is None:
            return None
        since, until, found = entry
        if now >= until:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return found.aged(int(now - since))

    def put(self, name: str, kind: int, found: Found) -> None:
        """Remember an answer, if it may be."""
        ttl_s = found.ttl_s()
        if ttl_s <= 0:
            return
        now = self._clock.monotonic()
        self._entries[name.lower(), kind] = (now, now + ttl_s, found)
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)


class _Exchange(asyncio.DatagramProtocol):
    """One question over UDP; only its own answer counts."""

    def __init__(self, number: int, name: str, kind: int) -> None:
        self._number, self._name, self._kind = number, name.lower(), kind
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        record = _parse(data, self._number, self._name, self._kind)
        if record is not None and not self.answer.done():
            self.answer.set_result(record)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class Forwarder:
    """Asks upstream."""

    def __init__(self, upstream: Sequence[str], clock: Clock, rng: random.Random) -> None:
        """`upstream` are addresses, with a port after a colon if it is not 53; at least one."""
        self._servers = [_split(server) for server in upstream]
        self._rng = rng
        self._cache = Cache(clock)
        self._in_flight: dict[tuple[str, int], asyncio.Task[Found]] = {}

    async def ask(self, name: str, kind: int) -> Found:
        """Return the answer to a question, from memory if it is there; equal questions at once share one.

        Raises:
            Unanswered: nobody answered, or too many questions are waiting already.
        """
        found = self._cache.get(name, kind)
        if found is not None:
            metrics.CACHE_HITS.add((metrics.SERVER, "denial" if found.rcode == 3 else "success", ".", ""))
            return found
        metrics.CACHE_MISSES.add((metrics.SERVER, ".", ""))
        key = (name.lower(), kind)
        task = self._in_flight.get(key)
        if task is None:
            if len(self._in_flight) >= IN_FLIGHT_MAX:
                metrics.REJECTED.add()
                raise Unanswered("too many questions are waiting for upstream")
            task = asyncio.get_running_loop().create_task(self._ask(name, kind))
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, name: str, kind: int) -> Found:
        for server in self._servers * ROUNDS:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    record = await self._exchange(server, name, kind)
            except (TimeoutError, OSError, EOFError):
                continue
            labels = ("forward", f"{server[0]}:{server[1]}", str(dnslib.RCODE.forward.get(record.header.rcode, "")))
            metrics.FORWARDED.of(labels).observe(time.perf_counter() - began)
            if record.header.rcode == 2:
                # SERVFAIL: another server may do better.
                continue
            answers = tuple(record.rr)
            found = Found(record.header.rcode, answers, tuple(record.auth))
            self._cache.put(name, kind, found)
            return found
        raise Unanswered(f"none of {', '.join(host for host, _ in self._servers)} answered")

    async def _exchange(self, server: tuple[str, int], name: str, kind: int) -> Any:
        number = self._rng.randrange(1 << 16)
        question = dnslib.DNSRecord(dnslib.DNSHeader(id=number, rd=1), q=dnslib.DNSQuestion(name, kind))
        question.add_ar(dnslib.EDNS0(udp_len=1232))
        packet = bytes(question.pack())
        loop = asyncio.get_running_loop()
        # A socket of its own for each: the port is as hard to guess as the number (RFC 5452).
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Exchange(number, name, kind), remote_addr=server
        )
        try:
            transport.sendto(packet)
            record = await protocol.answer
        finally:
            transport.close()
        if record.header.tc:
            return await _over_tcp(server, packet, number, name, kind)
        return record


async def _over_tcp(server: tuple[str, int], packet: bytes, number: int, name: str, kind: int) -> Any:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        length = int.from_bytes(await reader.readexactly(2), "big")
        record = _parse(await reader.readexactly(length), number, name.lower(), kind)
        if record is None:
            raise OSError("the answer is to another question")
        return record
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _parse(data: bytes, number: int, name: str, kind: int) -> Any | None:
    """Return the answer in `data` if it is one, and to our question."""
    try:
        record = dnslib.DNSRecord.parse(data)
    except Exception:  # dnslib raises many kinds for malformed packets
        return None
    if not record.header.qr or record.header.id != number or len(record.questions) != 1:
        return None
    return record if str(record.q.qname).lower() == name and record.q.qtype == kind else None


def _split(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if colon and ":" not in host and port.isdigit():
        return host, int(port)
    return server.strip("[]"), DNS_PORT

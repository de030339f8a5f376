"""The load: clients that call the store all the time and write down every call.

Most are pinned to one member, so that a member with an outdated view is asked, and not only the one that works. They
speak etcd's plain API; the ledger's clients use `StoreClient` and with it Pipeline, as the API server does.

When a call fails, what matters is whether it may have happened. Only answers by which the store says that it did
nothing count as FAILED, and connections that never came about; all else is UNKNOWN.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from lab.chaos.cluster import Cluster, Member
from lab.chaos.effects import Effect, Effects
from lab.chaos.history import Call, Event, History, Kind, LeaseLife, Outcome, Watched
from proto.etcd import kv_pb2, rpc_pb2
from store.client import Conflict, Put, Refused, StoreClient, Unavailable, prefix_end

CALL_TIMEOUT_S = 3.0
REGISTERS = 6
LEDGER_BYTES = 200
LEASE_TTL_S = 2
KEPT_REVISIONS = 400
"""History left by the compactor: so little that watchers who were away come back too late now and then."""

_DID_NOTHING = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_NEVER_SENT = ("failed to connect to all addresses", "no leader")


def outcome_of(error: grpc.aio.AioRpcError) -> Outcome:
    """Return what is known of a call that ended in this."""
    details = error.details() or ""
    if error.code() in _DID_NOTHING or any(said in details.lower() for said in _NEVER_SENT):
        return Outcome.FAILED
    return Outcome.UNKNOWN


@dataclass
class Load:
    """The clients of one round. Everything they see goes to `history`, `ledger` and `effects`."""

    cluster: Cluster
    prefix: str
    """Of every key: no two rounds share one."""
    rng: random.Random
    history: History = field(default_factory=History)
    ledger: list[Call] = field(default_factory=list)
    effects: Effects = field(default_factory=Counter)
    start_revision: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _watchers: list[asyncio.Task[None]] = field(default_factory=list)
    _stores: list[StoreClient] = field(default_factory=list)
    _is_stopping: bool = False
    _numbers: int = 0

    @property
    def registers(self) -> list[str]:
        """Keys written again and again."""
        return [f"{self.prefix}r/{number}" for number in range(REGISTERS)]

    @property
    def ledger_prefix(self) -> str:
        """Of the keys that are written once."""
        return f"{self.prefix}l/"

    def start(self, revision: int) -> None:
        """Start all clients, the watchers from `revision` on."""
        self.start_revision = revision
        for member in self.cluster.members:
            self._watchers.append(self._task(self._watch, member, Watched(member.name, revision)))
            for _ in range(2):
                self._tasks.append(self._task(self._use_registers, member))
            self._tasks.append(self._task(self._hold_leases, member))
        for _ in range(2):
            store = StoreClient(
                self.cluster.endpoints, self.cluster.identity, server_name="localhost", timeout_s=CALL_TIMEOUT_S
            )
            self._stores.append(store)
            for _ in range(4):
                self._tasks.append(self._task(self._write_ledger, store))
        self._tasks.append(self._task(self._compact))

    def _task(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> asyncio.Task[None]:
        client = len(self._tasks) + len(self._watchers)
        return asyncio.create_task(work(client, *arguments), name=f"{work.__name__} {client}")

    async def stop(self) -> None:
        """Have every client finish its call and stop; watchers go on."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)
        for store in self._stores:
            await store.close()

    async def finish_watches(self, fence: int, timeout_s: float) -> None:
        """Let watchers come up to revision `fence`, then stop them."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if all(watched.covered >= fence for watched in self.history.watched):
                break
            await asyncio.sleep(0.05)
        for task in self._watchers:
            task.cancel()
        for result in await asyncio.gather(*self._watchers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _fresh(self, client: int) -> str:
        self._numbers += 1
        return f"{client}.{self._numbers}"

    # -- registers

    async def _use_registers(self, client: int, member: Member) -> None:
        rng = random.Random(self.rng.getrandbits(48))
        known: dict[str, str | None] = {}
        while not self._is_stopping:
            key = rng.choice(self.registers)
            kind = rng.choices((Kind.GET, Kind.PUT, Kind.CAS, Kind.DELETE), (45, 28, 22, 5))[0]
            call = Call(client, member.name, kind, key, time.monotonic())
            if kind is Kind.GET:
                call.is_serializable = rng.random() < 0.1
            elif kind is not Kind.DELETE:
                call.argument = self._fresh(client)
            call.expected = known.get(key) if kind is Kind.CAS else None
            await self.make(call, member)
            if call.outcome is Outcome.OK:
                is_read = kind is Kind.GET or not call.is_done
                known[key] = call.value if is_read else call.argument
                await asyncio.sleep(rng.uniform(0.004, 0.012))
            else:
                await asyncio.sleep(rng.uniform(0.05, 0.15))

    async def make(self, call: Call, member: Member, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Make a call on a register and record it."""
        self.history.calls.append(call)
        highest = max((c.revision for c in self.history.calls[-40:] if c.outcome is Outcome.OK), default=0)
        call.invoked = time.monotonic()
        try:
            await self._make(call, member, timeout_s)
        except grpc.aio.AioRpcError as error:
            call.error = f"{error.code().name}: {error.details()}"
            self._failed(call, outcome_of(error))
        else:
            call.returned, call.outcome = time.monotonic(), Outcome.OK
            if call.is_serializable and call.revision < highest:
                self.effects[Effect.STALE_READS_ALLOWED] += 1

    def _failed(self, call: Call, outcome: Outcome) -> None:
        call.outcome = outcome
        if outcome is Outcome.FAILED:
            call.returned = time.monotonic()
            self.effects[Effect.CALLS_REFUSED] += 1
        else:
            self.effects[Effect.OUTCOMES_UNKNOWN] += 1

    async def _make(self, call: Call, member: Member, timeout_s: float) -> None:
        key, ask = call.key.encode(), self.cluster.ask
        match call.kind:
            case Kind.GET:
                read = rpc_pb2.RangeRequest(key=key, serializable=call.is_serializable)
                answer = await ask(member, "KV/Range", read, rpc_pb2.RangeResponse, timeout_s)
                _note_read(call, answer)
            case Kind.PUT:
                put = rpc_pb2.PutRequest(key=key, value=(call.argument or "").encode())
                answer = await ask(member, "KV/Put", put, rpc_pb2.PutResponse, timeout_s)
            case Kind.DELETE:
                delete = rpc_pb2.DeleteRangeRequest(key=key)
                answer = await ask(member, "KV/DeleteRange", delete, rpc_pb2.DeleteRangeResponse, timeout_s)
                call.is_done = answer.deleted > 0
            case Kind.CAS:
                txn = rpc_pb2.TxnRequest()
                compare = txn.compare.add(key=key)
                if call.expected is None:
                    compare.target, compare.version = rpc_pb2.Compare.VERSION, 0
                else:
                    compare.target, compare.value = rpc_pb2.Compare.VALUE, call.expected.encode()
                put = txn.success.add().request_put
                put.key, put.value = key, (call.argument or "").encode()
                txn.failure.add().request_range.key = key
                answer = await ask(member, "KV/Txn", txn, rpc_pb2.TxnResponse, timeout_s)
                call.is_done = answer.succeeded
                if not answer.succeeded:
                    _note_read(call, answer.responses[0].response_range)
        call.revision = answer.header.revision

    # -- the ledger

    async def _write_ledger(self, client: int, store: StoreClient) -> None:
        rng = random.Random(self.rng.getrandbits(48))
        while not self._is_stopping:
            number = self._fresh(client)
            key = f"{self.ledger_prefix}{number}"
            value = f"{number} " + rng.randbytes(LEDGER_BYTES // 2).hex()
            # Half of them on no condition: applied twice, such a write has version 2.
            kind = rng.choice((Kind.CAS, Kind.PUT))
            call = Call(client, "pipeline", kind, key, time.monotonic(), value)
            self.ledger.append(call)
            try:
                if kind is Kind.CAS:
                    call.revision = await store.put_if(key.encode(), value.encode(), 0)
                else:
                    call.revision = (await store.txn((), (Put(key.encode(), value.encode()),))).revision
                call.returned, call.outcome = time.monotonic(), Outcome.OK
                await asyncio.sleep(rng.uniform(0.002, 0.01))
            except Unavailable as error:
                call.error = str(error)
                self._failed(call, Outcome.UNKNOWN)
                await asyncio.sleep(rng.uniform(0.05, 0.15))
            except Refused as error:
                call.error = str(error)
                self._failed(call, Outcome.FAILED)
                await asyncio.sleep(0.1)
            except Conflict as error:
                # Nobody else writes this key: the check will ask who did.
                call.outcome, call.returned, call.is_done = Outcome.OK, time.monotonic(), False
                call.error = f"conflict: {error}"

    # -- watches

    async def _watch(self, client: int, member: Member, watched: Watched) -> None:
        self.history.watched.append(watched)
        watched.covered = watched.start_revision - 1
        is_first = True
        while True:
            if not is_first:
                await asyncio.sleep(0.1)
            is_first = False
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                await self._watch_once(self._present(member), watched)

    def _present(self, member: Member) -> Member:
        """Return who is in the member's slot now."""
        return next(each for each in self.cluster.members if each.slot == member.slot)

    async def _watch_once(self, member: Member, watched: Watched) -> None:
        open_stream: Any = self.cluster.channel(member).stream_stream(
            "/etcdserverpb.Watch/Watch", lambda message: message.SerializeToString(), rpc_pb2.WatchResponse.FromString
        )
        stream = open_stream()
        key = self.prefix.encode()
        create = rpc_pb2.WatchCreateRequest(
            key=key,
            range_end=prefix_end(key),
            start_revision=watched.covered + 1,
            prev_kv=True,
            progress_notify=True,
        )
        try:
            await stream.write(rpc_pb2.WatchRequest(create_request=create))
            while True:
                # A member that is paused keeps the stream open and says nothing: begin again then, as clients do.
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    response = await stream.read()
                if response is grpc.aio.EOF:
                    return
                if response.canceled:
                    if response.compact_revision > watched.covered + 1:
                        watched.gaps.append((watched.covered + 1, response.compact_revision - 1))
                        watched.covered = response.compact_revision - 1
                    elif response.compact_revision:
                        watched.problems.append(
                            f"refused revision {watched.covered + 1}, though only what is before "
                            f"{response.compact_revision} is compacted"
                        )
                        return
                    return
                if response.created and watched.events:
                    watched.resumptions += 1
                    self.effects[Effect.WATCHES_RESUMED] += 1
                now = time.monotonic()
                for event in response.events:
                    watched.events.append(_event(event, now))
                if response.events:
                    watched.covered = max(watched.covered, response.events[-1].kv.mod_revision)
        except TimeoutError:
            return
        finally:
            stream.cancel()

    # -- leases

    async def _hold_leases(self, client: int, member: Member) -> None:
        rng = random.Random(self.rng.getrandbits(48))
        while not self._is_stopping:
            key = f"{self.prefix}e/{self._fresh(client)}"
            try:
                await self._live_one_lease(member, key, rng)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.3)

    async def _live_one_lease(self, member: Member, key: str, rng: random.Random) -> None:
        ask, sent = self.cluster.ask, time.monotonic()
        granted = await ask(
            member, "Lease/LeaseGrant", rpc_pb2.LeaseGrantRequest(TTL=LEASE_TTL_S), rpc_pb2.LeaseGrantResponse, 3.0
        )
        put = rpc_pb2.PutRequest(key=key.encode(), value=b"held", lease=granted.ID)
        record = Call(0, member.name, Kind.PUT, key, time.monotonic(), "held")
        self.history.calls.append(record)
        try:
            answer = await ask(member, "KV/Put", put, rpc_pb2.PutResponse, 3.0)
        except grpc.aio.AioRpcError as error:
            record.error = f"{error.code().name}: {error.details()}"
            self._failed(record, outcome_of(error))
            raise
        record.returned, record.outcome, record.revision = time.monotonic(), Outcome.OK, answer.header.revision
        # The grant was sent at `sent`: the store can't have begun to count before.
        life = LeaseLife(granted.ID, key, granted.TTL, sent + granted.TTL)
        self.history.leases.append(life)
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(rng.uniform(0.3, 0.9))
            sent = time.monotonic()
            if await self._renew(member, granted.ID):
                life.alive_until = max(life.alive_until, sent + granted.TTL)
        await asyncio.sleep(rng.uniform(0.2, 0.8))

    async def _renew(self, member: Member, lease: int) -> bool:
        open_stream: Any = self.cluster.channel(member).stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            lambda message: message.SerializeToString(),
            rpc_pb2.LeaseKeepAliveResponse.FromString,
        )
        stream = open_stream(timeout=2.0)
        try:
            await stream.write(rpc_pb2.LeaseKeepAliveRequest(ID=lease))
            answer = await stream.read()
            return answer is not grpc.aio.EOF and answer.TTL > 0
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return False
        finally:
            stream.cancel()

    def note_ended_leases(self) -> None:
        """Note, from the watches, when each lease's key was first known to be gone."""
        gone: dict[str, float] = {}
        for watched in self.history.watched:
            for event in watched.events:
                if event.value is None:
                    gone[event.key] = min(event.received, gone.get(event.key, event.received))
        for life in self.history.leases:
            life.gone_by = gone.get(life.key, life.gone_by)
        self.effects[Effect.LEASES_EXPIRED] = sum(1 for life in self.history.leases if life.gone_by is not None)

    # -- compaction

    async def _compact(self, _: int) -> None:
        last = 0
        while not self._is_stopping:
            await asyncio.sleep(0.7)
            member = self.rng.choice(self.cluster.members)
            sample = self.cluster.samples.get(member.name)
            revision = (sample.revision if sample else 0) - KEPT_REVISIONS
            if revision <= last:
                continue
            request = rpc_pb2.CompactionRequest(revision=revision)
            self.history.compactions.append((time.monotonic(), revision))
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self.cluster.ask(member, "KV/Compact", request, rpc_pb2.CompactionResponse, 3.0)
                last = revision
                self.effects[Effect.COMPACTIONS] += 1


def _text(raw: bytes) -> str:
    """Return what was stored, also where it is damaged."""
    return raw.decode(errors="backslashreplace")


def _note_read(call: Call, answer: rpc_pb2.RangeResponse) -> None:
    if answer.kvs:
        call.value, call.version = _text(answer.kvs[0].value), answer.kvs[0].version
    else:
        call.value, call.version = None, 0


def _event(event: kv_pb2.Event, now: float) -> Event:
    kv = event.kv
    is_delete = event.type == kv_pb2.Event.DELETE
    previous = _text(event.prev_kv.value) if event.HasField("prev_kv") else None
    return Event(
        kv.mod_revision,
        _text(kv.key),
        None if is_delete else _text(kv.value),
        0 if is_delete else kv.version,
        previous,
        now,
    )

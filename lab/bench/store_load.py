"""The clients of `steer bench store`: one process of them, told what to do by a line of JSON on stdin.

It answers `ready` when every connection is up, begins at the next line on stdin, and prints what it measured as JSON.
Requests are built and encoded beforehand and answers left undecoded, because a client in Python costs as much as the
server: what it spent of its core is reported too, so that a figure that is really the client's can be told.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import uvloop

from component.serve import Identity
from proto.etcd import rpc_pb2
from store.client import Put, StoreClient, prefix_end

CONNECTIONS_MAX = 8
"""More clients than that share connections, as those of one program do."""
RANGE_KEYS = 100
LATENCIES_MAX = 20_000
"""Kept of each process's; thinned out beyond."""


class Order(msgspec.Struct, frozen=True):
    """What to do."""

    case: str
    clients: int
    seconds: float
    endpoints: tuple[str, ...]
    cert: str
    key: str
    ca: str
    value_bytes: int = 1024
    keys: int = 1000
    number: int = 0
    """Of this process, so that no two write the same keys."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of it."""

    count: int
    seconds: float
    latencies_ms: list[float]
    errors: int
    cpu_share: float
    """Of one core, spent by this process while it measured."""


Operation = Callable[[], Awaitable[None]]


def _bytes(raw: bytes) -> bytes:
    return raw


class Connections:
    """Channels to the members, in turn."""

    def __init__(self, order: Order) -> None:
        self._credentials = grpc.ssl_channel_credentials(
            Path(order.ca).read_bytes(), Path(order.key).read_bytes(), Path(order.cert).read_bytes()
        )
        count = min(order.clients, CONNECTIONS_MAX)
        endpoints = itertools.islice(itertools.cycle(order.endpoints), order.number, order.number + count)
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.ssl_target_name_override", "localhost"),
            ("grpc.max_receive_message_length", 64 << 20),
        ]
        self.channels = [grpc.aio.secure_channel(each, self._credentials, options=options) for each in endpoints]

    async def ready(self) -> None:
        """Wait until every channel is connected."""
        async with asyncio.timeout(20):
            await asyncio.gather(*(channel.channel_ready() for channel in self.channels))

    def unary(self, client: int, method: str) -> Any:
        """Return a call on a client's channel."""
        channel = self.channels[client % len(self.channels)]
        return channel.unary_unary(f"/etcdserverpb.KV/{method}", _bytes, _bytes)

    async def close(self) -> None:
        """Close them all."""
        for channel in self.channels:
            await channel.close()


def key_of(number: int) -> bytes:
    """Return a key of the data that reads are of."""
    return f"/bench/data/{number:08d}".encode()


def requests_of(case: str, order: Order, client: int) -> tuple[str, list[bytes]]:
    """Return the method of a unary case and requests to take in turn."""
    value = bytes(range(256)) * (order.value_bytes // 256) + bytes(order.value_bytes % 256)
    numbers = [(client * 7919 + step * 104_729) % order.keys for step in range(64)]
    own = [f"/bench/own/{order.number}/{client}/{step}".encode() for step in range(64)]
    match case:
        case "put":
            return "Put", [rpc_pb2.PutRequest(key=key, value=value).SerializeToString() for key in own]
        case "get" | "get-serializable":
            stale = case != "get"
            gets = [rpc_pb2.RangeRequest(key=key_of(number), serializable=stale) for number in numbers]
            return "Range", [each.SerializeToString() for each in gets]
        case "range":
            ranges = [
                rpc_pb2.RangeRequest(key=key_of(number), range_end=prefix_end(b"/bench/data/"), limit=RANGE_KEYS)
                for number in numbers
            ]
            return "Range", [each.SerializeToString() for each in ranges]
        case "txn":
            txns = []
            for key in own:
                txn = rpc_pb2.TxnRequest()
                txn.compare.add(
                    key=key, target=rpc_pb2.Compare.VERSION, result=rpc_pb2.Compare.GREATER, version=-1
                )  # always holds
                put = txn.success.add().request_put
                put.key, put.value = key, value
                txns.append(txn.SerializeToString())
            return "Txn", txns
    raise ValueError(f"no unary case is called {case}")


async def measure(order: Order, operations: list[Operation]) -> Outcome:
    """Run every operation again and again for the time given, each in its own loop."""
    latencies: list[float] = []
    errors = 0
    began, spent = time.perf_counter(), time.process_time()
    ends = began + order.seconds

    async def again(operation: Operation) -> None:
        nonlocal errors
        while (at := time.perf_counter()) < ends:
            try:
                await operation()
            except Exception:  # counted: a figure with errors in it is shown as one
                errors += 1
                await asyncio.sleep(0.01)
            else:
                latencies.append((time.perf_counter() - at) * 1000)

    await asyncio.gather(*(again(operation) for operation in operations))
    took = time.perf_counter() - began
    share = (time.process_time() - spent) / took
    return Outcome(len(latencies), took, thinned(latencies), errors, share)


def thinned(latencies: list[float]) -> list[float]:
    """Return at most LATENCIES_MAX of them, evenly taken from the sorted whole."""
    latencies.sort()
    stride = len(latencies) // LATENCIES_MAX + 1
    return [round(each, 4) for each in latencies[::stride]]


async def unary(order: Order, begin: Callable[[], Awaitable[None]]) -> Outcome:
    """Measure calls of etcd's API."""
    connections = Connections(order)
    await connections.ready()

    def operation(client: int) -> Operation:
        method, requests = requests_of(order.case, order, client)
        call, turn = connections.unary(client, method), itertools.cycle(requests)

        async def once() -> None:
            await call(next(turn), timeout=30)

        return once

    operations = [operation(client) for client in range(order.clients)]
    await begin()
    outcome = await measure(order, operations)
    await connections.close()
    return outcome


async def pipeline(order: Order, begin: Callable[[], Awaitable[None]]) -> Outcome:
    """Measure our own batched stream, by the client that the API server uses."""
    identity = Identity(Path(order.cert), Path(order.key), Path(order.ca))
    store = StoreClient(order.endpoints, identity, server_name="localhost", timeout_s=30)
    await store.range(key_of(0))
    value = bytes(order.value_bytes)

    def operation(client: int) -> Operation:
        keys = itertools.cycle(f"/bench/own/{order.number}/{client}/{step}".encode() for step in range(64))
        numbers = itertools.cycle((client * 7919 + step * 104_729) % order.keys for step in range(64))

        async def put() -> None:
            await store.txn((), (Put(next(keys), value),))

        async def get() -> None:
            await store.range(key_of(next(numbers)))

        return put if order.case == "pipeline-put" else get

    operations = [operation(client) for client in range(order.clients)]
    await begin()
    outcome = await measure(order, operations)
    await store.close()
    return outcome


async def watch(order: Order, begin: Callable[[], Awaitable[None]]) -> Outcome:
    """Measure how long a put takes to reach the last of so many watchers; writes come one at a time."""
    connections = Connections(order)
    await connections.ready()
    key = f"/bench/watched/{order.number}/".encode()
    reached = 0
    created = 0
    all_created, all_reached = asyncio.Event(), asyncio.Event()
    create = rpc_pb2.WatchCreateRequest(key=key, range_end=prefix_end(key))
    request = rpc_pb2.WatchRequest(create_request=create).SerializeToString()
    streams: list[Any] = []

    async def read(stream: Any, watches: int) -> None:
        nonlocal created, reached
        for _ in range(watches):
            await stream.write(request)
        while (raw := await stream.read()) is not grpc.aio.EOF:
            response = rpc_pb2.WatchResponse.FromString(raw)
            if response.created:
                created += 1
                if created == order.clients:
                    all_created.set()
            reached += len(response.events)
            if reached == order.clients:
                all_reached.set()

    share = -(-order.clients // len(connections.channels))
    left = order.clients
    readers = []
    for channel in connections.channels:
        stream = channel.stream_stream("/etcdserverpb.Watch/Watch", _bytes, _bytes)()
        streams.append(stream)
        readers.append(asyncio.create_task(read(stream, min(share, left))))
        left -= min(share, left)
    async with asyncio.timeout(20):
        await all_created.wait()
    put = connections.unary(0, "Put")
    body = rpc_pb2.PutRequest(key=key + b"one", value=bytes(order.value_bytes)).SerializeToString()

    async def fan_out() -> None:
        nonlocal reached
        reached = 0
        all_reached.clear()
        await put(body, timeout=30)
        async with asyncio.timeout(30):
            await all_reached.wait()

    await begin()
    outcome = await measure(order, [fan_out])
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    await connections.close()
    return outcome


async def fill(order: Order, begin: Callable[[], Awaitable[None]]) -> Outcome:
    """Write the keys that reads are of."""
    connections = Connections(order)
    await connections.ready()
    numbers = iter(range(order.keys))
    value = bytes(range(256)) * (order.value_bytes // 256)
    await begin()

    async def writer(client: int) -> None:
        call = connections.unary(client, "Put")
        for number in numbers:
            await call(rpc_pb2.PutRequest(key=key_of(number), value=value).SerializeToString(), timeout=30)

    await asyncio.gather(*(writer(client) for client in range(order.clients)))
    await connections.close()
    return Outcome(order.keys, 0, [], 0, 0)


async def _run(order: Order) -> None:
    async def begin() -> None:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

    works = {"watch": watch, "fill": fill, "pipeline-put": pipeline, "pipeline-get": pipeline}
    outcome = await works.get(order.case, unary)(order, begin)
    print(json.dumps(msgspec.to_builtins(outcome)), flush=True)


def main() -> None:
    """Run one process of clients."""
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    uvloop.run(_run(order))


if __name__ == "__main__":
    main()

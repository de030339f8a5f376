"""The same random requests to a real etcd and to ours: every answer and every error must be the same.

Both begin empty, so revisions agree too; what differs by nature (ids, terms) is left out of the comparison. A seed that
fails is the bug report.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from component.serve import grpc_channel
from proto.etcd import rpc_pb2, rpc_pb2_grpc
from tests.integration.beside_etcd import beside_etcd
from tests.integration.store_process import StoreProcess
from tests.integration.test_etcdctl import Etcd

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("etcd") is None or shutil.which("etcdctl") is None, reason="etcd is not installed"),
]

KEYS = [b"a", b"aa", b"ab", b"b", b"b\x00", b"ba", b"c", b"\xff"]
ENDS = [b"", b"", b"\x00", b"b", b"c", b"a", b"\xff\xff"]
VALUES = [b"", b"0", b"1", b"2", b"\xff"]


class Pair:
    """Ours and theirs, asked the same."""

    def __init__(self, ours: grpc.aio.Channel, theirs: grpc.aio.Channel) -> None:
        self.channels = ours, theirs

    async def ask(self, service, method: str, request) -> list[object]:
        answers: list[object] = []
        for channel in self.channels:
            try:
                response = await getattr(service(channel), method)(request)
            except grpc.aio.AioRpcError as error:
                answers.append((error.code(), error.details()))
                continue
            response.header.cluster_id = response.header.member_id = response.header.raft_term = 0
            answers.append(response)
        return answers


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[StoreProcess, Etcd]]:
    with beside_etcd(tmp_path) as made:
        yield made


@pytest.fixture
async def pair(processes: tuple[StoreProcess, Etcd]) -> AsyncIterator[Pair]:
    ours, theirs = processes
    channels = grpc_channel([ours.endpoint], ours.client), grpc.aio.insecure_channel(theirs.endpoint)
    yield Pair(*channels)
    for channel in channels:
        await channel.close()


class Draw:
    """Requests drawn at random, the nonsensical ones among them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.revision = 1

    def maybe(self, chance: float = 0.3) -> bool:
        return self.random.random() < chance

    def key(self) -> bytes:
        return b"" if self.maybe(0.02) else self.random.choice(KEYS)

    def some_revision(self) -> int:
        return self.random.randint(0, self.revision + 1) if self.maybe(0.3) else 0

    def range(self) -> rpc_pb2.RangeRequest:
        request = rpc_pb2.RangeRequest(key=self.key(), range_end=self.random.choice(ENDS))
        request.revision = self.some_revision()
        request.limit = self.random.choice([0, 0, 0, 1, 2, 5, -1])
        request.sort_order = self.random.choice([0, 0, 1, 2])
        request.sort_target = self.random.choice([0, 0, 1, 2, 3, 4])
        request.serializable, request.keys_only = self.maybe(), self.maybe()
        request.count_only = self.maybe(0.15)
        for bound in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            if self.maybe(0.1):
                setattr(request, bound, self.random.randint(0, self.revision + 1))
        return request

    def put(self) -> rpc_pb2.PutRequest:
        request = rpc_pb2.PutRequest(key=self.key(), value=self.random.choice(VALUES), prev_kv=self.maybe())
        request.ignore_value, request.ignore_lease = self.maybe(0.1), self.maybe(0.1)
        if request.ignore_value and self.maybe(0.8):
            request.value = b""
        if self.maybe(0.15):
            request.lease = self.random.choice([7, 8])
        return request

    def delete(self) -> rpc_pb2.DeleteRangeRequest:
        end = self.random.choice(ENDS) if self.maybe(0.3) else b""
        return rpc_pb2.DeleteRangeRequest(key=self.key(), range_end=end, prev_kv=self.maybe())

    def compare(self) -> rpc_pb2.Compare:
        compare = rpc_pb2.Compare(key=self.key(), range_end=self.random.choice(ENDS) if self.maybe(0.2) else b"")
        compare.result = self.random.choice([0, 1, 2, 3])
        compare.target = self.random.choice([0, 1, 2, 3, 4])
        match compare.target:
            case rpc_pb2.Compare.VERSION:
                compare.version = self.random.choice([0, 1, 2])
            case rpc_pb2.Compare.CREATE:
                compare.create_revision = self.random.randint(0, self.revision)
            case rpc_pb2.Compare.MOD:
                compare.mod_revision = self.random.randint(0, self.revision)
            case rpc_pb2.Compare.VALUE:
                compare.value = self.random.choice(VALUES)
            case _:
                compare.lease = self.random.choice([0, 7, 8])
        return compare

    def op(self, depth: int) -> rpc_pb2.RequestOp:
        match self.random.choice(["range", "put", "put", "delete", "txn" if depth < 2 else "range"]):
            case "range":
                return rpc_pb2.RequestOp(request_range=self.range())
            case "put":
                return rpc_pb2.RequestOp(request_put=self.put())
            case "delete":
                return rpc_pb2.RequestOp(request_delete_range=self.delete())
            case _:
                return rpc_pb2.RequestOp(request_txn=self.txn(depth + 1))

    def txn(self, depth: int = 0) -> rpc_pb2.TxnRequest:
        return rpc_pb2.TxnRequest(
            compare=[self.compare() for _ in range(self.random.randint(0, 2))],
            success=[self.op(depth) for _ in range(self.random.randint(0, 3))],
            failure=[self.op(depth) for _ in range(self.random.randint(0, 3))],
        )

    def request(self):
        kind = self.random.choice(["Range", "Put", "DeleteRange", "Txn"] * 6 + ["Compact"])
        match kind:
            case "Range":
                return kind, self.range()
            case "Put":
                return kind, self.put()
            case "DeleteRange":
                return kind, self.delete()
            case "Txn":
                return kind, self.txn()
            case _:
                revision = self.random.randint(max(0, self.revision - 30), self.revision + 1)
                return kind, rpc_pb2.CompactionRequest(revision=max(1, revision))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_requests_are_answered_as_etcd_answers_them(pair: Pair, seed: int):
    draw = Draw(seed)
    for lease in (7, 8):
        await pair.ask(rpc_pb2_grpc.LeaseStub, "LeaseGrant", rpc_pb2.LeaseGrantRequest(ID=lease, TTL=600))
    for number in range(400):
        method, request = draw.request()
        ours, theirs = await pair.ask(rpc_pb2_grpc.KVStub, method, request)
        assert ours == theirs, f"seed {seed}, request {number}: {method}\n{request}\nours:\n{ours}\ntheirs:\n{theirs}"
        if isinstance(ours, tuple):
            continue
        draw.revision = max(draw.revision, ours.header.revision)
    hashed = rpc_pb2.RangeRequest(key=b"\x00", range_end=b"\x00")
    ours, theirs = await pair.ask(rpc_pb2_grpc.KVStub, "Range", hashed)
    assert ours == theirs

import random
from pathlib import Path

import grpc
import grpc.aio
import pytest

from lab.chaos.clients import outcome_of
from lab.chaos.faults import flip, tear
from lab.chaos.history import Outcome


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_tail_only_adds_to_the_newest_file(tmp_path: Path, seed: int):
    old, new = tmp_path / "1.log", tmp_path / "2.log"
    old.write_bytes(b"o" * 100)
    new.write_bytes(b"n" * 5000)
    tear([old, new], random.Random(seed))
    assert old.read_bytes() == b"o" * 100
    content = new.read_bytes()
    assert content[:5000] == b"n" * 5000 and len(content) > 5000


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_is_one_bit_with_much_synced_after_it(tmp_path: Path, seed: int):
    path, before = tmp_path / "1.log", random.Random(seed).randbytes(8000)
    path.write_bytes(before)
    flip([path], random.Random(seed))
    after = path.read_bytes()
    different = [place for place in range(8000) if before[place] != after[place]]
    assert len(after) == 8000 and len(different) == 1 and 1000 <= different[0] <= 4000
    assert (before[different[0]] ^ after[different[0]]).bit_count() == 1


def failed(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


@pytest.mark.parametrize(
    ("code", "details", "outcome"),
    [
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out", Outcome.UNKNOWN),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", Outcome.UNKNOWN),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", Outcome.UNKNOWN),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: x", Outcome.FAILED),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader", Outcome.FAILED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Outcome.FAILED),
    ],
)
def test_only_what_surely_did_nothing_counts_as_failed(code: grpc.StatusCode, details: str, outcome: Outcome):
    assert outcome_of(failed(code, details)) is outcome

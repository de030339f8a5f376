"""One round of each thing that the client library aetcd can ask; run as a program, by `test_clients.py`.

In a process of its own, because aetcd brings etcd's protobuf messages along, and two sets of one name can't be loaded
together. aetcd speaks plaintext only: its channel is replaced by one over mTLS.

Usage: python tests/integration/aetcd_round.py HOST PORT CERT KEY CA
"""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

import aetcd
import grpc


async def main(host: str, port: int, cert: bytes, key: bytes, ca: bytes) -> None:
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    aetcd.rpc.insecure_channel = lambda target, options: grpc.aio.secure_channel(target, credentials, list(options))
    async with aetcd.Client(host, port, timeout=10) as client:
        await keys(client)
        await transactions(client)
        await watches(client)
        await leases_and_locks(client)
        await maintenance(client)


async def keys(client: aetcd.Client) -> None:
    first = await client.put(b"k/a", b"1")
    put = await client.put(b"k/a", b"2", prev_kv=True)
    assert put.prev_kv.value == b"1" and put.header.revision == first.header.revision + 1
    assert (await client.get(b"k/a")).value == b"2"
    assert (await client.get(b"k/nothing")) is None
    await client.put(b"k/b", b"3")
    found = await client.get_prefix(b"k/", sort_order="descend", sort_target="key")
    assert [kv.key for kv in found] == [b"k/b", b"k/a"]
    assert len(await client.get_range(b"k/a", b"k/b")) == 1
    assert len(await client.get_all()) >= 2
    assert await client.replace(b"k/a", b"2", b"4")
    assert not await client.replace(b"k/a", b"2", b"5")
    deleted = await client.delete(b"k/a", prev_kv=True)
    assert deleted.prev_kv.value == b"4"
    assert (await client.delete_prefix(b"k/")).deleted == 1
    assert (await client.delete_range(b"k/", b"k0")).deleted == 0


async def transactions(client: aetcd.Client) -> None:
    t = client.transactions
    done, _ = await client.transaction(compare=[t.version(b"t") == 0], success=[t.put(b"t", b"1")], failure=[])
    assert done
    done, answers = await client.transaction(
        compare=[t.value(b"t") == b"other", t.mod(b"t") > 0, t.create(b"t") > 0],
        success=[t.delete(b"t")],
        failure=[t.get(b"t")],
    )
    assert not done
    assert answers[0][0][0] == b"1"


async def watches(client: aetcd.Client) -> None:
    revision = (await client.put(b"w/a", b"1")).header.revision
    watch = await client.watch_prefix(b"w/", start_revision=revision, prev_kv=True)
    await client.put(b"w/a", b"2")
    await client.delete(b"w/a")
    heard = []
    async for event in watch:
        heard.append((event.kind, event.kv.value, event.prev_kv.value if event.prev_kv else b""))
        if len(heard) == 3:
            break
    await watch.cancel()
    assert heard == [("PUT", b"1", b""), ("PUT", b"2", b"1"), ("DELETE", b"", b"2")], heard
    once = asyncio.ensure_future(client.watch_once(b"w/b", timeout=5))
    await asyncio.sleep(0.3)
    await client.put(b"w/b", b"x")
    assert (await once).kv.value == b"x"


async def leases_and_locks(client: aetcd.Client) -> None:
    lease = await client.lease(30)
    await client.put(b"l/a", b"1", lease=lease)
    assert await lease.granted_ttl() == 30 and 28 <= await lease.remaining_ttl() <= 30
    assert list(await lease.keys()) == [b"l/a"]
    await lease.refresh()
    await lease.revoke()
    assert await client.get(b"l/a") is None
    async with client.lock(b"door", ttl=10) as lock:
        assert await lock.is_acquired()
        other = client.lock(b"door", ttl=10)
        assert not await other.acquire(timeout=1)


async def maintenance(client: aetcd.Client) -> None:
    status = await client.status()
    assert status.leader is not None and status.db_size > 0 and status.version
    members = [member async for member in client.members()]
    assert len(members) >= 1 and members[0].name
    assert (await client.hash()) is not None
    await client.defragment()
    assert [alarm async for alarm in client.list_alarms()] == []
    raised = await client.create_alarm()
    assert len(raised) == 1
    try:
        await client.put(b"refused", b"x")
    except aetcd.exceptions.ClientError:
        pass
    else:
        raise AssertionError("a put went through under NOSPACE")
    assert len(await client.disarm_alarm()) == 1
    assert [alarm async for alarm in client.list_alarms()] == []
    revision = (await client.put(b"m", b"1")).header.revision
    await client.compact(revision, physical=True)
    file = io.BytesIO()
    await client.snapshot(file)
    assert len(file.getvalue()) % 512 == 32


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), *(Path(path).read_bytes() for path in sys.argv[3:])))
    print("aetcd: all of it")

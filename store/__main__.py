"""`steer-store`: one member of the store, from settings to serving.

Start order is recovery order: take the data directory for ourselves, open the state, read the log back, lead or follow,
replay what the state lacks, and only then open the client port. The stop is the same backwards, well under a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import random
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from component import flags, logs
from component.clock import RealClock
from component.flags import setting

log = logging.getLogger("store")

STOP_GRACE_S = 0.2


@dataclass(frozen=True)
class Settings:
    """The store: a durable, replicated key-value store that speaks etcd's v3 API."""

    data_dir: Path = setting("directory of the log and the state; one member, one directory")
    cert: Path = setting("certificate shown to clients (PEM)")
    key: Path = setting("its key (PEM)")
    ca: Path = setting("CA that signs clients' certificates (PEM)")
    name: str = setting("this member's name, the same for ever", "store-1")
    listen_client: str = setting("host:port for clients, gRPC over mTLS", "127.0.0.1:2379")
    listen_peer: str = setting("host:port for other members, mTLS; not opened by a cluster of one", "127.0.0.1:2380")
    peer_cert: Path | None = setting("certificate shown to other members (PEM)", None)
    peer_key: Path | None = setting("its key (PEM)", None)
    peer_ca: Path | None = setting("CA that signs members' certificates (PEM)", None)
    allowed_clients: tuple[str, ...] = setting("common names of client certificates admitted", ("steer-apiserver",))
    health: str = setting("host:port for plain HTTP health and metrics; empty for none", "")
    history: float = setting("seconds of history kept before compaction; 0 leaves compaction to clients", 300.0)
    quota_bytes: int = setting("how large the state may get before writes are refused; 0 for no limit", 8 << 30)
    hash_check_interval: float = setting("seconds between checks that members hold the same; 0 for none", 600.0)
    progress_interval: float = setting("seconds between progress notices to idle watches that ask for them", 5.0)
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe message logged", "info")
    log_format: Literal["text", "json"] = setting("form of the log", "text")


class BadSetting(Exception):
    """A setting that can't be used; the message is for whoever set it."""


def main() -> None:
    """Run the process."""
    settings = flags.parse(Settings, prog="steer-store")
    logs.configure(settings.log_level, settings.log_format)
    from component import signals

    raise SystemExit(signals.run(run(settings)))


async def run(settings: Settings) -> None:
    """Build everything, serve until cancelled, then put everything away.

    Raises:
        SystemExit: 2 for a setting that can't be used, 1 for state that can't be trusted; the reason is on stderr.
    """
    from store.backend import BackendDamaged
    from store.consensus.journal import JournalDamaged

    try:
        await _run(settings)
    except (BadSetting, OSError) as error:
        print(f"steer-store: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (JournalDamaged, BackendDamaged) as error:
        print(f"steer-store: {error}", file=sys.stderr)
        raise SystemExit(1) from None


async def _run(settings: Settings) -> None:
    from component import health as component_health
    from component.serve import Identity
    from store.apply import State
    from store.backend import Backend
    from store.consensus.journal import Journal
    from store.consensus.member import Member
    from store.consensus.transport import Alone
    from store.replica import Replica, decode_entry, encode_entry
    from store.serve import health
    from store.serve.server import client_services

    for path in (settings.cert, settings.key, settings.ca):
        if not path.is_file():
            raise BadSetting(f"{path} is not there: --cert, --key and --ca name PEM files")
    _, _ = _host_port("--listen-client", settings.listen_client)
    clock, rng = RealClock(), random.Random()
    loop = asyncio.get_running_loop()
    fatal: asyncio.Future[None] = loop.create_future()

    def on_fatal(error: BaseException) -> None:
        if not fatal.done():
            fatal.set_exception(error)

    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_own(settings.data_dir))
        backend = Backend(settings.data_dir / "state", clock, on_fatal)
        if not backend.meta.cluster_id:
            backend.begin_cluster(rng.getrandbits(63) | 1)
        journal = Journal(settings.data_dir / "log")
        state = State(backend)
        backend.release_pages()
        member = Member(
            settings.name,
            journal,
            state,
            Alone(),
            clock,
            rng,
            on_fatal,
            encode_entry=encode_entry,
            decode_entry=decode_entry,
        )
        await member.start()
        replica = Replica(
            state,
            backend,
            member,
            clock,
            rng,
            name=settings.name,
            member_id=_member_id(settings.name),
            cluster_id=backend.meta.cluster_id,
            client_urls=(f"https://{settings.listen_client}",),
            peer_urls=(f"https://{settings.listen_peer}",),
            history_s=settings.history,
            quota_bytes=settings.quota_bytes,
            hash_check_s=settings.hash_check_interval,
        )

        async def put_away() -> None:
            await member.stop()
            if not fatal.done():
                await backend.close()

        stack.push_async_callback(put_away)
        if settings.health:
            http = await component_health.serve(
                *_host_port("--health", settings.health),
                {"leader": lambda: health.readiness(replica)},
                metrics=lambda: health.metrics(replica),
            )
            stack.push_async_callback(http.cleanup)
        await _unless(fatal, member.wait_leader())
        services = client_services(replica, frozenset(settings.allowed_clients), settings.progress_interval)
        server = await services.start(settings.listen_client, Identity(settings.cert, settings.key, settings.ca))
        stack.push_async_callback(server.stop, STOP_GRACE_S)
        log.info(
            "serving",
            extra={
                "clients": settings.listen_client,
                "revision": state.mvcc.revision,
                "term": replica.status.term,
                "applied": replica.status.applied,
            },
        )
        await _unless(fatal, _all(replica.run_duties(), replica.upkeep.run()))


async def _unless(fatal: asyncio.Future[None], work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, but stop and raise as soon as `fatal` has an error."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, fatal}, return_when=asyncio.FIRST_COMPLETED)
        if fatal.done():
            fatal.result()
        task.result()
    finally:
        task.cancel()


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of it; the first error ends the rest and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def _own(directory: Path) -> Iterator[None]:
    """Hold the data directory for this process alone."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadSetting(f"--data-dir {directory} can't be used: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadSetting(f"--data-dir {directory} is in use by another steer-store") from None
        yield
    finally:
        os.close(descriptor)


def _host_port(flag: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BadSetting(f"{flag} {address}: expected host:port, such as 127.0.0.1:2379")
    return host.strip("[]"), int(port)


def _member_id(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1 | 1


if __name__ == "__main__":
    main()

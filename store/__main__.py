"""`steer-store`: one member of the store, from settings to serving.

Start order is recovery order: take the data directory for ourselves, open the state, read the log back, lead or follow,
replay what the state lacks, and only then open the client port. The stop is the same backwards, well under a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import hashlib
import json
import logging
import os
import random
import sys
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from component import flags, logs, tracing
from component.clock import RealClock
from component.flags import setting

if TYPE_CHECKING:
    from store.backend import Backend
    from store.consensus.peers import Peers

log = logging.getLogger("store")

STOP_GRACE_S = 0.2
SERVE_WITHOUT_LEADER_S = 10.0
"""How long a start waits for a leader; then it serves what needs none, such as status and snapshots."""
REASON_WITHIN_S = 5.0


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
    advertise_client: str = setting("host:port by which clients reach this member (default: --listen-client)", "")
    advertise_peer: str = setting("host:port by which other members reach this one (default: --listen-peer)", "")
    initial_members: tuple[str, ...] = setting(
        "the members of a new cluster, as name=host:port (peer addresses), the same on each; with --join those that "
        "may take this one in; only heeded at the first start (default: this member alone; with --join any that calls)",
        (),
    )
    cluster_token: str = setting("tells new clusters with the same members apart", "steersman")
    join: bool = setting("at the first start, wait to be taken into a running cluster (see member add)", False)
    heartbeat: float = setting("seconds between the leader's heartbeats", 0.1)
    election_timeout: float = setting("seconds without a leader, at least, before an election; at most twice that", 0.5)
    peer_cert: Path | None = setting("certificate shown to other members (PEM)", None)
    peer_key: Path | None = setting("its key (PEM)", None)
    peer_ca: Path | None = setting("CA that signs members' certificates (PEM)", None)
    allowed_clients: tuple[str, ...] = setting(
        "common names of client certificates admitted; * for any certificate that the CA signed", ("steer-apiserver",)
    )
    trusted_clients: tuple[str, ...] = setting(
        "common names of client certificates that may do everything also once users and roles are enabled",
        ("steer-apiserver",),
    )
    health: str = setting("host:port for plain HTTP health and metrics; empty for none", "")
    history: float = setting("seconds of history kept before compaction; 0 leaves compaction to clients", 300.0)
    quota_bytes: int = setting("how large the state may get before writes are refused; 0 for no limit", 8 << 30)
    hash_check_interval: float = setting("seconds between checks that members hold the same; 0 for none", 600.0)
    progress_interval: float = setting("seconds between progress notices to idle watches that ask for them", 5.0)
    tracing_endpoint: str = setting(tracing.ENDPOINT_HELP, "")
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe message logged", "info")
    log_format: Literal["text", "json"] = setting("form of the log", "text")


class BadSetting(Exception):
    """A setting that can't be used; the message is for whoever set it."""


def main() -> None:
    """Run the process."""
    settings = flags.parse(Settings, prog="steer-store")
    logs.configure(settings.log_level, settings.log_format)
    tracing.start(settings.tracing_endpoint, "steer-store")
    from component import signals

    # Of the many small objects that a store keeps nearly all stay, and none are in cycles: looking through them for
    # garbage as often as is the default costs a tenth of the time.
    gc.set_threshold(50_000, 20, 100)
    raise SystemExit(signals.run(run(settings)))


async def run(settings: Settings) -> None:
    """Build everything, serve until cancelled, then put everything away.

    Raises:
        SystemExit: 2 for a setting that can't be used, 1 for state that can't be trusted; the reason is on stderr.
    """
    from store.consensus.consensus import MemberRemoved, SnapshotInstalled
    from store.consensus.journal import JournalDamaged, JournalFailed
    from store.records import BackendDamaged

    try:
        while True:
            try:
                await _run(settings)
            except SnapshotInstalled as news:
                log.info("starting again from the state that was taken over", extra={"why": str(news)})
                continue
            return
    except JournalFailed as error:
        print(f"steer-store: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
    except (BadSetting, OSError) as error:
        print(f"steer-store: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except (JournalDamaged, BackendDamaged, MemberRemoved) as error:
        print(f"steer-store: {error}", file=sys.stderr)
        raise SystemExit(1) from None


async def _run(settings: Settings) -> None:
    from component import health as component_health
    from component.serve import Identity
    from store.apply import State
    from store.backend import Backend
    from store.consensus.consensus import MemberRemoved, SnapshotInstalled
    from store.consensus.journal import Journal
    from store.consensus.member import Member, Timing
    from store.consensus.membership import Members
    from store.consensus.peers import Peers
    from store.gateway.pages import Pages
    from store.recovery import take_over
    from store.replica import Replica, decode_entry, encode_entry
    from store.serve import health
    from store.serve.server import client_services

    peer_identity = Identity(
        settings.peer_cert or settings.cert, settings.peer_key or settings.key, settings.peer_ca or settings.ca
    )
    for path in (settings.cert, settings.key, settings.ca, *(getattr(peer_identity, n) for n in ("cert", "key", "ca"))):
        if not path.is_file():
            raise BadSetting(f"{path} is not there: --cert, --key and --ca name PEM files")
    for flag, address in (("--listen-client", settings.listen_client), ("--listen-peer", settings.listen_peer)):
        _host_port(flag, address)
    if not 0 < settings.heartbeat <= settings.election_timeout / 3:
        raise BadSetting("--heartbeat must be at most a third of --election-timeout")
    clock, rng = RealClock(), random.Random()
    loop = asyncio.get_running_loop()
    fatal: asyncio.Future[None] = loop.create_future()

    def on_fatal(error: BaseException) -> None:
        if not fatal.done():
            fatal.set_exception(error)

    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_own(settings.data_dir))
        journal = Journal(settings.data_dir / "log")
        (settings.data_dir / "state").mkdir(mode=0o700, exist_ok=True)
        take_over(settings.data_dir / "state", journal)
        backend = Backend(settings.data_dir / "state", clock, on_fatal)
        incarnation = _incarnation(settings, rng)
        acquaintances = _Acquaintances(settings.data_dir / "peers.json", incarnation)
        peers = Peers(
            settings.listen_peer,
            peer_identity,
            rng,
            name=settings.name,
            advertise=settings.advertise_peer,
            incarnation=incarnation,
            known=acquaintances.read(),
            remember=acquaintances.write,
        )
        stack.push_async_callback(peers.stop)
        member_id = await _identify(settings, backend, peers, rng)
        if member_id in Members.decode(backend.members()).removed:
            raise MemberRemoved(
                f"this member ({member_id:x}) was removed from its cluster: delete {settings.data_dir}, add the member "
                "again, and start it with --join"
            )
        state = State(backend)
        backend.release_pages()
        # What was loaded stays: looking through a million keys would stop a member for longer than a heartbeat.
        gc.freeze()
        member = Member(
            member_id,
            settings.name,
            journal,
            state,
            peers,
            clock,
            rng,
            on_fatal,
            encode_entry=encode_entry,
            decode_entry=decode_entry,
            timing=Timing(settings.heartbeat, settings.election_timeout, 2 * settings.election_timeout),
        )
        if len(member.members.records) > 1:
            await peers.listen()
        replica = Replica(
            state,
            backend,
            member,
            clock,
            rng,
            name=settings.name,
            member_id=member_id,
            cluster_id=backend.meta.cluster_id,
            client_urls=(f"https://{settings.advertise_client or settings.listen_client}",),
            peer_urls=(f"https://{settings.advertise_peer or settings.listen_peer}",),
            history_s=settings.history,
            quota_bytes=settings.quota_bytes,
            hash_check_s=settings.hash_check_interval,
            trusted_clients=frozenset(settings.trusted_clients),
        )
        member.on_call = replica.answer_call

        async def put_away() -> None:
            await member.stop()
            # After anything else fatal the state on disk stays as it is: it may be ahead of what the log has.
            if not fatal.done() or isinstance(fatal.exception(), SnapshotInstalled | MemberRemoved):
                await backend.close()

        stack.push_async_callback(put_away)
        if settings.health:
            http = await component_health.serve(
                *_host_port("--health", settings.health),
                {"leader": lambda: health.readiness(replica)},
                metrics=lambda: health.metrics(replica),
            )
            stack.push_async_callback(http.cleanup)
        await member.start()
        try:
            async with asyncio.timeout(SERVE_WITHOUT_LEADER_S):
                await _unless(fatal, member.wait_leader())
        except TimeoutError:
            log.warning(
                "no leader yet: a majority of the members must be up", extra={"members": len(member.members.voters)}
            )
        services = client_services(replica, frozenset(settings.allowed_clients), settings.progress_interval)
        server = await services.start(
            settings.listen_client, Identity(settings.cert, settings.key, settings.ca), partial(Pages, replica)
        )
        stack.push_async_callback(server.stop, STOP_GRACE_S)
        stack.push_async_callback(member.hand_over)
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
        if task.done() and task.cancelled():
            # Not by us: something that it waited for is being put away, and why is about to be said.
            await asyncio.wait({fatal}, timeout=REASON_WITHIN_S)
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


async def _identify(settings: Settings, backend: Backend, peers: Peers, rng: random.Random) -> int:
    """Find out which member of which cluster this is, and keep that; return the member's id.

    A data directory says so itself. Without one, the member founds a cluster with those of --initial-members, or with
    --join waits until a cluster that it was added to calls.
    """
    known = _read_identity(settings)
    cluster_id = backend.meta.cluster_id
    if known.get("cluster") == f"{cluster_id:x}":
        member_id = int(known["member"], 16)
    elif settings.join and not cluster_id:
        adopters = _initial_members(settings).keys() - {settings.name}
        await peers.listen()
        log.info(
            "waiting to be called by the cluster that this member was added to",
            extra={"at": settings.listen_peer, "by": ",".join(sorted(adopters)) or "any member"},
        )
        cluster_id, member_id = await peers.wait_adopted(adopters)
        backend.begin_cluster(cluster_id)
    else:
        cluster_id, member_id = _found_cluster(settings, backend, rng)
    identity = known | {"name": settings.name, "cluster": f"{cluster_id:x}", "member": f"{member_id:x}"}
    if known != identity:
        write_whole(settings.data_dir / "member.json", json.dumps(identity).encode())
    peers.identify(cluster_id, member_id)
    return member_id


def _read_identity(settings: Settings) -> dict[str, str]:
    path = settings.data_dir / "member.json"
    try:
        known: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise BadSetting(f"{path} is not JSON: it says which member this directory is of") from None
    if known.get("name") != settings.name:
        raise BadSetting(f"--name {settings.name}: {settings.data_dir} belongs to member {known.get('name')}")
    return known


def _incarnation(settings: Settings, rng: random.Random) -> str:
    """Return the number by which others know this data directory, drawn and kept before it is first told anybody."""
    known = _read_identity(settings)
    if "incarnation" not in known:
        known |= {"name": settings.name, "incarnation": f"{rng.getrandbits(64):016x}"}
        write_whole(settings.data_dir / "member.json", json.dumps(known).encode())
    return known["incarnation"]


class _Acquaintances:
    """The other members' incarnations, in a file of this member's own incarnation."""

    def __init__(self, path: Path, incarnation: str) -> None:
        self._path = path
        self._incarnation = incarnation

    def read(self) -> dict[str, str]:
        """Return them by peer; none where the file is not there or of another time."""
        try:
            found = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return dict(found["peers"]) if found.get("incarnation") == self._incarnation else {}

    def write(self, known: Mapping[str, str]) -> None:
        """Keep them."""
        write_whole(self._path, json.dumps({"incarnation": self._incarnation, "peers": dict(known)}).encode())


def _initial_members(settings: Settings) -> dict[str, str]:
    addresses: dict[str, str] = {}
    for entry in settings.initial_members:
        name, _, address = entry.partition("=")
        _host_port("--initial-members", address)
        if not name or name in addresses:
            raise BadSetting(f"--initial-members {entry}: expected name=host:port, each name once")
        addresses[name] = address
    return addresses


def _found_cluster(settings: Settings, backend: Backend, rng: random.Random) -> tuple[int, int]:
    """Make the first membership from the settings; return the ids of the cluster and of this member."""
    from store.consensus.membership import MemberRecord, Members

    addresses = _initial_members(settings)
    if not addresses:
        addresses = {settings.name: settings.advertise_peer or settings.listen_peer}
    if settings.name not in addresses:
        raise BadSetting(f"--initial-members does not name this member, {settings.name}")
    drawn = rng.getrandbits(63) | 1
    if len(addresses) > 1:
        # All of them must come to the same id without having met.
        text = json.dumps([settings.cluster_token, sorted(addresses.items())])
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1 | 1
    cluster_id = backend.meta.cluster_id or drawn
    if not backend.members():
        records = (MemberRecord(member_id_of(name), (f"https://{at}",), name) for name, at in addresses.items())
        members = Members(tuple(sorted(records, key=lambda record: record.id)))
        backend.begin_cluster(cluster_id, members.encode())
    return cluster_id, member_id_of(settings.name)


def member_id_of(name: str) -> int:
    """Return the id of a founding member; those added later are given one."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1 | 1


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it has either all of the old content or all of the new."""
    from store.state_file import sync_directory

    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    sync_directory(path.parent)


if __name__ == "__main__":
    main()

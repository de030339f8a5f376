"""`steer snapshot`: the store in one file, and back.

`save` asks a running member for a backup (Maintenance.Snapshot) and keeps the file only once its hash agrees; the store
goes on meanwhile. `status` says what is in a file. `restore` makes a new cluster of it, with as many members as there
were; see `store.backup` for what that means for revisions. `app` is the commands, for `deploy.cli` to hang in.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import grpc
import msgspec
import typer
from rich.console import Console

from component.serve import Identity, grpc_channel
from deploy import local
from deploy.plan import Cluster, Paths, store_endpoints
from deploy.report import BadInput, CannotDo
from proto.etcd import rpc_pb2, rpc_pb2_grpc
from store import backup

SYNC_BYTES = 4 << 20
"""Written between one sync and the next: a member on the same disk has to sync its log meanwhile."""
ANSWER_WITHIN_S = 15.0
"""How long a member may take to begin, and between two pieces."""

app = typer.Typer(help="Backups of the store: one file, and back.", no_args_is_help=True)
out = Console(highlight=False)

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the cluster lives.")]
File = Annotated[Path, typer.Argument(help="The backup.", show_default=False)]


@app.command("save")
def save_command(
    file: File,
    data_dir: DataDir = None,
    endpoint: Annotated[
        str | None, typer.Option(help="host:port of a member, instead of this machine's cluster.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="With --endpoint: a client certificate it admits (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    ca: Annotated[Path | None, typer.Option(help="The CA that signs members' certificates (PEM).")] = None,
) -> None:
    """Write the store's state to FILE, while it runs."""
    if endpoint:
        if cert is None or key is None or ca is None:
            raise BadInput("--endpoint needs --cert, --key and --ca: the store admits nobody without a certificate")
        endpoints, identity = [endpoint], Identity(cert, key, ca)
    else:
        endpoints, identity = _access_here(data_dir)
    began = time.monotonic()
    description = save(file, endpoints, identity)
    size = f"{file.stat().st_size / 1e6:.1f} MB"
    out.print(
        f"[bold green]saved[/] {file}: revision {description.revision}, {size}, in {time.monotonic() - began:.1f} s",
        soft_wrap=True,
    )


@app.command("rotate")
def rotate_command(
    directory: Annotated[Path, typer.Argument(help="Where the backups are.")],
    keep: Annotated[int, typer.Option(min=1, help="How many to keep; older ones are deleted.")] = 28,
    data_dir: DataDir = None,
) -> None:
    """Write a backup named by the time into DIRECTORY, and delete the oldest; what the timer runs on machines."""
    from deploy.machine.backup import rotate

    endpoints, identity = _access_here(data_dir)
    made, deleted = rotate(directory, keep, endpoints, identity, datetime.now(UTC))
    out.print(f"saved {made}, {made.stat().st_size / 1e6:.1f} MB; deleted {len(deleted)} older", soft_wrap=True)


def _access_here(data_dir: Path | None) -> tuple[list[str], Identity]:
    """Return how to reach the store of this machine's cluster, whichever way it was set up."""
    from deploy.machine import backup as machine_backup
    from deploy.machine import host
    from deploy.machine.plan import Layout

    machine = host.read_machine(Layout()) if data_dir is None else None
    if machine is None:
        return access(local.read_cluster(_directory(data_dir)))
    if not machine.is_control_plane:
        raise CannotDo(f"{machine.name} is a worker machine: backups are made on those of the control plane")
    return machine_backup.access(Layout(), machine)


@app.command("status")
def status_command(
    file: File,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print.")] = "text",
) -> None:
    """Verify FILE and say what is in it."""
    try:
        found = backup.status(file)
    except (backup.BackupDamaged, OSError) as error:
        raise _refused(file, error) from None
    if output == "json":
        print(msgspec.json.encode(found).decode())
        return
    description = found.description
    created = datetime.fromtimestamp(description.created_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    made = f"{created}, by {description.member} of cluster {description.cluster_id:x}"
    said = f" (what `etcdctl endpoint hashkv --rev {description.revision}` answered)"
    rows = [
        ("revision", f"{description.revision} (history since {description.compact_revision})"),
        ("keys", f"{found.keys}, in {found.records} changes"),
        ("size", f"{found.size_bytes} bytes"),
        ("hash", f"{found.hash}{'' if description.is_of_etcd else said}"),
        ("sha256", found.sha256),
        ("made", "by etcd" if description.is_of_etcd else made),
        ("API", f"etcd {description.version or 'v3'}"),
    ]
    for name, value in rows:
        out.print(f"{name:9} {value}", soft_wrap=True)


@app.command("restore")
def restore_command(file: File, data_dir: DataDir = None) -> None:
    """Make the store of the cluster in --data-dir what FILE says; the cluster must be down.

    What the store held before is moved aside, not deleted. Without a cluster there, --data-dir is taken for the data
    directory of one steer-store.
    """
    from deploy.machine import backup as machine_backup
    from deploy.machine import host
    from deploy.machine.build import Site
    from deploy.machine.plan import Layout

    machine = host.read_machine(Layout()) if data_dir is None else None
    if machine is not None:
        machine_backup.restore(Site(machine), file, out.print)
        out.print(
            "  now `steer init` starts it; docs/disaster.md says how the other machines come back", soft_wrap=True
        )
        return
    directory = _directory(data_dir)
    if data_dir is None and not Paths(directory).cluster.exists():
        raise CannotDo(f"there is no cluster in {directory}: `steer up` makes one; or name a directory by --data-dir")
    began = time.monotonic()
    restored, aside = restore(file, directory)
    out.print(
        f"[bold green]restored[/] in {time.monotonic() - began:.1f} s: revision {restored.revision}, "
        f"a new cluster {restored.cluster_id:x}",
        soft_wrap=True,
    )
    for path in aside:
        out.print(f"  what was there is in {path}", soft_wrap=True)


def access(cluster: Cluster) -> tuple[list[str], Identity]:
    """Return where this machine's members listen, and who may talk to them."""
    if cluster.external_store is not None:
        raise CannotDo("the store is not this cluster's own: back it up with its own tools (`etcdctl snapshot save`)")
    return store_endpoints(cluster), local.store_identity(cluster)


def save(file: Path, endpoints: list[str], identity: Identity) -> backup.Description:
    """Have the first of `endpoints` that answers write a backup to `file`, which appears only once it is whole.

    Raises:
        CannotDo: no member answers, or what came is damaged; `file` is as it was.
    """
    for path in (identity.cert, identity.key, identity.ca):
        if not path.is_file():
            raise BadInput(f"{path} is not there")
    partial = file.with_name(file.name + ".partial")
    problems: list[str] = []
    try:
        for endpoint in endpoints:
            try:
                asyncio.run(_fetch(endpoint, identity, partial))
                description = backup.verify(partial)
                os.replace(partial, file)
                return description
            except grpc.aio.AioRpcError as error:
                problems.append(f"{endpoint}: {error.details() or error.code().name}")
            except TimeoutError:
                problems.append(f"{endpoint}: no answer within {ANSWER_WITHIN_S:.0f} s")
        raise CannotDo("no member of the store gave a snapshot: " + "; ".join(problems))
    except (backup.BackupDamaged, OSError) as error:
        raise _refused(file, error) from None
    finally:
        partial.unlink(missing_ok=True)


async def _fetch(endpoint: str, identity: Identity, partial: Path) -> None:
    channel = grpc_channel([endpoint], identity)
    try:
        maintenance = rpc_pb2_grpc.MaintenanceStub(channel)  # type: ignore[no-untyped-call]
        stream = maintenance.Snapshot(rpc_pb2.SnapshotRequest())
        with partial.open("wb") as file:
            unsynced_bytes = 0
            while True:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    response = await stream.read()
                if response is grpc.aio.EOF:
                    break
                file.write(response.blob)
                unsynced_bytes += len(response.blob)
                if unsynced_bytes >= SYNC_BYTES:
                    unsynced_bytes = 0
                    await asyncio.to_thread(os.fdatasync, file.fileno())
            file.flush()
            os.fsync(file.fileno())
    finally:
        await channel.close()


def check(file: Path) -> None:
    """Verify the whole file; raises CannotDo."""
    try:
        backup.verify(file)
    except (backup.BackupDamaged, OSError) as error:
        raise _refused(file, error) from None


def restore(file: Path, directory: Path) -> tuple[backup.Restored, list[Path]]:
    """Restore `file` into the cluster, or the member's data directory, `directory`; return what it is now.

    The whole file is verified before anything is touched, and what was there is moved aside only once the new state
    is on disk. The second value returned is where it went.

    Raises:
        CannotDo: the file is damaged, or the cluster runs; nothing was changed.
    """
    cluster: Cluster | None = None
    targets = [directory]
    if Paths(directory).cluster.exists():
        cluster = local.read_cluster(directory)
        if local.is_up(cluster):
            raise CannotDo(f"the cluster in {directory} runs: `steer down` first")
        if cluster.external_store is not None:
            raise CannotDo(
                "the store is not this cluster's own: restore it with its own tools (`etcdctl snapshot restore`)"
            )
        targets = [directory / "store" / member for member in cluster.member_names]
    now = datetime.now(UTC)
    suffix = now.strftime("%Y%m%dT%H%M%S.%f")
    # Members restored alike, to the same revision of the same new cluster, need no state from each other.
    cluster_id = random.SystemRandom().getrandbits(63) | 1
    aside: list[Path] = []
    try:
        backup.verify(file)
        with ExitStack() as held:
            for target in targets:
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
                held.enter_context(_own(target))
            for target in targets:
                made = target / f"restoring-{suffix}"
                restored = backup.restore(file, made, cluster_id=cluster_id, now_s=now.timestamp())
            for target in targets:
                moved = backup.set_aside(target, suffix)
                if moved is not None:
                    aside.append(moved)
                made = target / f"restoring-{suffix}"
                os.rename(made / "state", target / "state")
                made.rmdir()
            if cluster is not None:
                # All of them begin the new cluster together, also those that had joined the old one later.
                cluster.store_initial = cluster.store_members = cluster.member_names
                _write_whole(Paths(directory).cluster, msgspec.json.format(msgspec.json.encode(cluster)))
    except (backup.BackupDamaged, backup.RestoreRefused, OSError) as error:
        raise _refused(file, error) from None
    return restored, aside


def _write_whole(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


@contextmanager
def _own(directory: Path) -> Iterator[None]:
    """Hold a member's data directory, as a running member does."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CannotDo(f"{directory} is in use by a running steer-store: stop it first") from None
        yield
    finally:
        os.close(descriptor)


def _directory(data_dir: Path | None) -> Path:
    from deploy.cli import default_data_dir

    return (data_dir or default_data_dir()).expanduser().absolute()


def _refused(file: Path, error: Exception) -> CannotDo:
    return (BadInput if isinstance(error, FileNotFoundError) else CannotDo)(_reason(file, error))


def _reason(file: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and error.filename == str(file):
        return f"{file} is not there"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or file}: {error.strerror}"
    return str(error)

"""The members under test: real processes, started, killed, asked how they are, and replaced.

Two kinds of server fit: our own, and etcd, on which the harness itself can be tried. What differs between them is in
`SteerStore` and `Etcd`; nothing else knows which it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio

from component.serve import Identity, grpc_channel
from deploy.pki import Authority, Leaf
from lab.chaos.arena import PYTHON, Arena, has_own_clock
from lab.chaos.effects import Sample
from proto.etcd import rpc_pb2

START_TIMEOUT_S = 30.0
STATUS_TIMEOUT_S = 1.0


class ClusterFailed(Exception):
    """The cluster does not do what it must for the test to go on; the message says what."""


@dataclass(slots=True)
class Member:
    """One member, in its slot. `name` changes when it is replaced: the newcomer is somebody else."""

    slot: int
    name: str
    client: str
    """host:port"""
    peer: str
    metrics: str
    log: Path
    is_joining: bool = False
    """Added to a running cluster, as against founding one."""
    clock_offset_s: int = 0
    process: subprocess.Popen[bytes] | None = None
    id: int = 0
    """As the cluster knows it; 0 until asked."""

    @property
    def is_running(self) -> bool:
        """Whether the process lives (a paused one does)."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid


class Server(Protocol):
    """A kind of store."""

    name: str

    def command(self, member: Member, members: list[Member], identity: Identity, directory: Path) -> list[str]:
        """Return the command that runs `member`; `members` are all of the cluster, itself included."""
        ...

    def log_files(self, directory: Path) -> list[Path]:
        """Return the files of its log on disk, oldest first."""
        ...


class SteerStore:
    """Our own."""

    name = "steer-store"

    def __init__(self, *flags: str, module: str = "store") -> None:
        """Run `python -m module`, by default the product; tests run broken ones."""
        self._flags = flags
        self._module = module

    def command(self, member: Member, members: list[Member], identity: Identity, directory: Path) -> list[str]:
        command = [
            *(PYTHON, "-m", self._module, "--name", member.name, "--data-dir", str(directory / "data")),
            *("--cert", str(identity.cert), "--key", str(identity.key), "--ca", str(identity.ca)),
            *("--listen-client", member.client, "--health", member.metrics, "--log-format", "json"),
            *("--allowed-clients", "steer-apiserver", "--history", "0", "--progress-interval", "0.5"),
        ]
        if member.is_joining:
            command += ["--listen-peer", member.peer, "--join"]
        elif len(members) > 1:
            initial = ",".join(f"{each.name}={each.peer}" for each in members)
            command += ["--listen-peer", member.peer, "--initial-members", initial]
        return [*command, *self._flags]

    def log_files(self, directory: Path) -> list[Path]:
        return sorted((directory / "data" / "log").glob("*.log"))


class Etcd:
    """The real one, from Debian: 3.4."""

    name = "etcd"

    def __init__(self, *flags: str) -> None:
        """Run it with further flags."""
        self._flags = flags

    def command(self, member: Member, members: list[Member], identity: Identity, directory: Path) -> list[str]:
        files = (str(identity.cert), str(identity.key), str(identity.ca))
        return [
            *("etcd", "--name", member.name, "--data-dir", str(directory / "data"), "--logger", "zap"),
            *(
                "--listen-client-urls",
                f"https://{member.client}",
                "--advertise-client-urls",
                f"https://{member.client}",
            ),
            *(
                "--listen-peer-urls",
                f"https://{member.peer}",
                "--initial-advertise-peer-urls",
                f"https://{member.peer}",
            ),
            *("--listen-metrics-urls", f"http://{member.metrics}", "--log-level", "warn"),
            *("--initial-cluster", ",".join(f"{each.name}=https://{each.peer}" for each in members)),
            *("--initial-cluster-state", "existing" if member.is_joining else "new"),
            *("--cert-file", files[0], "--key-file", files[1], "--trusted-ca-file", files[2], "--client-cert-auth"),
            *("--peer-cert-file", files[0], "--peer-key-file", files[1], "--peer-trusted-ca-file", files[2]),
            *("--peer-client-cert-auth", "--pre-vote", "--experimental-watch-progress-notify-interval", "1s"),
            *self._flags,
        ]

    def log_files(self, directory: Path) -> list[Path]:
        return sorted((directory / "data" / "member" / "wal").glob("*.wal"))


@dataclass
class Cluster:
    """All members, in an arena."""

    server: Server
    arena: Arena
    directory: Path
    members: list[Member] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict)
    """Each member as it was last heard of."""
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)
    _generation: int = 0

    @staticmethod
    def found(server: Server, arena: Arena, directory: Path, size: int) -> Cluster:
        """Lay out a cluster of `size` members; nothing runs yet."""
        cluster = Cluster(server, arena, directory)
        (directory / "logs").mkdir()
        cluster._authority = Authority(directory / "pki", "chaos-store-ca")
        cluster._authority.ensure(Leaf("client", "steer-apiserver"))
        for slot in range(1, size + 1):
            cluster.members.append(cluster._member(slot))
        return cluster

    _authority: Authority = field(init=False)

    @property
    def identity(self) -> Identity:
        """A client that the members admit."""
        base = self.directory / "pki"
        return Identity(base / "client.crt", base / "client.key", base / "ca.crt")

    @property
    def endpoints(self) -> list[str]:
        """Where clients find the members."""
        return [member.client for member in self.members]

    def _member(self, slot: int, is_joining: bool = False) -> Member:
        self._generation += 1
        name = f"m{self._generation}"
        address = self.arena.address(slot)
        client, peer, metrics = (f"{address}:{port}" for port in self.arena.ports(slot))
        # etcd goes by the address, our store by the common name `steer-store-<member>`.
        self._authority.ensure(Leaf(name, f"steer-store-{name}", hosts=(name, "localhost", "127.0.0.1", address)))
        return Member(slot, name, client, peer, metrics, self.directory / "logs" / f"{name}.log", is_joining)

    # -- processes

    def start(self, member: Member) -> None:
        """Start a member's process."""
        base = self.directory / "pki"
        identity = Identity(base / f"{member.name}.crt", base / f"{member.name}.key", base / "ca.crt")
        command = self.server.command(member, self.members, identity, self.arena.directory(member.slot))
        member.process = self.arena.spawn(member.slot, command, member.log, member.clock_offset_s)

    def kill(self, member: Member) -> bool:
        """Send SIGKILL; return whether that is what it died of."""
        assert member.process is not None
        member.process.kill()
        return member.process.wait() == -signal.SIGKILL

    def signal(self, member: Member, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(member.pid, number)

    async def stop(self, member: Member, timeout_s: float = 10.0) -> int:
        """SIGTERM, and wait; return the exit code."""
        self.signal(member, signal.SIGTERM)
        return await self.wait_exit(member, timeout_s)

    async def wait_exit(self, member: Member, timeout_s: float) -> int:
        """Wait until the process is gone; return its exit code."""
        assert member.process is not None
        deadline = time.monotonic() + timeout_s
        while member.process.poll() is None:
            if time.monotonic() > deadline:
                raise ClusterFailed(f"{member.name} still runs after {timeout_s:g} s")
            await asyncio.sleep(0.02)
        return member.process.returncode

    def last_words(self, member: Member) -> str:
        """Return the end of what the member wrote."""
        with contextlib.suppress(OSError):
            lines = [line for line in member.log.read_text(errors="replace").splitlines() if line.strip()]
            return lines[-1][-600:] if lines else ""
        return ""

    # -- asking

    def channel(self, member: Member) -> grpc.aio.Channel:
        """Return a channel to this member alone."""
        if member.name not in self._channels:
            self._channels[member.name] = grpc_channel([member.client], self.identity, server_name=member.name)
        return self._channels[member.name]

    async def ask(self, member: Member, method: str, request: Any, answer: Any, timeout_s: float = 5.0) -> Any:
        """Call a method of etcd's API on one member; raises grpc.aio.AioRpcError."""
        call: Any = self.channel(member).unary_unary(
            f"/etcdserverpb.{method}", lambda message: message.SerializeToString(), answer.FromString
        )
        return await call(request, timeout=timeout_s)

    async def sample(self, member: Member) -> Sample | None:
        """Ask a member how it is; None where it does not say."""
        if not member.is_running:
            return None
        try:
            status = await self.ask(
                member, "Maintenance/Status", rpc_pb2.StatusRequest(), rpc_pb2.StatusResponse, STATUS_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return None
        member.id = status.header.member_id
        applied = status.raftAppliedIndex or status.raftIndex
        return Sample(member.name, status.raftTerm, status.leader, applied, status.header.revision)

    async def sample_all(self) -> dict[str, Sample]:
        """Ask all; return each as last heard of, for those that were ever heard and are members still."""
        found = await asyncio.gather(*(self.sample(member) for member in self.members))
        for member, sample in zip(self.members, found, strict=True):
            if sample is not None:
                self.samples[member.name] = sample
        names = {member.name for member in self.members}
        self.samples = {name: sample for name, sample in self.samples.items() if name in names}
        return dict(self.samples)

    async def leader(self, timeout_s: float = 15.0) -> Member:
        """Return the member that leads."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = await asyncio.gather(*(self.sample(member) for member in self.members))
            newest = max((sample for sample in found if sample), key=lambda sample: sample.term, default=None)
            for member in self.members:
                if newest is not None and newest.leader and member.id == newest.leader and member.is_running:
                    return member
            await asyncio.sleep(0.05)
        raise ClusterFailed(f"no leader in {timeout_s:g} s")

    async def settle(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every member runs, knows the same leader, and has applied the same."""
        deadline = time.monotonic() + timeout_s
        found: list[Sample | None] = []
        while time.monotonic() < deadline:
            for member in self.members:
                if not member.is_running:
                    code = member.process.returncode if member.process else "never started"
                    raise ClusterFailed(f"{member.name} is not running ({code}): {self.last_words(member)}")
            found = list(await asyncio.gather(*(self.sample(member) for member in self.members)))
            heard = [sample for sample in found if sample is not None]
            same = {(sample.leader, sample.revision) for sample in heard}
            if len(heard) == len(self.members) and len(same) == 1 and heard[0].leader:
                return
            await asyncio.sleep(0.1)
        raise ClusterFailed(f"the members did not agree in {timeout_s:g} s: {found}")

    # -- membership

    async def replace(self, member: Member) -> Member:
        """Remove a member that is not running, and start another in its slot, with an empty disk."""
        others = [each for each in self.members if each is not member]
        member_id = member.id or await self._id_of(member, others)
        await self._change(others, "Cluster/MemberRemove", rpc_pb2.MemberRemoveRequest(ID=member_id))
        for path in self.arena.directory(member.slot).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        newcomer = self._member(member.slot, is_joining=True)
        added = rpc_pb2.MemberAddRequest(peerURLs=[f"https://{newcomer.peer}"])
        await self._change(others, "Cluster/MemberAdd", added)
        self.members[self.members.index(member)] = newcomer
        self.samples.pop(member.name, None)
        self.start(newcomer)
        return newcomer

    async def _id_of(self, member: Member, others: list[Member]) -> int:
        for other in others:
            with contextlib.suppress(grpc.aio.AioRpcError):
                listed = await self.ask(
                    other, "Cluster/MemberList", rpc_pb2.MemberListRequest(), rpc_pb2.MemberListResponse
                )
                for each in listed.members:
                    if each.name == member.name or f"https://{member.peer}" in each.peerURLs:
                        return int(each.ID)
        raise ClusterFailed(f"no member knows the id of {member.name}")

    async def _change(self, others: list[Member], method: str, request: Any, timeout_s: float = 30.0) -> None:
        answer = rpc_pb2.MemberRemoveResponse if method.endswith("Remove") else rpc_pb2.MemberAddResponse
        deadline = time.monotonic() + timeout_s
        problem = ""
        while time.monotonic() < deadline:
            for other in others:
                try:
                    await self.ask(other, method, request, answer)
                    return
                except grpc.aio.AioRpcError as error:
                    problem = f"{error.code().name}: {error.details()}"
                    if "not found" in problem or "exists" in problem.lower():
                        return  # an earlier try did it, though its answer was lost
            await asyncio.sleep(0.5)
        raise ClusterFailed(f"{method} was refused for {timeout_s:g} s: {problem}")

    def shifted_clocks(self) -> int:
        """Return how many running members have clocks of their own."""
        return sum(1 for member in self.members if member.is_running and has_own_clock(member.pid))

    async def close(self) -> None:
        """Kill every member and close the connections."""
        for slot_member in self.members:
            self.arena.thaw(slot_member.slot)
            if slot_member.is_running:
                self.kill(slot_member)
        for channel in self._channels.values():
            await channel.close()

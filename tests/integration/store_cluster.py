"""Real `steer-store` members on loopback, with a certificate each, for integration tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from component.serve import Identity
from store.client import StoreClient
from tests.integration.store_process import ROOT, Authority
from tests.ports import free_port


class MemberProcess:
    """One member; `kill` and `start` again as often as needed."""

    def __init__(self, cluster: StoreCluster, name: str) -> None:
        self.name = name
        self.directory = cluster.directory / name
        self.identity = cluster.authority.issue(f"steer-store-{name}")
        self.client_port, self.peer_port = free_port(), free_port()
        self.endpoint, self.peer = f"127.0.0.1:{self.client_port}", f"127.0.0.1:{self.peer_port}"
        self.log = cluster.directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.run_by: list[str] = []
        """The beginning of its command line, where it is to run elsewhere than here."""

    def start(self, *flags: str) -> None:
        """Start the process; does not wait."""
        command = [
            *self.run_by,
            *(sys.executable, "-m", "store", "--name", self.name, "--data-dir", self.directory),
            *("--listen-client", self.endpoint, "--listen-peer", self.peer),
            *("--cert", self.identity.cert, "--key", self.identity.key, "--ca", self.identity.ca, *flags),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stderr=log, stdout=log)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def pause(self) -> None:
        """SIGSTOP: connections stand, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def is_up(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None


class StoreCluster:
    """Some members of one cluster."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        self.authority = Authority(directory / "pki")
        self.client = self.authority.issue("steer-apiserver")
        self.members = {f"s{n}": MemberProcess(self, f"s{n}") for n in range(1, size + 1)}
        self.initial = ",".join(f"{member.name}={member.peer}" for member in self.members.values())

    def start(self) -> None:
        """Start every member that does not run."""
        for member in self.members.values():
            if not member.is_up:
                member.start("--initial-members", self.initial)

    def add(self, name: str) -> MemberProcess:
        """Prepare a further member, which is not started."""
        self.members[name] = MemberProcess(self, name)
        return self.members[name]

    def pids(self) -> list[int]:
        """Return those of the members that run."""
        found = [member.process for member in self.members.values()]
        return [process.pid for process in found if process is not None and process.poll() is None]

    def close(self) -> None:
        """kill -9 all."""
        for member in self.members.values():
            member.kill()

    def store_client(self, *names: str, **options: float) -> StoreClient:
        """Return a client of the members named, or of all."""
        members = [self.members[name] for name in names] if names else list(self.members.values())
        return StoreClient([member.endpoint for member in members], self.client, **options)

    async def leader(self, seconds: float = 60.0) -> MemberProcess:
        """Return the member that leads, once all that are up agree on one."""
        import asyncio

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            answers = {}
            for member in self.members.values():
                if member.is_up:
                    client = self.store_client(member.name, timeout_s=1.0)
                    try:
                        answers[member.name] = await client.status()
                    except Exception:
                        answers[member.name] = None
                    finally:
                        await client.close()
            leaders = {status.leader for status in answers.values() if status is not None and status.leader}
            if len(leaders) == 1:
                try:
                    listed = self.etcdctl_fields(leaders.pop())
                except subprocess.CalledProcessError:
                    continue  # it leads no longer
                if listed in self.members and self.members[listed].is_up:
                    return self.members[listed]
            await asyncio.sleep(0.05)
        raise AssertionError("no leader:\n" + self.logs())

    def etcdctl_fields(self, id: int) -> str:
        """Return the name of the member with that id."""
        for line in self.etcdctl("member", "list").splitlines():
            fields = [field.strip() for field in line.split(",")]
            if int(fields[0], 16) == id:
                return fields[2]
        return ""

    def etcdctl(self, *arguments: str, stdin: str | None = None, endpoints: str = "") -> str:
        """Run Debian's etcdctl against all members that are up."""
        up = endpoints or ",".join(f"https://{member.endpoint}" for member in self.members.values() if member.is_up)
        who: Identity = self.client
        command = ["etcdctl", f"--endpoints={up}", f"--cacert={who.ca}", f"--cert={who.cert}", f"--key={who.key}"]
        done = subprocess.run(
            [*command, *arguments],
            env={**os.environ, "ETCDCTL_API": "3"}, input=stdin, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        return done.stdout

    def logs(self) -> str:
        """Return the ends of the members' logs."""
        return "\n".join(f"== {m.name}\n{m.log.read_text()[-2500:]}" for m in self.members.values() if m.log.exists())

"""One version's kubectl, speaking to the cluster in a namespace of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.e2e.conftest import RunningCluster, run

IMAGE = "steersman.local/web:1"


def binaries() -> dict[str, str]:
    """Return every kubectl at hand by version: those beside the one on PATH, else that one itself."""
    found = shutil.which("kubectl")
    if found is None:
        return {}
    beside = Path(found).resolve().parent
    named = {path.name.removeprefix("kubectl."): str(path) for path in sorted(beside.glob("kubectl.1.*"))}
    return named or {"path": found}


class Kubectl:
    """One version's kubectl, in a namespace of its own."""

    def __init__(self, cluster: RunningCluster, binary: str, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.version = Path(binary).name.removeprefix("kubectl.")
        self.command = [binary, "-n", namespace]
        self.environment = cluster.environment

    def elsewhere(self, kubeconfig: str) -> Kubectl:
        """Return the same kubectl with a configuration, and so a namespace, of its own."""
        other = Kubectl(self.cluster, self.command[0], self.namespace)
        other.command = self.command[:1]
        other.environment = {**self.environment, "KUBECONFIG": kubeconfig}
        return other

    def __call__(
        self, *arguments: str, check: bool = True, stdin: str = "", timeout: float = 90, **environment: str
    ) -> str:
        """Return what it printed; with `environment`, run it with these variables set besides."""
        command = [*self.command, *arguments]
        variables = {**self.environment, **environment}
        done = run(command, env=variables, check=check, stdin=stdin, timeout=timeout)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """Return what `get` of these arguments shows."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def path(self, what: str, path: str) -> str:
        """Return one field of an object, by its JSONPath without the braces."""
        return self("get", what, "-o", f"jsonpath={{{path}}}").strip()

    def fails(self, *arguments: str, stdin: str = "") -> str:
        """Return what it said; it must say it with a failure."""
        done = self.raw(*arguments, stdin=stdin.encode())
        said = (done.stdout + done.stderr).decode()
        assert done.returncode != 0, f"{arguments} passed: {said}"
        return said

    def raw(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*self.command, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=90, check=False, env=self.environment)

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[list[str]]:
        """Run it in the background; yield the lines it says, as they come."""
        process = subprocess.Popen(
            [*self.command, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        assert process.stdout is not None

        def read(stream: IO[str]) -> None:
            for line in stream:
                lines.append(line)

        reader = threading.Thread(target=read, args=[process.stdout])
        reader.start()
        try:
            yield lines
        finally:
            process.terminate()
            process.wait(10)
            reader.join(10)

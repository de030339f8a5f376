"""Programs that give the credentials of a kubeconfig's user: `exec`, as kubectl runs them.

A program is run when there are no credentials, when theirs have expired, and when they were refused; one run at a
time. It gets ExecCredential in its environment and answers with one. Facts: Kubernetes documentation, "client-go
credential plugins".
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from api import timestamps

_GROUP: Final = "client.authentication.k8s.io"
_VERSIONS: Final = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")


class BadProgram(ValueError):
    """An `exec` that cannot be used."""


class ProgramFailed(Exception):
    """It gave no credentials, and why."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a program says is to be shown."""

    token: str = ""
    pair: bytes = field(default=b"", repr=False)
    """Certificate and key (PEM)."""
    until: float = float("inf")
    """Seconds since the epoch."""


class _Variable(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Exec(msgspec.Struct, rename="camel"):
    command: str = ""
    args: list[str] | None = None
    env: list[_Variable] | None = None
    api_version: str = ""
    interactive_mode: str = ""
    provide_cluster_info: bool = False


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: str | None = None


class _Credential(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


class CredentialProgram:
    """One user's program; see `of`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], api_version: str, now: Callable[[], float]
    ) -> None:
        self._command = tuple(command)
        self._environment = environment
        self._api_version = api_version
        self._now = now
        self._shown: Shown | None = None
        self._turns = asyncio.Lock()

    @classmethod
    def of(
        cls,
        given: Mapping[str, Any],
        user: str,
        directory: Path,
        cluster: Mapping[str, Any] | None = None,
        now: Callable[[], float] = time.time,
    ) -> CredentialProgram:
        """Return the program of a kubeconfig's `exec`.

        Args:
            given: what stands there.
            user: whose it is.
            directory: of the kubeconfig, where paths begin.
            cluster: what the program is told of where it is for, if it asks for that.
            now: the time, in seconds since the epoch.

        Raises:
            BadProgram: it cannot be used.
        """
        try:
            told = msgspec.convert(given, _Exec)
        except msgspec.ValidationError as error:
            raise BadProgram(f"user {user!r}: exec: {error}") from None
        _check(told, user)
        spec: dict[str, Any] = {"interactive": False}
        if told.provide_cluster_info and cluster is not None:
            spec["cluster"] = _cluster(cluster, directory)
        question = {"kind": "ExecCredential", "apiVersion": told.api_version, "spec": spec}
        environment = {each.name: each.value for each in told.env or ()}
        command = str(directory / told.command) if "/" in told.command else told.command
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(question, separators=(",", ":"))
        return cls((command, *(told.args or ())), environment, told.api_version, now)

    def forget(self) -> None:
        """Run the program again when the next credentials are asked for: these were refused."""
        self._shown = None

    async def credentials(self) -> Shown:
        """Return what is to be shown.

        Raises:
            ProgramFailed: the program gave nothing that could be used.
        """
        async with self._turns:
            if self._shown is None or self._shown.until <= self._now():
                self._shown = None
                self._shown = self._read(await self._run())
            return self._shown

    async def _run(self) -> bytes:
        name = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **self._environment},
            )
        except FileNotFoundError:
            raise ProgramFailed(f"exec: executable {name} not found") from None
        except OSError as error:
            raise ProgramFailed(f"exec: {name}: {error.strerror}") from None
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if process.returncode:
            raise ProgramFailed(f"exec: executable {name} failed with exit code {process.returncode}")
        return out

    def _read(self, out: bytes) -> Shown:
        try:
            found = msgspec.json.decode(out, type=_Credential)
        except msgspec.MsgspecError as error:
            raise ProgramFailed(f"decoding stdout: {error}") from None
        if found.api_version != self._api_version or found.kind != "ExecCredential":
            raise ProgramFailed(
                f"exec plugin is configured to use API version {self._api_version}, "
                f"plugin returned version {found.api_version}"
            )
        status = found.status
        if status is None:
            raise ProgramFailed("exec plugin didn't return a status field")
        certificate, key = status.client_certificate_data, status.client_key_data
        if not (status.token or certificate or key):
            raise ProgramFailed("exec plugin didn't return a token or cert/key pair")
        if bool(certificate) != bool(key):
            raise ProgramFailed("exec plugin returned only certificate or key, not both")
        until = float("inf")
        if status.expiration_timestamp:
            try:
                until = timestamps.parse(status.expiration_timestamp)
            except ValueError as error:
                raise ProgramFailed(f"expirationTimestamp: {error}") from None
        pair = f"{certificate}\n{key}".encode() if certificate else b""
        return Shown(status.token, pair, until)


def _check(told: _Exec, user: str) -> None:
    what = f"must be specified for {user} to use exec authentication plugin"
    if not told.command:
        raise BadProgram(f"command {what}")
    if not told.api_version:
        raise BadProgram(f"apiVersion {what}")
    if told.api_version not in _VERSIONS:
        raise BadProgram(f'exec plugin: invalid apiVersion "{told.api_version}"')
    if any(not each.name for each in told.env or ()):
        raise BadProgram(f"env variable name {what}")
    match told.interactive_mode:
        case "" if told.api_version == _VERSIONS[0]:
            raise BadProgram(f"interactiveMode {what}")
        case "Always":
            raise BadProgram("exec plugin cannot support interactive mode: standard input is unavailable")
        case "" | "IfAvailable" | "Never":
            return
    raise BadProgram(f'invalid interactiveMode for {user}: "{told.interactive_mode}"')


def _cluster(cluster: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return what a program is told of where its credentials are shown; raises BadProgram."""
    told = {key: cluster[key] for key in ("server", "tls-server-name", "insecure-skip-tls-verify") if key in cluster}
    data = cluster.get("certificate-authority-data", "")
    if not data and cluster.get("certificate-authority"):
        try:
            data = base64.b64encode((directory / cluster["certificate-authority"]).read_bytes()).decode()
        except OSError as error:
            raise BadProgram(f"{error.filename}: {error.strerror}") from None
    return {**told, "certificate-authority-data": data} if data else told

"""Programs that give credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.webhooks.credential_programs import BadProgram, CredentialProgram, ProgramFailed
from apiserver.webhooks.identities import BadIdentities, parse_server

V1 = "client.authentication.k8s.io/v1"


def program(directory: Path, status: Any, *, version: str = V1, script: str = "", **changes: Any) -> dict[str, Any]:
    """Return an `exec` whose program counts its runs in `runs`, notes what it was told in `told`, and answers."""
    answer = {"apiVersion": version, "kind": "ExecCredential", **({"status": status} if status is not None else {})}
    (directory / "answer").write_text(json.dumps(answer))
    path = directory / "program"
    body = (
        script
        or f'echo run >> {directory}/runs; echo "$KUBERNETES_EXEC_INFO" > {directory}/told; cat {directory}/answer'
    )
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return {"apiVersion": V1, "command": "./program", "interactiveMode": "Never", **changes}


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines())


async def test_a_program_is_run_once_until_its_credentials_expire_or_are_refused(tmp_path: Path) -> None:
    now = 0.0
    status = {"token": "t", "expirationTimestamp": "1970-01-01T00:01:00Z"}
    tested = CredentialProgram.of(program(tmp_path, status), "us", tmp_path, now=lambda: now)
    for _ in range(2):
        assert (await tested.credentials()).token == "t"
    assert runs(tmp_path) == 1
    now = 61.0
    await tested.credentials()
    assert runs(tmp_path) == 2
    tested.forget()
    await tested.credentials()
    assert runs(tmp_path) == 3


async def test_it_is_told_where_its_credentials_are_for_if_it_asks(tmp_path: Path) -> None:
    cluster = {"server": "https://w", "certificate-authority-data": "Y2E="}
    given = program(tmp_path, {"clientCertificateData": "cert", "clientKeyData": "key"}, provideClusterInfo=True)
    shown = await CredentialProgram.of(given, "us", tmp_path, cluster).credentials()
    assert shown.pair == b"cert\nkey"
    told = json.loads((tmp_path / "told").read_text())
    assert told == {"kind": "ExecCredential", "apiVersion": V1, "spec": {"interactive": False, "cluster": cluster}}


@pytest.mark.parametrize(
    ("status", "changes", "why"),
    [
        (None, {}, "exec plugin didn't return a status field"),
        ({}, {}, "exec plugin didn't return a token or cert/key pair"),
        ({"clientKeyData": "k"}, {}, "exec plugin returned only certificate or key, not both"),
        ({"token": "t"}, {"version": "x/v1"}, f"is configured to use API version {V1}, plugin returned version x/v1"),
        ({}, {"command": "no-such-program"}, "exec: executable no-such-program not found"),
        ({}, {"script": "exit 3"}, "failed with exit code 3"),
        ({}, {"script": "echo hello"}, "decoding stdout: "),
    ],
)
async def test_what_gives_no_credentials_fails(tmp_path: Path, status: Any, changes: dict[str, Any], why: str) -> None:
    tested = CredentialProgram.of(program(tmp_path, status, **changes), "us", tmp_path)
    with pytest.raises(ProgramFailed, match=why):
        await tested.credentials()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"command": ""}, "command must be specified for us to use exec authentication plugin"),
        ({"apiVersion": ""}, "apiVersion must be specified for us"),
        ({"apiVersion": "v9"}, 'invalid apiVersion "v9"'),
        ({"interactiveMode": ""}, "interactiveMode must be specified for us"),
        ({"interactiveMode": "Often"}, 'invalid interactiveMode for us: "Often"'),
        ({"interactiveMode": "Always"}, "standard input is unavailable"),
        ({"env": [{"value": "x"}]}, "env variable name must be specified for us"),
    ],
)
def test_an_exec_that_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadProgram, match=why):
        CredentialProgram.of({**program(tmp_path, {}), **changes}, "us", tmp_path)


async def test_a_kubeconfig_may_name_a_program(tmp_path: Path) -> None:
    config = {
        "clusters": [{"name": "w", "cluster": {"server": "https://w.example.org"}}],
        "users": [{"name": "us", "user": {"exec": program(tmp_path, {"token": "t"})}}],
        "contexts": [{"name": "c", "context": {"cluster": "w", "user": "us"}}],
        "current-context": "c",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    _, identities = parse_server(path)
    identity = identities.of("w.example.org", 443)
    assert identity.program is not None and (await identity.program.credentials()).token == "t"
    config["users"][0]["user"]["exec"]["command"] = ""  # type: ignore[index]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(BadIdentities, match="command must be specified for us"):
        parse_server(path)

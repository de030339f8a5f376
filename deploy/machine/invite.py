"""Invitations: what a machine needs to join, made on one machine and read on another.

Secrets travel in a file, by stdin, or in the environment, never as arguments: those are seen by every user of a machine
and kept in shells' histories.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from client.verbs import Client
from deploy.machine import cluster, discovery, tokens, upload
from deploy.machine.plan import SECURE_PORT, Layout, Machine
from deploy.machine.tokens import Token
from deploy.report import BadInput

TOKEN, KEY = "STEER_TOKEN", "STEER_CERTIFICATE_KEY"
"""Environment variables."""
STDIN_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a newcomer was given."""

    address: str
    """host:port of an API server."""
    token: Token
    ca_hash: str
    certificate_key: bytes = field(default=b"", repr=False)
    """Of the control plane's keys; empty for a node."""


class Written(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An invitation as it is written to a file."""

    address: str
    token: str
    ca_hash: str
    certificate_key: str = ""


@dataclass(frozen=True, slots=True)
class Printed:
    """An invitation as it is shown to whoever asked for it."""

    address: str
    token: Token
    ca_hash: str
    certificate_key: str = field(repr=False)
    """Empty: only for nodes."""
    lasts: timedelta | None

    def values(self) -> dict[str, Any]:
        """Return what `steer join --file` reads."""
        values = {"address": self.address, "token": str(self.token), "caHash": self.ca_hash}
        return values | ({"certificateKey": self.certificate_key} if self.certificate_key else {})

    def lines(self) -> list[str]:
        """Return what a person reads."""
        hours = f"for {self.lasts.total_seconds() / 3600:g} h" if self.lasts else "until the token is deleted"
        command = f"{self.address} --ca-hash {self.ca_hash}"
        lines = ["", f"Another machine joins, {hours}, with", ""]
        lines += [f"  export {TOKEN}={self.token}", f"  steer join {command}"]
        if self.certificate_key:
            lasts = upload.LASTS.total_seconds() / 3600
            lines += [
                "",
                f"or, for {lasts:g} h, as a member of the control plane (three make it survive the loss of one)",
                "",
            ]
            lines += [
                f"  export {TOKEN}={self.token} {KEY}={self.certificate_key}",
                f"  steer join --control-plane {command}",
            ]
        return lines


def create(layout: Layout, machine: Machine, lasts: timedelta | None, *, control_plane: bool) -> Printed:
    """Make a token, for `control_plane` also upload the CAs' keys, and return what a newcomer needs."""

    async def work(client: Client) -> tuple[Token, str]:
        token, _ = await tokens.create(client, lasts, description="made by steer")
        key = await upload.upload(client, layout) if control_plane else ""
        await discovery.await_signature(client, token)
        return token, key

    token, key = cluster.ask(work, layout, machine)
    authority = (layout.pki / "cluster" / "ca.crt").read_bytes()
    return Printed(f"{machine.address}:{SECURE_PORT}", token, discovery.ca_hash(authority), key, lasts)


def read(
    address: str | None,
    ca_hash: str | None,
    file: str | None,
    *,
    token_file: str | None,
    certificate_key_file: str | None,
    needs_key: bool,
    is_known: bool,
) -> Invitation:
    """Return the invitation that was given by arguments, files and environment; arguments win over `file`.

    `is_known`: this machine got to know the cluster before, so what only that needs may be missing.

    Raises:
        CannotDo: something is missing or malformed; secrets are not repeated.
    """
    written = _written(file) if file else None
    where = address or (written.address if written else "")
    hashed = ca_hash or (written.ca_hash if written else "")
    token = _secret(token_file, TOKEN) or (written.token if written else "")
    key = _secret(certificate_key_file, KEY) or (written.certificate_key if written else "")
    missing = []
    if not where:
        missing.append("the address of an API server")
    if not hashed and not is_known:
        missing.append("--ca-hash")
    if not token and not is_known:
        missing.append(f"a token (--token-file, ${TOKEN} or --file)")
    if needs_key and not key and not is_known:
        missing.append(f"a certificate key (--certificate-key-file, ${KEY} or --file)")
    if missing:
        raise BadInput(
            f"joining needs {', '.join(missing)}; `steer token create` on a control-plane machine prints them"
        )
    return Invitation(
        where if ":" in where else f"{where}:{SECURE_PORT}",
        tokens.parse_token(token) if token else Token("", ""),
        discovery.check_hash(hashed) if hashed else "",
        upload.parse_key(key) if key else b"",
    )


def _written(file: str) -> Written:
    try:
        return msgspec.json.decode(_content(file), type=Written)
    except msgspec.MsgspecError as error:
        raise BadInput(f"{_named(file)} is no invitation ({error}): `steer token create -o json` writes one") from None


def _secret(file: str | None, variable: str) -> str:
    return (_content(file).decode(errors="replace") if file else os.environ.get(variable, "")).strip()


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(STDIN_BYTES_MAX)
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None


def _named(file: str) -> str:
    return "stdin" if file == "-" else file

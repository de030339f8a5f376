"""Kubeconfig files: the cluster's own, and the context it adds to the user's."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml

from component.files import write_private

CONTEXT = "steersman"


def build(server: str, ca: Path, cert: Path, key: Path, *, context: str = CONTEXT) -> dict[str, Any]:
    """Return a kubeconfig (plain values) with all credentials inline."""

    def inline(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    user = f"{context}-admin"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": inline(ca)}}],
        "users": [{"name": user, "user": {"client-certificate-data": inline(cert), "client-key-data": inline(key)}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
    }


def write(path: Path, config: dict[str, Any]) -> None:
    """Write `config` readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())


def user_path() -> Path:
    """Return the user's own kubeconfig: the first file of $KUBECONFIG, else ~/.kube/config."""
    listed = [part for part in os.environ.get("KUBECONFIG", "").split(":") if part]
    return Path(listed[0]) if listed else Path.home() / ".kube" / "config"


def merge_into(path: Path, config: dict[str, Any]) -> None:
    """Add `config`'s cluster, user and context to the file at `path`, replacing those of the same name.

    The current context is set only where the file has none, so that nobody's kubectl is redirected.

    Raises:
        ValueError: the file is there and is not a kubeconfig; it is left as it is.
    """
    existing = _read(path)
    for section in ("clusters", "users", "contexts"):
        named = {entry["name"] for entry in config[section]}
        existing[section] = [e for e in existing.get(section) or [] if e.get("name") not in named] + config[section]
    if not existing.get("current-context"):
        existing["current-context"] = config["current-context"]
    write(path, existing)


def remove_from(path: Path, context: str) -> None:
    """Take what `merge_into` added out again; leave everything else."""
    if not path.exists():
        return
    existing = _read(path)
    for section, name in (("clusters", context), ("users", f"{context}-admin"), ("contexts", context)):
        existing[section] = [entry for entry in existing.get(section) or [] if entry.get("name") != name]
    if existing.get("current-context") == context:
        existing["current-context"] = ""
    write(path, existing)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists() or not path.read_text().strip():
        return {"apiVersion": "v1", "kind": "Config"}
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a kubeconfig")
    return content

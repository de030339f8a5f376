"""Credentials for image registries, from a pod's imagePullSecrets."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from api.core.secret import Secret
from proto.cri import api_pb2 as pb

_TYPES = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}


def credentials(secret: Secret) -> list[tuple[str, pb.AuthConfig]]:
    """Return (registry, credentials) pairs; what cannot be read gives none. Pure."""
    raw = secret.data.get(_TYPES.get(secret.type, ""))
    if raw is None:
        return []
    try:
        decoded: Any = msgspec.json.decode(raw)
        entries = decoded.get("auths", {}) if secret.type.endswith("json") else decoded
        return [(_host(server), _auth(entry)) for server, entry in entries.items()]
    except (msgspec.DecodeError, AttributeError, ValueError):
        return []


def _auth(entry: dict[str, str]) -> pb.AuthConfig:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth") and not username:
        try:
            username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("auth is not base64") from error
    return pb.AuthConfig(username=username, password=password, identity_token=entry.get("identitytoken", ""))


def _host(server: str) -> str:
    host = server.partition("://")[2] or server
    host = host.split("/", 1)[0]
    return "docker.io" if host in ("index.docker.io", "registry-1.docker.io") else host


def matching(found: list[tuple[str, pb.AuthConfig]], image: str) -> list[pb.AuthConfig]:
    """Return the credentials for the registry that a full image name names."""
    registry = image.split("/", 1)[0]
    return [auth for host, auth in found if host == registry]

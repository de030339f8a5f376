"""Reading a kubeconfig as kubectl does: which server its current context means, and what proves who is asking.

Fields as in Kubernetes' client configuration, v1 (`kubectl config view`). What would need a program or a
plugin to run is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml

from lab.bench.steer import BenchFailed

Json = dict[str, Any]


class ClientTls(msgspec.Struct, frozen=True):
    """How a load of another process connects: paths of PEM files, empty where there is none."""

    cert: str = ""
    key: str = ""
    ca: str = ""
    verify: bool = True
    """False: whoever answers is believed, as `insecure-skip-tls-verify` asks."""

    def context(self) -> ssl.SSLContext:
        """Return what `ssl` takes; raises OSError and ssl.SSLError for files that are no certificates."""
        tls = ssl.create_default_context(cafile=self.ca or None)
        if not self.verify:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if self.cert:
            tls.load_cert_chain(self.cert, self.key)
        return tls


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the current context of a kubeconfig says."""

    server: str
    """Scheme, host and port."""
    server_name: str
    """Whose certificate is expected: the host of `server` unless `tls-server-name` says otherwise."""
    ca: bytes
    """PEM; empty for the system's authorities."""
    cert: bytes
    key: bytes
    token: str
    verify: bool

    def write(self, directory: Path) -> ClientTls:
        """Write certificate, key and authority for another process to use."""
        paths = []
        for name, content in (("client.crt", self.cert), ("client.key", self.key), ("ca.crt", self.ca)):
            path = directory / name
            path.touch(mode=0o600)
            path.write_bytes(content)
            paths.append(str(path) if content else "")
        cert, key, ca = paths
        return ClientTls(cert, key, ca, self.verify)

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings for this process; the ssl module takes certificates from files only."""
        with tempfile.TemporaryDirectory() as directory:
            try:
                return self.write(Path(directory)).context()
            except (OSError, ssl.SSLError) as error:
                raise BenchFailed(f"kubeconfig of {self.server}: {error}") from None


def read(path: Path) -> Credentials:
    """Read the current context of the file; raises BenchFailed, which names the field that is wrong."""
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BenchFailed(f"no kubeconfig at {path}: is a cluster up? ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchFailed(f"{path} is not a kubeconfig: {error}") from None
    if not isinstance(config, dict):
        raise BenchFailed(f"{path} is not a kubeconfig: it holds no mapping")
    name = config.get("current-context") or ""
    context = _named(path, config, "contexts", "context", name)
    cluster = _named(path, config, "clusters", "cluster", context.get("cluster", ""))
    user = _named(path, config, "users", "user", context["user"]) if context.get("user") else {}
    for unsupported in ("exec", "auth-provider", "username"):
        if user.get(unsupported):
            raise BenchFailed(
                f"{path}: users[{context['user']}].{unsupported}: not supported: give a certificate or token"
            )
    server = str(cluster.get("server", "")).rstrip("/")
    if urlsplit(server).scheme != "https" or not urlsplit(server).hostname:
        raise BenchFailed(f"{path}: clusters[{context['cluster']}].server: {server!r} is not https://HOST:PORT")
    token = str(user.get("token", "")) or _content(path, user, "tokenFile").decode(errors="replace").strip()
    return Credentials(
        server=server,
        server_name=str(cluster.get("tls-server-name") or urlsplit(server).hostname),
        ca=_content(path, cluster, "certificate-authority"),
        cert=_content(path, user, "client-certificate"),
        key=_content(path, user, "client-key"),
        token=token,
        verify=not cluster.get("insecure-skip-tls-verify", False),
    )


def _named(path: Path, config: Json, entries: str, inner: str, name: str) -> Json:
    """Return the entry of that name."""
    for entry in config.get(entries) or []:
        if entry.get("name") == name and isinstance(entry.get(inner), dict):
            found: Json = entry[inner]
            return found
    raise BenchFailed(f"{path}: {entries}: there is none named {name!r}")


def _content(path: Path, holder: Json, key: str) -> bytes:
    """Return what `key-data` holds or the file that `key` names, relative to the kubeconfig; empty for neither."""
    try:
        if inline := holder.get(f"{key}-data"):
            return base64.b64decode(inline, validate=True)
        return (path.parent / str(holder[key])).read_bytes() if holder.get(key) else b""
    except (OSError, binascii.Error) as error:
        raise BenchFailed(f"{path}: {key}: {error}") from None

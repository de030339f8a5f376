"""A small client of the REST API: what a measurement needs, with the admin's kubeconfig and nothing cached."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import yaml

from lab.bench.steer import BenchFailed

Json = dict[str, Any]
NAMESPACE = "steer-bench"
"""Where measurements put what they make."""


class Kube:
    """One connection pool to one API server; an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the current context of `kubeconfig`, whose credentials must be inline."""
        try:
            config = yaml.safe_load(kubeconfig.read_text())
        except OSError as error:
            raise BenchFailed(f"no kubeconfig at {kubeconfig}: is a cluster up? ({error.strerror})") from None
        current = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], current["cluster"])["cluster"]
        user = _named(config["users"], current["user"])["user"]
        self.server = cluster["server"].rstrip("/")
        """Scheme, host and port."""
        self._ca = base64.b64decode(cluster["certificate-authority-data"])
        self._cert = base64.b64decode(user.get("client-certificate-data", ""))
        self._key = base64.b64decode(user.get("client-key-data", ""))
        self.token = str(user.get("token", ""))
        self._tls = ssl.create_default_context(cadata=self._ca.decode())
        if self._cert:
            # The ssl module takes certificates from files only.
            with tempfile.TemporaryDirectory() as directory:
                cert, key, _ = self.write_credentials(Path(directory))
                self._tls.load_cert_chain(cert, key)
        self._session: aiohttp.ClientSession | None = None

    def write_credentials(self, directory: Path) -> tuple[str, str, str]:
        """Write certificate, key and CA for another process to use; returns their paths, empty where there is none."""
        paths = []
        for name, content in (("client.crt", self._cert), ("client.key", self._key), ("ca.crt", self._ca)):
            path = directory / name
            path.touch(mode=0o600)
            path.write_bytes(content)
            paths.append(str(path) if content else "")
        return paths[0], paths[1], paths[2]

    async def __aenter__(self) -> Kube:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=64)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers)
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Json:
        """GET an object or a list."""
        return await self._request("GET", path)

    async def create(self, path: str, body: Json) -> Json:
        """POST an object."""
        return await self._request("POST", path, body)

    async def replace(self, path: str, body: Json) -> Json:
        """PUT an object."""
        return await self._request("PUT", path, body)

    async def is_ready(self) -> bool:
        """Return whether `/readyz` says ok; a server that does not answer is not ready."""
        assert self._session is not None, "used outside of async with"
        try:
            async with self._session.get(self.server + "/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def metrics(self) -> dict[str, float]:
        """Return the server's metrics, summed over their labels; empty where it shows none."""
        assert self._session is not None, "used outside of async with"
        found: dict[str, float] = {}
        async with self._session.get(self.server + "/metrics") as response:
            if response.status >= 400:
                return found
            for line in (await response.text()).splitlines():
                if line and not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    name = name.partition("{")[0]
                    found[name] = found.get(name, 0.0) + float(value)
        return found

    async def delete(self, path: str, body: Json | None = None) -> Json:
        """DELETE an object or, where the path is a list's, all of them."""
        return await self._request("DELETE", path, body)

    async def watch(self, path: str, resource_version: str) -> AsyncIterator[Json]:
        """Yield events after `resource_version` until the server ends the watch."""
        assert self._session is not None, "used outside of async with"
        query = {"watch": "1", "resourceVersion": resource_version, "allowWatchBookmarks": "true"}
        async with self._session.get(self.server + path, params=query) as response:
            if response.status >= 400:
                raise BenchFailed(f"watch {path}: {await response.text()}")
            # Lines can be longer than aiohttp's own line reader takes.
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)

    async def _request(self, method: str, path: str, body: Json | None = None) -> Json:
        assert self._session is not None, "used outside of async with"
        try:
            async with self._session.request(method, self.server + path, json=body) as response:
                answer: Json = await response.json(content_type=None)
                if response.status >= 400:
                    raise BenchFailed(f"{method} {path}: {answer.get('message', response.reason)}")
                return answer
        except aiohttp.ClientError as error:
            raise BenchFailed(f"{method} {path}: the API server does not answer: {error}") from None


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)


@contextlib.asynccontextmanager
async def namespace(kube: Kube) -> AsyncIterator[None]:
    """Make the measurement's namespace, wait until pods can be created in it, and delete it at the end."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    try:
        await kube.create("/api/v1/namespaces", body)
    except BenchFailed as error:
        if "already exists" not in str(error):
            raise
        raise BenchFailed(
            f"namespace {NAMESPACE} is there: another measurement runs, or its namespace was left "
            f"(kubectl delete namespace {NAMESPACE})"
        ) from None
    try:
        for _ in range(100):
            with contextlib.suppress(BenchFailed):
                await kube.get(f"{path}/serviceaccounts/default")
                break
            await asyncio.sleep(0.1)
        yield
    finally:
        await kube.delete(path)
        for _ in range(600):
            try:
                await kube.get(path)
            except BenchFailed:
                break
            await asyncio.sleep(0.1)

"""A small client of the REST API: what a measurement needs, with a kubeconfig and nothing cached."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

import aiohttp

from lab.bench import kubeconfig as kubeconfigs
from lab.bench.kubeconfig import Json
from lab.bench.steer import BenchFailed

NAMESPACE = "steer-bench"
"""Where measurements put what they make."""


class Kube:
    """One connection pool to one API server; an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the current context of `kubeconfig`; raises BenchFailed."""
        self.credentials = kubeconfigs.read(kubeconfig)
        self.server = self.credentials.server
        self._tls = self.credentials.context()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Kube:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=64)
        token = self.credentials.token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
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

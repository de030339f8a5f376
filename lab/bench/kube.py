"""A small client of the REST API: what a measurement needs, with the admin's kubeconfig and nothing cached."""

from __future__ import annotations

import base64
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
        self._server = cluster["server"].rstrip("/")
        self._tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as both:
            # The ssl module takes certificates from files only.
            both.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            both.write(base64.b64decode(user["client-key-data"]))
            both.flush()
            self._tls.load_cert_chain(both.name)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Kube:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
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

    async def delete(self, path: str, body: Json | None = None) -> Json:
        """DELETE an object or, where the path is a list's, all of them."""
        return await self._request("DELETE", path, body)

    async def watch(self, path: str, resource_version: str) -> AsyncIterator[Json]:
        """Yield events after `resource_version` until the server ends the watch."""
        assert self._session is not None, "used outside of async with"
        query = {"watch": "1", "resourceVersion": resource_version, "allowWatchBookmarks": "true"}
        async with self._session.get(self._server + path, params=query) as response:
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
            async with self._session.request(method, self._server + path, json=body) as response:
                answer: Json = await response.json(content_type=None)
                if response.status >= 400:
                    raise BenchFailed(f"{method} {path}: {answer.get('message', response.reason)}")
                return answer
        except aiohttp.ClientError as error:
            raise BenchFailed(f"{method} {path}: the API server does not answer: {error}") from None


def _named(entries: list[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)

"""Certificates and CAs that are renewed while an API server runs."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api.core import namespace
from api.errors import ApiError
from client.transport import GrpcTransport
from client.verbs import Client
from component.serve import Identity
from deploy.pki import Authority, Leaf, Pki
from store.local import LocalStore
from tests.integration.test_aggregation import eventually
from tests.integration.test_apiserver import Running, free_port, pki, server, tls

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration


@dataclasses.dataclass
class Renewed:
    """An API server whose files are this test's own, and another CA."""

    running: Running
    other: Authority

    @property
    def url(self) -> str:
        return self.running.url


@pytest.fixture
async def renewed(server: Running, pki: Pki, tmp_path: Path) -> AsyncIterator[Renewed]:
    files = {name: tmp_path / name for name in ("apiserver.crt", "apiserver.key", "ca.crt")}
    for name, path in files.items():
        path.write_bytes((pki.directory / "cluster" / name).read_bytes())
    settings = dataclasses.replace(
        server.settings,
        tls_cert=files["apiserver.crt"],
        tls_key=files["apiserver.key"],
        client_ca=files["ca.crt"],
        secure_port=free_port(),
        grpc_port=free_port(),
    )
    other = Authority(tmp_path / "other", "other-ca")
    other.ensure(Leaf("admin", "another-admin", ("system:masters",)))
    other.ensure(Leaf("apiserver", "kube-apiserver", hosts=("localhost", "127.0.0.1", "kubernetes")))
    at = pki.directory / "cluster"
    url = f"https://localhost:{settings.secure_port}"
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=tls(at, "admin"))) as http:
        running = Running(settings, at, http, LocalStore(), None)  # type: ignore[arg-type]
        running.start()
        await running.wait_ready()
        yield Renewed(running, other)
        await running.stop()


def shows(certificate: Path, key: Path, *believed: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata="".join(path.read_text() for path in believed))
    context.load_cert_chain(certificate, key)
    return context


async def status(renewed: Renewed, context: ssl.SSLContext) -> int:
    """Return the answer's status by a connection of its own; 0 where there is none."""
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{renewed.url}/api/v1/namespaces", ssl=context) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def test_a_ca_is_trusted_while_it_is_in_the_file_and_no_longer(renewed: Renewed, pki: Pki):
    settings, cluster = renewed.running.settings, pki.cluster.cert_path
    other = renewed.other.directory
    theirs = shows(other / "admin.crt", other / "admin.key", cluster)
    assert await status(renewed, theirs) == 0
    settings.client_ca.write_bytes(cluster.read_bytes() + renewed.other.cert_path.read_bytes())

    async def is_let_in() -> bool:
        return await status(renewed, theirs) == 200

    await eventually(is_let_in)
    component = Client(GrpcTransport([f"127.0.0.1:{settings.grpc_port}"], Identity(
        other / "admin.crt", other / "admin.key", cluster)))  # fmt: skip
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=theirs)) as standing:
        path = f"{renewed.url}/api/v1/namespaces"
        async with standing.get(path) as answer:
            assert answer.status == 200
        assert (await component.list(namespace.RESOURCE)).items
        settings.client_ca.write_bytes(cluster.read_bytes())

        async def is_refused() -> bool:
            """On the connection that stands, and by the component API's."""
            async with standing.get(path) as answer:
                by_rest = answer.status == 401
            try:
                await component.list(namespace.RESOURCE)
            except ApiError as error:
                return by_rest and error.code == 401
            return False

        await eventually(is_refused)
    await component.close()
    assert await status(renewed, theirs) == 0, "nor on a new one"
    assert await status(renewed, tls(pki.directory / "cluster", "admin")) == 200

    async def published() -> Any:
        path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        async with renewed.running.http.get(path) as answer:
            return cluster.read_text() in (await answer.json())["data"]["client-ca-file"]

    await eventually(published)


async def test_a_renewed_serving_certificate_is_shown_to_whoever_comes_next(renewed: Renewed, pki: Pki):
    settings, other = renewed.running.settings, renewed.other
    at = pki.directory / "cluster"
    context = shows(at / "admin.crt", at / "admin.key", other.cert_path)
    assert await status(renewed, context) == 0
    settings.tls_cert.write_bytes((other.directory / "apiserver.crt").read_bytes())
    assert await status(renewed, tls(at, "admin")) == 200, "a certificate without its key is not used"
    settings.tls_key.write_bytes((other.directory / "apiserver.key").read_bytes())
    assert await status(renewed, context) == 200
    component = Client(GrpcTransport([f"127.0.0.1:{settings.grpc_port}"], Identity(
        at / "admin.crt", at / "admin.key", other.cert_path)))  # fmt: skip
    assert (await component.list(namespace.RESOURCE)).items
    await component.close()

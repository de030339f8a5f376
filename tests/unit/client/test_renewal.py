"""A transport follows its certificate: tried on a gRPC server on loopback that says whom it sees."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from api.errors import ApiError
from client.transport import GrpcTransport
from client.verbs import Address
from component.serve import Identity, grpc_server
from deploy.pki import Authority, Leaf
from proto.steersman.v1 import resources_pb2 as pb
from proto.steersman.v1 import resources_pb2_grpc as rpc

ADDRESS = Address("", "v1", "nodes", name="n1")
LEAF = Leaf("client", "system:node:n1", ("system:nodes",))


class Seeing(rpc.ResourcesServicer):
    """Answers every Get with the serial number of the certificate that it was shown."""

    async def Get(self, request: Any, context: Any) -> pb.Object:  # noqa: N802
        (pem,) = context.auth_context()["x509_pem_cert"]
        serial = x509.load_pem_x509_certificate(pem).serial_number
        return pb.Object(json=b"{}", resource_version=str(serial))


@pytest.fixture
async def world(tmp_path: Path):
    authority = Authority(tmp_path / "ca", "test")
    authority.ensure(Leaf("server", "kube-apiserver", hosts=("kubernetes", "127.0.0.1")))
    file = tmp_path / "client.pem"
    authority.ensure_in_one(LEAF, file)
    ca = authority.cert_path
    server, credentials = grpc_server(Identity(tmp_path / "ca/server.crt", tmp_path / "ca/server.key", ca))
    rpc.add_ResourcesServicer_to_server(Seeing(), server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    transport = GrpcTransport([f"127.0.0.1:{port}"], Identity(file, file, ca))
    yield authority, file, transport
    await transport.close()
    await server.stop(0)


async def seen(transport: GrpcTransport) -> str:
    return (await transport.get(ADDRESS)).resource_version


def serial(file: Path) -> str:
    return str(x509.load_pem_x509_certificate(file.read_bytes()).serial_number)


async def test_a_renewed_certificate_is_shown_from_the_next_request_on(world) -> None:
    authority, file, transport = world
    first = serial(file)
    assert [await seen(transport), await seen(transport)] == [first, first]
    authority.ensure_in_one(LEAF, file, anew=True)
    assert serial(file) != first
    assert await seen(transport) == serial(file)


async def test_requests_under_way_are_answered_while_it_is_renewed(world) -> None:
    authority, file, transport = world
    first = serial(file)
    under_way = [asyncio.create_task(seen(transport)) for _ in range(20)]
    await asyncio.sleep(0)
    authority.ensure_in_one(LEAF, file, anew=True)
    later = [asyncio.create_task(seen(transport)) for _ in range(20)]
    assert set(await asyncio.gather(*under_way)) <= {first, serial(file)}
    assert set(await asyncio.gather(*later)) == {serial(file)}


async def test_a_damaged_file_changes_nothing_until_it_is_mended(world) -> None:
    authority, file, transport = world
    first = await seen(transport)
    whole = file.read_bytes()
    file.unlink()
    assert await seen(transport) == first
    file.write_bytes(whole)
    os.utime(file, (1, 1))
    assert await seen(transport) == first
    authority.ensure_in_one(LEAF, file, anew=True)
    assert await seen(transport) == serial(file)


async def test_a_certificate_of_another_authority_is_refused(world, tmp_path: Path) -> None:
    _, file, transport = world
    await seen(transport)
    Authority(tmp_path / "other", "other").ensure_in_one(LEAF, file, anew=True)
    with pytest.raises((ApiError, grpc.aio.AioRpcError)):
        await seen(transport)

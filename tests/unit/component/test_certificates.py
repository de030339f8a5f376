from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from component.certificates import fresh_client, fresh_server
from component.serve import Identity, client_context, grpc_channel, grpc_server
from tests.certificates import Authority


async def shown(context: ssl.SSLContext, trusted: Path) -> str:
    """Return the serial number that a server with this context shows."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    client = ssl.create_default_context(cafile=str(trusted))
    port = server.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("localhost", port, ssl=client)
    serial = str(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
    writer.close()
    server.close()
    return serial


async def test_a_renewed_pair_is_shown_and_a_broken_one_is_not(tmp_path):
    authority = Authority(tmp_path)
    identity = authority.issue("server")
    fresh = fresh_server(identity, client_certificates=ssl.CERT_NONE)
    context, made = fresh.serving(), fresh.current()
    first = await shown(context, identity.ca)
    assert fresh.current() is made, "nothing has changed"

    old_key = identity.key.read_bytes()
    authority.issue("server")
    new_key = identity.key.read_bytes()
    identity.key.write_bytes(old_key)
    assert fresh.current() is made, "the key is not of this certificate"
    assert await shown(context, identity.ca) == first
    identity.cert.unlink()
    assert fresh.current() is made, "nothing is there"

    authority.issue("server")
    assert fresh.current() is not made
    assert await shown(context, identity.ca) != first
    assert new_key != identity.key.read_bytes()


async def is_taken(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> bool:
    """Whether a server admits a client: both have shown a certificate that the other believes."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server)
    try:
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        said = await reader.read()
        writer.close()
        return said == b"x"
    except (ssl.SSLError, OSError):
        return False
    finally:
        listener.close()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_listener_takes_each_connection_by_the_files_as_they_are_then(tmp_path, name):
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    files = replace(old.issue("server"), ca=tmp_path / "trusted.crt")
    files.ca.write_bytes(old.path.read_bytes())
    client_of_old, client_of_new = old.issue("client"), new.issue("client")
    fresh = fresh_server(files, client_certificates=ssl.CERT_REQUIRED)
    serving = fresh.serving()
    assert await is_taken(serving, client_context(client_of_old), name)
    assert not await is_taken(serving, client_context(client_of_new), name)

    files.ca.write_bytes(old.path.read_bytes() + new.path.read_bytes())
    believing_old = ssl.create_default_context(cafile=old.path)
    believing_old.load_cert_chain(client_of_new.cert, client_of_new.key)
    assert await is_taken(serving, believing_old, name), "one that was added is trusted"

    renewed = new.issue("server")
    files.cert.write_bytes(renewed.cert.read_bytes())
    files.key.write_bytes(renewed.key.read_bytes())
    files.ca.write_bytes(new.path.read_bytes())
    assert await is_taken(serving, client_context(client_of_new), name)
    stranger = ssl.create_default_context(cafile=new.path)
    stranger.load_cert_chain(client_of_old.cert, client_of_old.key)
    assert not await is_taken(serving, stranger, name), "one that was taken out is not"

    files.cert.write_bytes(b"no certificate")
    assert await is_taken(serving, client_context(client_of_new), name), "what cannot be used changes nothing"


async def test_a_client_shows_what_its_file_says_now(tmp_path):
    authority = Authority(tmp_path)
    identity = authority.issue("client")
    fresh = fresh_client(identity)
    before = fresh.current()
    assert fresh.current() is before
    authority.issue("client")
    assert fresh.current() is not before


async def test_grpc_takes_each_connection_by_the_files_as_they_are_then(tmp_path):
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    files, stranger = replace(old.issue("kubernetes"), ca=tmp_path / "trusted.crt"), new.issue("client")
    files.ca.write_bytes(old.path.read_bytes())
    client = Identity(tmp_path / "c.crt", tmp_path / "c.key", tmp_path / "ca.crt")
    made = old.issue("client")
    for source, target in ((made.cert, client.cert), (made.key, client.key), (old.path, client.ca)):
        target.write_bytes(source.read_bytes())
    server, credentials = grpc_server(files)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()

    async def is_admitted() -> bool:
        channel = grpc_channel([f"127.0.0.1:{port}"], client, server_name="kubernetes")
        try:
            await channel.unary_unary("/nowhere/Nothing")(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED
        finally:
            await channel.close()
        return False

    assert await is_admitted()
    for source, target in ((stranger.cert, client.cert), (stranger.key, client.key)):
        target.write_bytes(source.read_bytes())
    assert not await is_admitted()
    files.ca.write_bytes(new.path.read_bytes())
    assert await is_admitted(), "the other CA is trusted in its place"
    for source, target in ((made.cert, client.cert), (made.key, client.key)):
        target.write_bytes(source.read_bytes())
    assert not await is_admitted(), "and the first no more"
    await server.stop(0)

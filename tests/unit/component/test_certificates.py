from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from component.certificates import Renewal
from component.serve import server_context
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
    context = server_context(identity, client_certificates=ssl.CERT_NONE)
    renewal = Renewal(identity, [context])
    first = await shown(context, identity.ca)
    assert not renewal.look(), "nothing has changed"

    old_key = identity.key.read_bytes()
    authority.issue("server")
    new_key = identity.key.read_bytes()
    identity.key.write_bytes(old_key)
    assert not renewal.look(), "the key is not of this certificate"
    assert await shown(context, identity.ca) == first
    identity.cert.unlink()
    assert not renewal.look(), "nothing is there"

    authority.issue("server")
    assert renewal.look()
    assert await shown(context, identity.ca) != first
    assert new_key != identity.key.read_bytes()

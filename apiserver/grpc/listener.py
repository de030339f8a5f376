"""The gRPC port: open while the context is."""

from __future__ import annotations

import errno
from typing import Final

from apiserver.app import Api
from apiserver.grpc.health import Health
from apiserver.grpc.relayed import Relay
from apiserver.grpc.service import Service
from component.serve import Identity, grpc_server

_GRACE_S: Final = 0.5


class GrpcListener:
    """Serves the component API on host:port to whoever shows a certificate signed by `identity.ca`."""

    def __init__(self, api: Api, host: str, port: int, identity: Identity, relay: Relay | None = None) -> None:
        self._host = host
        self._port = port
        self._server, self._credentials = grpc_server(identity)
        health = Health(lambda: api.store_health.check() is None, lambda: api.store_health.changed)
        self._server.add_generic_rpc_handlers((Service(api, relay).handlers(), health.handlers()))
        self.port = port
        """The port in use, once open: what port 0 became."""

    async def __aenter__(self) -> GrpcListener:
        """Begin to listen.

        Raises:
            OSError: the port is taken.
        """
        address = f"{self._host}:{self._port}"
        try:
            self.port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {address} (gRPC): the address is in use") from error
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: no new calls, a moment for those that run, then the end."""
        await self._server.stop(_GRACE_S)

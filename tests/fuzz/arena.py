"""The server under test: the real one over TLS on loopback, in this process, with a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from apiserver.server import Settings, serve
from component.clock import RealClock
from deploy.pki import Pki
from store.local import LocalStore
from tests.fuzz.oracle import is_failed_conversion
from tests.fuzz.wire import Connection, Request
from tests.ports import free_port


class Tracebacks(logging.Handler):
    """Keeps what the log tells of errors since it was last asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or (record.levelno >= logging.ERROR and not is_failed_conversion(vars(record).get("error"))):
            text = record.getMessage()
            if record.exc_info:
                text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
            self._seen.append(text)

    def take(self) -> list[str]:
        """Return what was told, and forget it."""
        taken, self._seen = self._seen, []
        return taken


@dataclass
class Arena:
    """A running server."""

    store: LocalStore
    port: int
    tls: ssl.SSLContext
    log: Tracebacks
    task: asyncio.Task[None]

    def connect(self) -> Connection:
        """Return a connection as the administrator."""
        return Connection(self.port, self.tls)


def certificates(directory: Path) -> Pki:
    """Return the certificates of a cluster, made in `directory` where they are not there."""
    pki = Pki(directory)
    pki.ensure_control_plane([], ["m1"])
    return pki


@contextlib.asynccontextmanager
async def arena(pki: Pki, seed: str) -> AsyncIterator[Arena]:
    """Run a server with nothing in it but what is in every cluster."""
    at, nowhere = pki.directory / "cluster", Path("/nonexistent")
    settings = Settings(
        store_endpoints=(), store_cert=nowhere, store_key=nowhere, store_ca=nowhere,
        tls_cert=at / "apiserver.crt", tls_key=at / "apiserver.key", client_ca=at / "ca.crt",
        service_account_key=pki.service_account_key,
        bind_address="127.0.0.1", secure_port=free_port(), grpc_port=free_port(),
    )  # fmt: skip
    tls = ssl.create_default_context(cafile=at / "ca.crt")
    tls.load_cert_chain(at / "admin.crt", at / "admin.key")
    gc.collect()  # What others left unfinished in this process is told of now, not as if it were of this run.
    log, store = Tracebacks(), LocalStore()
    logging.getLogger().addHandler(log)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: log.emit(_record(context)))
    task = asyncio.create_task(serve(settings, store, RealClock(), random.Random(seed)))
    made = Arena(store, settings.secure_port, tls, log, task)
    try:
        await _wait_ready(made)
        yield made
    finally:
        task.cancel()
        await asyncio.wait([task])
        await store.close()
        logging.getLogger().removeHandler(log)
        loop.set_exception_handler(None)


async def _wait_ready(made: Arena) -> None:
    connection = made.connect()
    async with asyncio.timeout(30):
        while (await connection.ask(Request("GET", "/readyz"))).status != 200:
            if made.task.done():
                made.task.result()
            await asyncio.sleep(0.02)
    connection.close()


def _record(context: dict[str, object]) -> logging.LogRecord:
    error = context.get("exception")
    exc_info = (type(error), error, error.__traceback__) if isinstance(error, BaseException) else None
    return logging.LogRecord("asyncio", logging.ERROR, "", 0, str(context.get("message")), None, exc_info)

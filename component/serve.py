"""TLS for listeners and connections, the same way in every process.

A process has an `Identity`: its certificate, its key, and the CA it trusts its peers by. gRPC and plain
TLS both start from it. Nothing here falls back to plaintext.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc
    import grpc.aio

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""Largest gRPC message sent or taken; lists travel in chunks below it."""

_CHANNEL_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Also how long one attempt to connect may take: an address where nobody is must not hold up the others.
    ("grpc.min_reconnect_backoff_ms", 1_000),
    # To be refused costs nothing, and who comes back late may lose a lease by it.
    ("grpc.max_reconnect_backoff_ms", 300),
]

_SERVER_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True, slots=True)
class Vigilance:
    """How soon a channel finds out that a peer is gone that did not say so: hung, cut off, or without power.

    The peer's gRPC library answers pings, not the program above it: a busy program is not taken for a dead one.
    """

    ping_every_s: float
    """gRPC sends no more than one a second."""
    answer_within_s: float


PATIENT = Vigilance(10.0, 5.0)
PROMPT = Vigilance(1.0, 0.5)
"""For peers that have a stand-in: it is spoken to 1.5 s after the peer fell silent, one second in the mean."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is, and whom it believes: three PEM files."""

    cert: Path
    key: Path
    ca: Path


def server_context(
    identity: Identity, *, client_certificates: ssl.VerifyMode, protocols: Sequence[str] = ("http/1.1",)
) -> ssl.SSLContext:
    """Return a TLS 1.2+ server context; `identity.ca` signs the client certificates it admits.

    `protocols` are what it offers to speak, best first (ALPN, RFC 7301).
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(identity.ca))
    context.load_cert_chain(identity.cert, identity.key)
    context.verify_mode = client_certificates
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(protocols)
    return context


def client_context(identity: Identity) -> ssl.SSLContext:
    """Return a TLS client context that shows our certificate and verifies the peer's name."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(identity.ca))
    context.load_cert_chain(identity.cert, identity.key)
    return context


def grpc_server(
    identity: Identity, *, send_bytes_max: int = MESSAGE_BYTES_MAX
) -> tuple[grpc.aio.Server, grpc.ServerCredentials]:
    """Return a gRPC server and credentials that demand a client certificate signed by `identity.ca`.

    `send_bytes_max` is the largest message sent; -1 is no limit, for protocols that have answers of any size.
    """
    import grpc.aio  # 10 MB, which a process that serves no gRPC by it is spared

    def configuration(files: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
        key, cert, ca = files
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)

    def read() -> tuple[bytes, bytes, bytes]:
        return identity.key.read_bytes(), identity.cert.read_bytes(), identity.ca.read_bytes()

    used = read()

    def changed() -> Any:
        """Asked at each handshake, on a thread of gRPC's; None: nothing has changed, or not to anything usable."""
        nonlocal used
        try:
            files = read()
            if files == used:
                return None
            client_context(identity)  # refuses what does not fit together
        except (OSError, ssl.SSLError):
            return None
        used = files
        return configuration(files)

    credentials = grpc.dynamic_ssl_server_credentials(configuration(used), changed, require_client_authentication=True)
    options = [option for option in _SERVER_OPTIONS if option[0] != "grpc.max_send_message_length"]
    options.append(("grpc.max_send_message_length", send_bytes_max))
    return grpc.aio.server(options=options), credentials


def grpc_channel(
    endpoints: Sequence[str],
    identity: Identity,
    *,
    server_name: str | None = None,
    vigilance: Vigilance = PATIENT,
    only_serving: bool = False,
) -> grpc.aio.Channel:
    """Return a channel over mTLS to any of `endpoints` (host:port); it moves to another when one dies.

    `server_name` is the name the server's certificate must carry, where it differs from the host dialled. With
    `only_serving`, servers that say of themselves that they cannot serve now (grpc.health.v1) are passed over;
    those that do not speak that protocol count as serving.
    """
    import grpc.aio

    credentials = grpc.ssl_channel_credentials(
        identity.ca.read_bytes(), identity.key.read_bytes(), identity.cert.read_bytes()
    )
    answer_ms = round(vigilance.answer_within_s * 1000)
    options = [
        *_CHANNEL_OPTIONS,
        ("grpc.keepalive_time_ms", round(vigilance.ping_every_s * 1000)),
        ("grpc.keepalive_timeout_ms", answer_ms),
        # A ping that other traffic overtook has a limit of its own, a minute unless told otherwise.
        ("grpc.http2.ping_timeout_ms", answer_ms),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    target = endpoints[0] if len(endpoints) == 1 else "ipv4:" + ",".join(endpoints)
    if len(endpoints) > 1:
        service: dict[str, object] = {"loadBalancingConfig": [{"round_robin": {}}]}
        if only_serving:
            service["healthCheckConfig"] = {"serviceName": ""}
        options.append(("grpc.service_config", json.dumps(service)))
    return grpc.aio.secure_channel(target, credentials, options=options)

"""`steer-controllers`: settings to wiring."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from api.resource import ObjectKey
from client.leader_election import Election
from client.transport import GrpcTransport
from client.verbs import Client
from component import flags, health, logs, signals, tracing
from component.clock import RealClock
from component.flags import setting
from component.serve import Identity
from component.signing_keys import load_private_key
from controllers import legacy_tokens, manager, node_ipam, serviceaccount_tokens
from controllers.certificates import signing

LEASE = ObjectKey("kube-system", "steer-controllers")
SIGNING_MIN_S = 60.0


@dataclass(frozen=True)
class Settings(Election):
    """The controllers: they make what is into what is wanted."""

    apiserver: tuple[str, ...] = setting("the API server's gRPC addresses, host:port")
    cert: Path = setting("our client certificate")
    key: Path = setting("its key")
    ca: Path = setting("the CA we trust the API server by")
    root_ca: Path | None = setting("the CA that pods trust the API server by (default: --ca)", None)
    cluster_signing_cert: Path | None = setting("the CA that signs certificates on request (default: none are)", None)
    cluster_signing_key: Path | None = setting("its key", None)
    cluster_signing_duration_s: float = setting("how long what it signs is good", float(signing.LIFETIME_S))
    service_account_private_key: Path | None = setting("signs tokens that Secrets ask for (default: none are)", None)
    cluster_cidr: str = setting("the range that nodes get their pod addresses from", "10.244.0.0/16")
    node_cidr_mask: int = setting("prefix length of one node's range", 24)
    node_monitor_grace_s: float = setting("how long a node may be silent before it is NotReady", 50.0)
    eviction_after_s: float = setting("how long pods that say nothing about it stay on a lost node", 300.0)
    legacy_service_account_token_clean_up_period_s: float = setting(
        "how long tokens that were made for accounts as Secrets may lie idle until they are marked, then deleted",
        legacy_tokens.UNUSED_S,
    )
    health: str = setting("host:port of health and metrics", "127.0.0.1:10257")
    tracing_endpoint: str = setting(tracing.ENDPOINT_HELP, "")
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe level logged", "info")
    log_format: Literal["text", "json"] = setting("how log lines look", "text")


async def run(
    settings: Settings,
    root_ca: str,
    authority: signing.Authority | None = None,
    sign_account_token: serviceaccount_tokens.Sign | None = None,
) -> None:
    """Control until cancelled; raises LeadershipLost, for a supervisor to start the process anew."""
    clock, rng = RealClock(), random.Random()
    client = Client(GrpcTransport(settings.apiserver, Identity(settings.cert, settings.key, settings.ca)))
    elector = settings.elector(client, LEASE, clock=clock, rng=rng)
    told = manager.Settings(
        cluster_cidr=settings.cluster_cidr,
        node_cidr_mask=settings.node_cidr_mask,
        root_ca=root_ca,
        signing=authority,
        sign_account_token=sign_account_token,
        node_monitor_grace_s=settings.node_monitor_grace_s,
        eviction_after_s=settings.eviction_after_s,
        legacy_token_unused_s=settings.legacy_service_account_token_clean_up_period_s,
    )
    process = manager.Process(client, told, clock, rng, elector)
    address, _, port = settings.health.rpartition(":")
    listener = await health.serve(address, int(port), {"informer-sync": process.check})
    try:
        await process.run()
    finally:
        await listener.cleanup()
        await client.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; return its exit code."""
    settings = flags.parse(Settings, argv, prog="steer-controllers")
    logs.configure(settings.log_level, settings.log_format)
    tracing.start(settings.tracing_endpoint, "steer-controllers")
    path = settings.root_ca or settings.ca
    try:
        root_ca = path.read_text()
        for file in (settings.cert, settings.key, settings.ca):
            file.read_bytes()
        authority = _authority(settings)
        key = settings.service_account_private_key
        sign = serviceaccount_tokens.signer(load_private_key(key.read_bytes())) if key is not None else None
        node_ipam.controller(settings.cluster_cidr, settings.node_cidr_mask)
        if not settings.health.rpartition(":")[2].isdigit():
            raise ValueError(f"--health {settings.health}: expected host:port, such as 127.0.0.1:10257")
    except (OSError, ValueError) as error:
        print(f"steer-controllers: {error}", file=sys.stderr)
        return 2
    return signals.run(run(settings, root_ca, authority, sign))


def _authority(settings: Settings) -> signing.Authority | None:
    cert, key = settings.cluster_signing_cert, settings.cluster_signing_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ValueError("--cluster-signing-cert and --cluster-signing-key: give both, or neither")
    if settings.cluster_signing_duration_s < SIGNING_MIN_S:
        given = f"--cluster-signing-duration-s {settings.cluster_signing_duration_s:g}"
        raise ValueError(f"{given}: expected at least {SIGNING_MIN_S:g}")
    return signing.load(cert, key, settings.cluster_signing_duration_s)


if __name__ == "__main__":
    sys.exit(main())

"""What is counted while a store runs, under etcd's names where they mean the same; `serve.metrics` shows it."""

from __future__ import annotations

from typing import Final

from component.metrics import Spread, Tally, exponential, shared

_SECONDS: Final = exponential(0.001, 2, 14)
"""Bounds of buckets: etcd's for disks."""
_METHOD: Final = ("grpc_service", "grpc_method", "grpc_type")

FSYNC: Final = shared(
    Spread("etcd_disk_wal_fsync_duration_seconds", "Writing and syncing a group of the log.", bounds=_SECONDS)
)
COMMIT: Final = shared(
    Spread("etcd_disk_backend_commit_duration_seconds", "How long it took to write the state.", bounds=_SECONDS)
)
STARTED: Final = shared(Tally("grpc_server_started_total", "Calls begun.", _METHOD))
HANDLED: Final = shared(Tally("grpc_server_handled_total", "Calls answered.", (*_METHOD, "grpc_code")))
CLIENT_RECEIVED: Final = shared(Tally("etcd_network_client_grpc_received_bytes_total", "Bytes from gRPC's clients."))
CLIENT_SENT: Final = shared(Tally("etcd_network_client_grpc_sent_bytes_total", "Bytes to gRPC's clients."))
PEER_RECEIVED: Final = shared(Tally("etcd_network_peer_received_bytes_total", "Bytes from other members.", ("From",)))
PEER_SENT: Final = shared(Tally("etcd_network_peer_sent_bytes_total", "Bytes to other members.", ("To",)))
PEER_UNSENT: Final = shared(
    Tally("etcd_network_peer_sent_failures_total", "Messages that could not be sent to other members.", ("To",))
)


class Leaders:
    """How many leaders a member has seen."""

    def __init__(self) -> None:
        self.changes = 0
        self._leader: str | None = None

    def see(self, leader: str | None) -> None:
        """Count a leader that is not the one seen last."""
        if leader and leader != self._leader:
            self._leader, self.changes = leader, self.changes + 1

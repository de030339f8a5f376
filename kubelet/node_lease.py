"""Renews the node's Lease in kube-node-lease: the cheap sign of life (KEP-589)."""

from __future__ import annotations

import logging

from api.coordination import lease as leases
from api.coordination.lease import Lease, LeaseSpec
from api.errors import AlreadyExists, ApiError, NotFound
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey
from api.timestamps import render_micro
from client.verbs import Client
from component.clock import Clock

log = logging.getLogger(__name__)

NAMESPACE = "kube-node-lease"
DURATION_S = 40
RENEWALS_PER_DURATION = 4
"""As upstream: a Lease of 40 s is renewed every 10 s."""
RETRY_S = 1.0


class NodeLease:
    """The Lease of one node."""

    def __init__(self, client: Client, clock: Clock, node_name: str, duration_s: int = DURATION_S) -> None:
        self._duration_s = duration_s
        self._client = client
        self._clock = clock
        self._name = node_name
        self._key = ObjectKey(NAMESPACE, node_name)
        self.node_uid = ""
        """Owns the Lease, once known."""

    async def run(self) -> None:
        """Renew until cancelled; a failure is retried sooner than the next turn."""
        failures = 0
        while True:
            try:
                await self.renew()
                failures = 0
                await self._clock.sleep(self._duration_s / RENEWALS_PER_DURATION)
            except ApiError as error:
                failures += 1
                level = logging.WARNING if failures in (3, 30, 300) else logging.DEBUG
                log.log(level, "lease not renewed", extra={"node": self._name, "error": error.message})
                await self._clock.sleep(RETRY_S)

    async def renew(self) -> None:
        """Say once that the node is alive. Raises ApiError."""
        now = render_micro(self._clock.now())
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": self._duration_s, "renewTime": now}
        owners = [OwnerReference(api_version="v1", kind="Node", name=self._name, uid=self.node_uid)]
        try:
            lease = await self._client.patch(leases.RESOURCE, self._key, {"spec": spec})
            if self.node_uid and not lease.metadata.owner_references:
                # It was made before the node was known, and without an owner it would outlive the node.
                lease.metadata.owner_references = owners
                await self._client.update(leases.RESOURCE, lease)
        except NotFound:
            metadata = ObjectMeta(name=self._name, namespace=NAMESPACE)
            metadata.owner_references = owners if self.node_uid else []
            made = LeaseSpec(holder_identity=self._name, lease_duration_seconds=self._duration_s, renew_time=now)
            try:
                await self._client.create(leases.RESOURCE, Lease(metadata=metadata, spec=made))
            except AlreadyExists:
                log.debug("somebody else made the lease", extra={"node": self._name})

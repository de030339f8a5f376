"""The list of controllers, and their life in one process: shared caches, one leader of several processes.

Only the leader writes anything. The others listen to the nodes' signs of life and to nothing else, so that whoever
leads next knows for how long a node has been silent. When leadership is lost, all work stops at once and the process
ends, to be started again by whoever keeps it running.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass
from typing import Any, Protocol

from client.events import EventRecorder
from client.informer import Informers
from client.leader_election import LeaderElector
from client.verbs import Client
from component.clock import Clock
from component.supervise import keep_going
from controllers import (
    attach_detach,
    bootstrap_tokens,
    clusterrole_aggregation,
    cronjob,
    disruption,
    endpoints,
    endpointslice,
    endpointslice_mirroring,
    ephemeral_volumes,
    legacy_tokens,
    local_provisioner,
    namespace,
    node_ipam,
    node_lifecycle,
    node_ttl,
    pod_gc,
    replicaset,
    resourcequota,
    root_ca,
    serviceaccount,
    serviceaccount_tokens,
    storage_protection,
    ttl_after_finished,
    volume_binder,
    volume_expansion,
    volume_reclaim,
)
from controllers.autoscaler import controller as autoscaler
from controllers.certificates import approving, cleaning, serving, signing
from controllers.daemonset import controller as daemonset
from controllers.deployment import controller as deployment
from controllers.garbage_collector.collector import GarbageCollector
from controllers.job import controller as job
from controllers.runner import Controller, Dialogue, Runner
from controllers.statefulset import controller as statefulset

LULL_RENEWALS = 2.5
"""Of the leader's own Lease: who hears nothing for so many may not hear at all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What controllers are told about the cluster."""

    cluster_cidr: str = "10.244.0.0/16"
    node_cidr_mask: int = 24
    root_ca: str = ""
    """PEM; when empty, it is not published."""
    signing: signing.Authority | None = None
    """What certificates on request are signed with; without it, none are."""
    sign_account_token: serviceaccount_tokens.Sign | None = None
    """Makes the tokens that Secrets ask for; without it, none are."""
    node_monitor_grace_s: float = 50.0
    eviction_after_s: float = 300.0
    legacy_token_unused_s: float = legacy_tokens.UNUSED_S
    """How long tokens that the cluster has put into Secrets may lie idle."""


class Loop(Protocol):
    """A controller at work."""

    name: str

    @property
    def has_synced(self) -> bool: ...
    async def run(self) -> None: ...


def declared(
    settings: Settings, clock: Clock, heartbeats: node_lifecycle.Heartbeats
) -> list[Controller[Any, Any] | Dialogue[Any]]:
    """Return every controller but the garbage collector, which is not of their shape."""
    found: list[Controller[Any, Any] | Dialogue[Any]] = [
        deployment.CONTROLLER,
        replicaset.CONTROLLER,
        replicaset.REPLICATION_CONTROLLER,
        daemonset.controller(),
        statefulset.CONTROLLER,
        autoscaler.controller(),
        job.controller(),
        cronjob.CONTROLLER,
        endpointslice.controller(),
        endpoints.CONTROLLER,
        endpointslice_mirroring.CONTROLLER,
        disruption.CONTROLLER,
        volume_binder.CLAIMS,
        volume_reclaim.CONTROLLER,
        volume_expansion.CONTROLLER,
        attach_detach.build(),
        local_provisioner.PROVISION,
        local_provisioner.RELEASE,
        ephemeral_volumes.CONTROLLER,
        storage_protection.CLAIMS,
        storage_protection.VOLUMES,
        ttl_after_finished.CONTROLLER,
        clusterrole_aggregation.CONTROLLER,
        approving.CONTROLLER,
        serving.CONTROLLER,
        cleaning.CONTROLLER,
        namespace.CONTROLLER,
        serviceaccount.CONTROLLER,
        legacy_tokens.controller(settings.legacy_token_unused_s),
        bootstrap_tokens.CLEANER,
        bootstrap_tokens.SIGNER,
        node_lifecycle.controller(heartbeats, settings.node_monitor_grace_s, settings.eviction_after_s),
        node_ttl.CONTROLLER,
        pod_gc.controller(clock),
    ]
    if settings.cluster_cidr:
        found.append(node_ipam.controller(settings.cluster_cidr, settings.node_cidr_mask))
    if settings.root_ca:
        found.append(root_ca.controller(settings.root_ca))
    if settings.sign_account_token is not None:
        found.append(serviceaccount_tokens.controller(settings.sign_account_token, settings.root_ca))
    if settings.signing is not None:
        found.append(signing.controller(settings.signing))
    # Last, since it follows most kinds by their metadata, which those before it may need whole.
    found.append(resourcequota.controller(clock))
    return found


class Manager:
    """All controllers over one set of caches, which others run. `run` once; build another to run again."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        informers: Informers,
        heartbeats: node_lifecycle.Heartbeats,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._clock = clock
        self._recorder = EventRecorder(client, "steer-controllers", clock=clock, rng=rng)
        self._loops: list[Loop] = [
            Runner(controller, informers, client, self._recorder, clock=clock, rng=rng)
            for controller in declared(settings, clock, heartbeats)
        ]
        self._loops.append(GarbageCollector(client, informers, self._recorder, clock=clock, rng=rng))

    @property
    def unsynced(self) -> list[str]:
        """Controllers whose caches are not filled yet."""
        return [loop.name for loop in self._loops if not loop.has_synced]

    async def run(self) -> None:
        """Run every controller until cancelled; one that breaks is started again by itself."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run(), name="events")
            for loop in self._loops:
                group.create_task(keep_going(loop.name, loop.run, self._clock), name=loop.name)


@dataclass(slots=True)
class Process:
    """What this process is at present: standing by, or leading with a manager."""

    client: Client
    settings: Settings
    clock: Clock
    rng: random.Random
    elector: LeaderElector | None
    """None to work without asking."""
    manager: Manager | None = None

    async def run(self) -> None:
        """Lead when we may, for as long as we may; raises LeadershipLost."""
        informers = Informers(self.client, clock=self.clock, rng=self.rng)
        heartbeats = node_lifecycle.Heartbeats(self.clock, self._lull_s())
        node_lifecycle.listen(informers, heartbeats)

        async def lead() -> None:
            await self._lead(informers, heartbeats)

        caches = asyncio.ensure_future(informers.run())
        work = asyncio.ensure_future(lead() if self.elector is None else self.elector.run(lead))
        try:
            done, _ = await asyncio.wait({caches, work}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in (caches, work):
                task.cancel()
            await asyncio.gather(caches, work, return_exceptions=True)

    def _lull_s(self) -> float:
        if self.elector is None:
            return math.inf
        return max(node_lifecycle.LULL_S_MIN, LULL_RENEWALS * self.elector.retry_s)

    async def _lead(self, informers: Informers, heartbeats: node_lifecycle.Heartbeats) -> None:
        self.manager = Manager(self.client, self.settings, informers, heartbeats, clock=self.clock, rng=self.rng)
        try:
            await self.manager.run()
        finally:
            self.manager = None

    def check(self) -> str | None:
        """Say what keeps us from being ready; standing by is being ready."""
        if self.manager is None or not self.manager.unsynced:
            return None
        return "waiting for caches: " + ", ".join(self.manager.unsynced)

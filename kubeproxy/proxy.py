"""The loop: what informers say becomes rules in the kernel, as soon as it may and no more often than it should.

Three rules keep it right whatever happens. The first sync after a start replaces everything, since an earlier life may
have left anything. Later ones send differences, and when one fails, the next replaces everything again. From time to
time it looks whether its chains are still there, because other programs flush tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence

from api import timestamps
from api.core import node as node_api
from api.core import service as service_api
from api.core.service import Service
from api.discovery import endpointslice as slice_api
from api.discovery.endpointslice import EndpointSlice
from api.resource import ObjectKey
from client.informer import Change, Informers
from client.verbs import key_of
from component.clock import Clock
from kubeproxy import metrics
from kubeproxy.changes import State, key_of_slice
from kubeproxy.conntrack import Conntrack, ConntrackError, Fronts, fronts_of, stale_flows, unanswered_flows
from kubeproxy.eligibility import TOLERATED_S, is_eligible
from kubeproxy.health_checks import HealthChecks
from kubeproxy.network import NetworkError, PodNetwork
from kubeproxy.restore import Iptables, RestoreError
from kubeproxy.rules import Ruleset, changed_chains, is_whole, render, replace_all, split
from kubeproxy.topology import ZONE_LABEL, NodeView, ServedPort

log = logging.getLogger(__name__)

MIN_INTERVAL_S = 0.1
"""Between two syncs: a rollout's many changes share one."""
CHECK_INTERVAL_S = 15.0
CHECK_REST = 50.0
"""How many times as long as a look at the kernel's rules takes, the next one is away at least."""
RETRY_S_MIN, RETRY_S_MAX = 0.5, 10.0
BY_SERVICE = "service"
LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
TRIGGERS_MAX = 10_000
"""Beyond so many changes that wait, the earliest are not counted."""


class Proxy:
    """Services on one node."""

    def __init__(
        self,
        node: NodeView,
        informers: Informers,
        iptables: Iptables,
        network: PodNetwork | None,
        clock: Clock,
        conntrack: Conntrack | None = None,
    ) -> None:
        """Follow the cluster by `informers`, which the caller runs; without `network`, only Services are served."""
        self._clock, self._iptables, self._network = clock, iptables, network
        self._conntrack = conntrack or Conntrack()
        self._services = informers.of(service_api.RESOURCE)
        self._slices = informers.of(slice_api.RESOURCE)
        self._nodes = informers.of(node_api.RESOURCE)
        self._informers = informers
        self._node_name = node.name
        self._state = State(node)
        self._applied: Ruleset | None = None
        """What the kernel holds, as far as we know; None when we do not."""
        self._served: list[ServedPort] = []
        self._fronts: Fronts = {}
        """As of when the kernel's flows were last seen to fit."""
        self._dirty: set[ObjectKey] = set()
        self._triggers: deque[float] = deque(maxlen=TRIGGERS_MAX)
        """When the changes happened that the kernel does not know of yet."""
        self._started = clock.now()
        self._nodes_changed = True
        self._wake = asyncio.Event()
        self.last_error: str | None = "no sync yet"
        self.is_eligible = True
        """Whether this node will stay, as far as its Node says."""
        self.right_at: float | None = None
        """Wall time when the rules were last known to be right."""
        self._right_at_monotonic = 0.0
        self._health_checks = HealthChecks(lambda: self.is_healthy)
        self._slices.add_index(BY_SERVICE, _index_by_service)
        self._services.add_handler(self._on_service)
        self._slices.add_handler(self._on_slice)
        self._nodes.add_handler(self._on_node)

    @property
    def is_healthy(self) -> bool:
        """Whether traffic may come here: the rules are right, or were until a moment ago."""
        if self.right_at is None:
            return False
        return self.last_error is None or self._clock.monotonic() - self._right_at_monotonic < TOLERATED_S

    # -- changes come in -----------------------------------------------------------------------------------------

    def _on_service(self, change: Change[Service]) -> None:
        metrics.SERVICE_CHANGES.add()
        self._mark(key_of(change.object))

    def _on_slice(self, change: Change[EndpointSlice]) -> None:
        metrics.ENDPOINT_CHANGES.add()
        for slice in (change.old, change.new):
            if slice is not None:
                self._mark(key_of_slice(slice))
        trigger = last_change(change)
        if trigger > self._started:  # What happened earlier is late for no fault of ours.
            self._triggers.append(trigger)

    def _on_node(self, change: Change[node_api.Node]) -> None:
        old, new = change.old, change.new
        own = new if new is not None and new.metadata.name == self._node_name else None
        if own is not None and self._state.move(own.metadata.labels.get(ZONE_LABEL, "")):
            for service in self._services.store.list():
                self._mark(key_of(service))
        self.is_eligible = self.is_eligible if own is None else is_eligible(own)
        # Nodes report their status all the time; only what routes are made of matters here.
        if old and new and old.spec == new.spec and old.status.addresses == new.status.addresses:
            return
        self._nodes_changed = True
        self._wake.set()

    def _mark(self, key: ObjectKey) -> None:
        self._dirty.add(key)
        metrics.SERVICES_PENDING.set(len(self._dirty))
        metrics.LAST_QUEUED.set(self._clock.now())
        self._wake.set()

    def _look_up(self, key: ObjectKey) -> tuple[Service | None, Sequence[EndpointSlice]]:
        slices = self._slices.store.by_index(BY_SERVICE, f"{key.namespace}/{key.name}")
        return self._services.store.get(key), slices

    # -- and go out ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the kernel right until cancelled; the rules stay when we go."""
        try:
            await self._run()
        finally:
            self._health_checks.close()

    async def _run(self) -> None:
        await self._informers.wait_synced()
        retry_s, check_at = RETRY_S_MIN, self._clock.monotonic() + CHECK_INTERVAL_S
        while True:
            self._wake.clear()
            try:
                began = self._clock.monotonic()
                if began >= check_at:
                    await self._check()
                    took_s = self._clock.monotonic() - began
                    check_at = began + max(CHECK_INTERVAL_S, took_s * CHECK_REST)
                await self.sync()
            except (RestoreError, NetworkError, OSError) as error:
                metrics.FAILURES.add()
                self._applied, self._nodes_changed = None, True
                self.last_error = str(error)
                log.error("could not bring the rules up to date", extra={"error": error, "retry_s": retry_s})
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)
                continue
            self.last_error, retry_s = None, RETRY_S_MIN
            self.right_at, self._right_at_monotonic = self._clock.now(), self._clock.monotonic()
            await self._clock.sleep(MIN_INTERVAL_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, check_at - self._clock.monotonic())):
                    await self._wake.wait()

    async def sync(self) -> None:
        """Bring network, rules and flows up to date.

        Raises:
            RestoreError, NetworkError: the kernel refused; what is dirty stays so.
        """
        if self._network is not None and self._nodes_changed:
            self._nodes_changed = False
            try:
                await self._network.sync(self._nodes.store.list())
            except BaseException:
                self._nodes_changed = True
                raise
        if not self._dirty and self._applied is not None:
            # Who had a port when it was last tried may be gone: a predecessor, for one.
            await self._health_checks.open()
            return
        started = self._clock.monotonic()
        dirty, self._dirty = self._dirty, set()
        triggers, self._triggers = self._triggers, deque(maxlen=TRIGGERS_MAX)
        is_full = self._applied is None
        try:
            self._state.update(dirty, self._look_up)
            wanted, served = self._state.ruleset(), self._state.ports()
            if self._applied is None:
                changes = replace_all(*await self._iptables.read(), wanted)
            else:
                changes = changed_chains(self._applied, wanted)
            # Should one portion fail, we no longer know what is there.
            self._applied = None
            for portion in split(changes, self._iptables.chains_per_call):
                await self._iptables.apply(render(portion))
        except BaseException:
            self._dirty |= dirty
            self._triggers.extendleft(triggers)
            if not is_full:
                metrics.PARTIAL_FAILURES.add()
            raise
        self._applied = wanted
        await self._health_checks.update(self._state.checks())
        # Rules first: a flow forgotten earlier could be made again by the old ones.
        await self._forget_flows(self._served, served)
        self._served = served
        took_s = self._clock.monotonic() - started
        for spread in (metrics.SYNC, metrics.FULL_SYNC if is_full else metrics.PARTIAL_SYNC):
            spread.of().observe(took_s)
        for trigger in triggers:
            metrics.LATENESS.of().observe(max(0.0, self._clock.now() - trigger))
        metrics.SERVED_PORTS.set(len(served))
        metrics.SERVICES_PENDING.set(len(self._dirty))
        metrics.LAST_SYNC.set(self._clock.now())
        for table in ("filter", "nat"):
            metrics.RULES.set(sum(map(len, wanted.table(table).values())), (table,))
        if changes:
            touched = sum(len(change.write) + len(change.edit) + len(change.remove) for change in changes)
            took_ms = round(took_s * 1e3)
            log.info("rules changed", extra={"ports": len(served), "chains": touched, "ms": took_ms})

    async def _forget_flows(self, old: Sequence[ServedPort], new: Sequence[ServedPort]) -> None:
        """Have no flow lead to an endpoint that is gone. What fails is tried again with the next sync."""
        fronts = fronts_of(new)
        try:
            if fronts != self._fronts:
                flows = await self._conntrack.udp_flows()
                await self._conntrack.forget(stale_flows(flows, self._fronts, fronts))
                self._fronts = fronts
            await self._conntrack.forget(unanswered_flows(old, new))
        except ConntrackError as error:
            log.error("clients may keep sending to endpoints that are gone", extra={"error": error})

    async def _check(self) -> None:
        """See that nobody took our rules or the network away; if so, the next sync replaces all."""
        self._nodes_changed = True
        if self._applied is not None and not is_whole(*await self._iptables.read(), self._applied):
            log.warning("rules of ours are gone from the kernel: writing them again")
            self._applied = None


def last_change(change: Change[EndpointSlice]) -> float:
    """Return when what made a slice change happened, in seconds since the epoch; 0 if it does not say so anew."""
    told = change.new.metadata.annotations.get(LAST_CHANGE, "") if change.new is not None else ""
    if not told or (change.old is not None and change.old.metadata.annotations.get(LAST_CHANGE) == told):
        return 0.0
    try:
        return timestamps.parse(told)
    except ValueError:
        return 0.0  # Anybody may write a slice.


def _index_by_service(slice: EndpointSlice) -> Sequence[str]:
    key = key_of_slice(slice)
    return [f"{key.namespace}/{key.name}"]

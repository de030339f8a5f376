"""A watch tells every change after its beginning once, in order, up to where it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from client.verbs import EventType, RawEvent
from tests.simulation.cluster import Cluster, Write
from tests.simulation.network import WatchRequest


class Watches:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._written: dict[str, list[int]] = defaultdict(list)
        """Revisions of all writes, by the kind's prefix in the store."""
        self._told: dict[WatchRequest, list[int]] = defaultdict(list)
        self._reached: dict[WatchRequest, int] = {}
        cluster.observers.append(self._observe)
        cluster.network.taps.append(self._tap)

    def _observe(self, write: Write) -> None:
        _, _, group, plural, _ = write.key.split("/", 4)
        self._written[f"{group}/{plural}"].append(write.revision)

    def _tap(self, watch: WatchRequest, batch: Sequence[RawEvent]) -> None:
        for event in batch:
            revision = int(event.resource_version)
            reached = self._reached.get(watch, watch.after)
            where = f"{watch.process}'s watch {watch.number} of {watch.address.plural}"
            if event.type is EventType.BOOKMARK:
                if revision < reached:
                    self._cluster.broken(f"{where}: a bookmark of {revision} after {reached}")
            else:
                if revision <= reached:
                    self._cluster.broken(f"{where}: an event of {revision} after {reached}")
                self._told[watch].append(revision)
            self._reached[watch] = max(reached, revision)

    async def sample(self) -> None:
        return

    async def finish(self) -> None:
        for watch, told in self._told.items():
            if watch.selectors:
                continue
            kind = f"{watch.address.group or 'core'}/{watch.address.plural}"
            end = self._reached[watch]
            due = [revision for revision in self._written[kind] if watch.after < revision <= end]
            missing = sorted(set(due) - set(told))
            assert told == due, f"{watch.process}'s watch {watch.number} of {kind} was not told of {missing}"

"""What the API server shows of a node's static pods: mirror pods, made, replaced and taken away as files come and go.

A mirror that somebody deletes is made again: the pod itself is its file's. One that shows an older version of the file
is replaced once the newer pod has begun; one without a pod goes when the last container has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from api.core import pod as pods
from api.core.node import Node as ApiNode
from api.core.pod import Pod
from api.core.pod_status import PodStatus
from api.core.static_pods import HASH, MIRROR, is_mirror, is_mirror_of
from api.errors import ApiError, Conflict, NotFound
from api.lister import Lister
from api.meta import ObjectMeta, OwnerReference
from api.resource import ObjectKey
from client.informer import Change
from client.verbs import Client, key_of
from component.clock import Clock

log = logging.getLogger(__name__)

RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Make:
    """Create a mirror."""

    mirror: Pod


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a mirror, if it is still this one."""

    key: ObjectKey
    uid: str


def plan(
    running: Mapping[ObjectKey, Pod], ending: Collection[ObjectKey], known: Iterable[Pod], node: ApiNode | None
) -> list[Make | Remove]:
    """Return what is to be done so that the API server shows exactly the static pods that run here. Pure.

    Args:
        running: static pods that have begun and are not to end.
        ending: names of those that have not quite ended: they stay to be seen.
        known: the pods of this node as the API server has them.
        node: this node's object, which owns the mirrors; None while it is not known.
    """
    actions: list[Make | Remove] = []
    shown: set[ObjectKey] = set()
    for pod in known:
        key = key_of(pod)
        shown.add(key)
        if not is_mirror(pod):
            continue
        static = running.get(key)
        is_current = static is not None and is_mirror_of(pod, static) and not pod.metadata.deletion_timestamp
        if not is_current and (static is not None or key not in ending):
            actions.append(Remove(key, pod.metadata.uid))
    if node is not None and node.metadata.uid and not node.metadata.deletion_timestamp:
        actions += [Make(mirror_of(static, node)) for key, static in running.items() if key not in shown]
    return actions


def mirror_of(static: Pod, node: ApiNode) -> Pod:
    """Return the mirror of a static pod, owned by its node: it goes when the node does."""
    told = static.metadata
    owner = OwnerReference(
        api_version="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid, controller=True
    )
    metadata = ObjectMeta(
        name=told.name,
        namespace=told.namespace,
        labels=told.labels,
        annotations={**told.annotations, MIRROR: told.annotations[HASH]},
        owner_references=[owner],
    )
    return msgspec.structs.replace(static, metadata=metadata, status=PodStatus())


class MirrorPods:
    """Keeps the mirrors of one node."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        known: Lister[Pod],
        node: Callable[[], ApiNode | None],
        on_mirror: Callable[[Pod], None],
    ) -> None:
        """Make it; `on_mirror` is told of the static pod of each mirror that is new or has changed."""
        self._client = client
        self._clock = clock
        self._known = known
        self._node = node
        self._on_mirror = on_mirror
        self._running: dict[ObjectKey, Pod] = {}
        self._ending: frozenset[ObjectKey] = frozenset()
        self._changed = asyncio.Event()

    def show(self, running: Mapping[ObjectKey, Pod], ending: Collection[ObjectKey]) -> None:
        """Take note of which static pods run, and which are about to have ended."""
        self._running, self._ending = dict(running), frozenset(ending)
        self._changed.set()

    def of(self, static: Pod) -> Pod | None:
        """Return the mirror that shows this version of a static pod, if there is one."""
        found = self._known.get(key_of(static))
        return found if found is not None and is_mirror_of(found, static) else None

    def note(self, change: Change[Pod]) -> None:
        """Take note of a change to a pod of this node at the API server."""
        static = self._running.get(key_of(change.object))
        if static is not None and change.new is not None and is_mirror_of(change.new, static):
            self._on_mirror(static)
        if static is not None or is_mirror(change.object):
            self._changed.set()

    async def run(self) -> None:
        """Keep them until cancelled; the node's pods must be known."""
        failures = 0
        while True:
            self._changed.clear()
            has_failed = False
            for action in plan(self._running, self._ending, self._known.list(), self._node()):
                try:
                    await self._carry_out(action)
                except ApiError as error:
                    has_failed = True
                    level = logging.WARNING if failures < 1 else logging.DEBUG
                    log.log(level, "mirror pod not brought up to date", extra={"error": error.message})
            failures = failures + 1 if has_failed else 0
            # Whether the node's own object is known by now is told by nobody.
            must_look = has_failed or (self._running and self._node() is None)
            try:
                async with asyncio.timeout(RETRY_S * min(max(failures, 1), 6) if must_look else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _carry_out(self, action: Make | Remove) -> None:
        match action:
            case Make(mirror):
                await self._client.create(pods.RESOURCE, mirror)
                log.info("mirror pod made", extra={"pod": key_of(mirror)})
            case Remove(key, uid):
                # Gone or another one by now: what is there is looked at when it is seen here.
                with contextlib.suppress(NotFound, Conflict):
                    await self._client.delete(pods.RESOURCE, key, grace_period_s=0, uid=uid)
                    log.info("mirror pod removed", extra={"pod": key})

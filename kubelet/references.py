"""What this node's pods refer to: ConfigMaps and Secrets, fetched when needed and followed while in use, and storage.

A node asks only for the objects its pods name, each by its own name, so a small cluster's node never holds a Secret
that is none of its business. Fetching is always a fresh read, so that a pod made right after its ConfigMap was
changed sees the change; following only says when to fetch again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from api.core import configmap, persistentvolume, persistentvolumeclaim, secret
from api.core.configmap import ConfigMap
from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.secret import Secret
from api.errors import NotFound
from api.resource import ObjectKey, Resource
from client.informer import Change, Informer
from client.verbs import Client
from component.clock import Clock
from component.supervise import keep_going

Subject = tuple[str, ObjectKey]
"""A plural, and which object of it."""


class References:
    """What the pods of one node refer to."""

    def __init__(self, client: Client, clock: Clock, rng: random.Random, on_change: Callable[[str], None]) -> None:
        """Make it; `on_change` is told the UID of each pod of which something it refers to changed."""
        self._client = client
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._users: dict[Subject, set[str]] = {}
        self._tasks: dict[Subject, asyncio.Task[None]] = {}

    async def config_map(self, key: ObjectKey) -> ConfigMap | None:
        """Return the ConfigMap as it is now, or None. Raises ApiError."""
        try:
            return await self._client.get(configmap.RESOURCE, key)
        except NotFound:
            return None

    async def secret(self, key: ObjectKey) -> Secret | None:
        """Return the Secret as it is now, or None. Raises ApiError."""
        try:
            return await self._client.get(secret.RESOURCE, key)
        except NotFound:
            return None

    async def claim(self, key: ObjectKey) -> PersistentVolumeClaim | None:
        """Return the claim as it is now, or None. Raises ApiError."""
        try:
            return await self._client.get(persistentvolumeclaim.RESOURCE, key)
        except NotFound:
            return None

    async def persistent_volume(self, name: str) -> PersistentVolume | None:
        """Return the volume as it is now, or None. Raises ApiError."""
        try:
            return await self._client.get(persistentvolume.RESOURCE, ObjectKey("", name))
        except NotFound:
            return None

    def follow(self, uid: str, config_maps: set[ObjectKey], secrets: set[ObjectKey]) -> None:
        """Tell of changes to exactly these objects on behalf of a pod, from now on; empty sets end it."""
        wanted: set[Subject] = {("configmaps", key) for key in config_maps} | {("secrets", key) for key in secrets}
        for subject in [s for s, users in self._users.items() if uid in users and s not in wanted]:
            self._users[subject].discard(uid)
            if not self._users[subject]:
                del self._users[subject]
                self._tasks.pop(subject).cancel()
        for subject in wanted:
            self._users.setdefault(subject, set()).add(uid)
            if subject not in self._tasks:
                self._tasks[subject] = asyncio.get_running_loop().create_task(
                    self._follow(subject), name=f"follow {subject[0]} {subject[1]}"
                )

    async def _follow(self, subject: Subject) -> None:
        plural, key = subject
        resource: Resource[Any] = configmap.RESOURCE if plural == "configmaps" else secret.RESOURCE
        informer: Informer[Any] = Informer(
            self._client,
            resource,
            clock=self._clock,
            rng=self._rng,
            namespace=key.namespace,
            field_selector=f"metadata.name={key.name}",
        )

        def tell(change: Change[Any]) -> None:
            for uid in sorted(self._users.get(subject, ())):
                self._on_change(uid)

        informer.add_handler(tell)
        await keep_going(f"following {plural} {key}", informer.run, self._clock)

    async def close(self) -> None:
        """Stop following everything."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

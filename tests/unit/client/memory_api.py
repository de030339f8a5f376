"""A transport that keeps objects in a dict: enough of an API server for unit tests of clients.

It knows versions, merge patches, preconditions, label-free lists, and watches with a bounded history. It knows
nothing of any kind: no defaulting, no validation, no finalizers beyond waiting for them to be gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from api.errors import AlreadyExists, ApiError, Conflict, Expired, NotFound
from client.verbs import Address, EventType, RawEvent, RawList, RawObject, ServedVersion


def merge(target: Any, patch: Any) -> Any:
    """Apply an RFC 7396 merge patch."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


class MemoryApi:
    """Objects by (group, plural, namespace, name)."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self.history: list[tuple[int, str, tuple[str, str, str, str], bytes]] = []
        self.compacted = 0
        self.calls: list[tuple[str, Address]] = []
        self.fail: Callable[[str, Address], ApiError | None] = lambda verb, address: None
        self._changed = asyncio.Event()
        self._broken = 0
        self._uid = 0

    def break_watches(self) -> None:
        """End every open watch."""
        self._broken += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def compact(self) -> None:
        """Forget the history."""
        self.compacted = self.version
        self.history.clear()

    def of(self, plural: str) -> list[dict[str, Any]]:
        """Return all objects of a kind in key order."""
        return [self.objects[key] for key in sorted(self.objects) if key[1] == plural]

    def _enter(self, verb: str, address: Address) -> None:
        self.calls.append((verb, address))
        error = self.fail(verb, address)
        if error is not None:
            raise error

    def _find(self, address: Address) -> tuple[tuple[str, str, str, str], dict[str, Any]]:
        key = (address.group, address.plural, address.namespace, address.name)
        if key not in self.objects:
            raise NotFound(f'{address.plural} "{address.name}" not found')
        return key, self.objects[key]

    def _write(self, type: str, key: tuple[str, str, str, str], obj: dict[str, Any]) -> RawObject:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        encoded = json.dumps(obj).encode()
        if type == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        self.history.append((self.version, type, key, encoded))
        self._changed.set()
        self._changed = asyncio.Event()
        return RawObject(encoded, str(self.version))

    async def get(self, address: Address, options: Mapping[str, str] = {}) -> RawObject:
        self._enter("get", address)
        _, obj = self._find(address)
        return RawObject(json.dumps(obj).encode(), obj["metadata"]["resourceVersion"])

    async def list(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> RawList:
        self._enter("list", address)
        items = [
            RawObject(json.dumps(obj).encode(), obj["metadata"]["resourceVersion"])
            for key, obj in sorted(self.objects.items())
            if key[:2] == (address.group, address.plural)
            and address.namespace in ("", key[2])
            and _selected(obj, field_selector)
        ]
        return RawList(items, str(self.version))

    async def create(self, address: Address, body: bytes) -> RawObject:
        self._enter("create", address)
        obj = json.loads(body)
        metadata = obj["metadata"]
        self._uid += 1
        if not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName']}{self._uid:05d}"
        key = (address.group, address.plural, metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise AlreadyExists(f'{address.plural} "{metadata["name"]}" already exists')
        metadata["uid"] = f"uid-{self._uid}"
        metadata.setdefault("creationTimestamp", "2024-01-01T00:00:00Z")
        metadata["generation"] = 1
        return self._write("ADDED", key, obj)

    async def update(self, address: Address, body: bytes) -> RawObject:
        self._enter("update", address)
        key, old = self._find(address)
        obj = json.loads(body)
        wanted = obj["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        return self._settle(key, old, obj)

    async def patch(self, address: Address, patch: bytes, content_type: str) -> RawObject:
        self._enter("patch", address)
        key, old = self._find(address)
        change = json.loads(patch)
        metadata = change.get("metadata", {})
        for field in ("resourceVersion", "uid"):
            if field in metadata and metadata[field] != old["metadata"].get(field):
                raise Conflict(f"the object's {field} differs")
        assert content_type == "application/merge-patch+json"
        return self._settle(key, old, merge(old, change))

    def _settle(self, key: tuple[str, str, str, str], old: dict[str, Any], new: dict[str, Any]) -> RawObject:
        if old.get("spec") != new.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self._write("DELETED", key, new)
        if new == old:
            return RawObject(json.dumps(old).encode(), old["metadata"]["resourceVersion"])
        return self._write("MODIFIED", key, new)

    async def delete(self, address: Address, options: bytes) -> RawObject:
        self._enter("delete", address)
        key, old = self._find(address)
        wanted = json.loads(options)
        preconditions = wanted.get("preconditions", {})
        for option, field in (("uid", "uid"), ("resourceVersion", "resourceVersion")):
            if option in preconditions and preconditions[option] != old["metadata"][field]:
                raise Conflict("the precondition failed")
        new = json.loads(json.dumps(old))
        finalizers = new["metadata"].setdefault("finalizers", [])
        name = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(wanted.get("propagationPolicy", ""))
        if name and name not in finalizers:
            finalizers.append(name)
        if finalizers:
            new["metadata"].setdefault("deletionTimestamp", "2024-01-01T00:00:00Z")
            return self._write("MODIFIED", key, new)
        return self._write("DELETED", key, new)

    async def watch(
        self, address: Address, *, label_selector: str, field_selector: str, resource_version: str
    ) -> AsyncIterator[Sequence[RawEvent]]:
        self._enter("watch", address)
        version, broken = int(resource_version), self._broken
        if version < self.compacted:
            raise Expired("too old resource version")
        while broken == self._broken:
            changed = self._changed
            batch = []
            for at, type, key, encoded in self.history:
                if at <= version or key[:2] != (address.group, address.plural):
                    continue
                if address.namespace in ("", key[2]) and _selected(json.loads(encoded), field_selector):
                    batch.append(RawEvent(EventType(type), encoded, str(at)))
            version = self.version
            # The bookmark is what tells a client that writes of other kinds have passed as well.
            yield [*batch, RawEvent(EventType.BOOKMARK, b"", str(version))]
            await changed.wait()

    async def discover(self) -> Sequence[ServedVersion]:
        return []

    async def close(self) -> None:
        pass


def _selected(obj: dict[str, Any], field_selector: str) -> bool:
    if not field_selector:
        return True
    path, _, value = field_selector.partition("=")
    found: Any = obj
    for step in path.split("."):
        found = found.get(step, "") if isinstance(found, dict) else ""
    return str(found) == value

from __future__ import annotations

import msgspec

from api.core import pod as pods
from api.core.pod import Pod
from api.resource import ObjectKey
from client.informer import Change
from controllers.freshness import FreshnessGate

OWNER = ObjectKey("default", "web")
POD = ObjectKey("default", "a")


def pod(uid: str = "u", deleted: bool = False) -> Pod:
    metadata = {"name": "a", "namespace": "default", "uid": uid}
    if deleted:
        metadata["deletionTimestamp"] = "2024-01-01T00:00:00Z"
    return msgspec.convert({"metadata": metadata}, Pod)


def test_a_key_is_held_until_its_last_write_is_seen():
    gate = FreshnessGate()
    gate.wrote(OWNER, pods.RESOURCE, 10, reached=5)
    gate.wrote(OWNER, pods.RESOURCE, 12, reached=5)
    assert list(gate.advanced(pods.RESOURCE, 11)) == []
    assert not gate.is_fresh(OWNER)
    assert list(gate.advanced(pods.RESOURCE, 12)) == [OWNER]
    assert gate.is_fresh(OWNER)


def test_a_write_that_was_seen_before_it_returned_holds_nothing():
    gate = FreshnessGate()
    gate.wrote(OWNER, pods.RESOURCE, 10, reached=10)
    assert gate.is_fresh(OWNER)


def test_a_deletion_is_seen_when_the_object_is_gone_or_marked():
    for change in (Change(pod(), None), Change(pod(), pod(deleted=True))):
        gate = FreshnessGate()
        gate.deleted(OWNER, pods.RESOURCE, POD, "u")
        assert list(gate.changed(pods.RESOURCE, Change(pod(), pod()))) == []
        assert list(gate.changed(pods.RESOURCE, Change(pod("other"), None))) == []
        assert list(gate.changed(pods.RESOURCE, change)) == [OWNER]
        assert gate.is_fresh(OWNER)


def test_a_forgotten_key_is_fresh_and_comes_up_no_more():
    gate = FreshnessGate()
    gate.wrote(OWNER, pods.RESOURCE, 10, reached=5)
    gate.deleted(OWNER, pods.RESOURCE, POD, "u")
    gate.forget(OWNER)
    assert gate.is_fresh(OWNER)
    assert list(gate.advanced(pods.RESOURCE, 20)) == []
    assert list(gate.changed(pods.RESOURCE, Change(pod(), None))) == []

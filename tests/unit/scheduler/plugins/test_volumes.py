"""Pods and their volumes, through the cycle."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.persistentvolume import PersistentVolume
from api.core.persistentvolumeclaim import PersistentVolumeClaim
from api.core.volumes import EphemeralVolumeSource, PersistentVolumeClaimVolumeSource, Volume
from api.meta import OwnerReference
from api.storage.storageclass import StorageClass
from client.store import Store
from client.verbs import Client, RawObject
from component.clock import LoopClock
from scheduler.cycle import Placement, Unschedulable, schedule
from scheduler.framework import Context, NodeGivenUp
from scheduler.plugins.volume_binding import VolumeBinding
from scheduler.profile import DEFAULT
from scheduler.snapshot import NodeView, PodView, Snapshot, Surroundings, snapshot_of
from tests.builders import store
from tests.unit.scheduler.builders import node, pod


def volume(name: str, size: int = 1, *nodes: str, klass: str = "wait", **metadata: Any) -> PersistentVolume:
    spec: dict[str, Any] = {
        "capacity": {"storage": f"{size}Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": klass,
        "hostPath": {"path": "/d"},
    }
    if nodes:
        where = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [where]}]}}
    return msgspec.convert({"metadata": {"name": name, **metadata}, "spec": spec}, PersistentVolume)


def claim(
    name: str, size: int = 1, *, bound: str = "", klass: str = "wait", mode: str = "ReadWriteOnce", **metadata: Any
) -> PersistentVolumeClaim:
    if bound:
        metadata.setdefault("annotations", {})["pv.kubernetes.io/bind-completed"] = "yes"
    body = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **metadata},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": f"{size}Gi"}},
            "storageClassName": klass,
            "volumeName": bound,
        },
    }
    return msgspec.convert(body, PersistentVolumeClaim)


def storage_class(name: str, provisioner: str = "kubernetes.io/no-provisioner", mode: str = "WaitForFirstConsumer"):
    body = {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode}
    return msgspec.convert(body, StorageClass)


CLASSES = store(storage_class("wait"), storage_class("made", "example.com/p"), storage_class("now", mode="Immediate"))


def user(*claims: str, name: str = "a", priority: int | None = None, ephemeral: str = "") -> PodView:
    view = pod(name, priority=priority)
    view.pod.spec.volumes = [
        Volume(name=each, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=each)) for each in claims
    ]
    if ephemeral:
        view.pod.spec.volumes = [Volume(name=ephemeral, ephemeral=EphemeralVolumeSource())]
    return view


def around(claims: list[PersistentVolumeClaim], *volumes: PersistentVolume) -> Surroundings:
    return Surroundings(claims=store(*claims), volumes=store(*volumes), classes=CLASSES)


def outcome(wanted: PodView, surroundings: Surroundings, *nodes: NodeView) -> str:
    result = schedule(wanted, Snapshot(snapshot_of(*nodes).nodes, {}, surroundings), DEFAULT)
    if isinstance(result, Placement):
        return result.node_name
    return result.message.split(": ", 1)[1].split(" preemption: ")[0]


def test_a_bound_volume_holds_its_pod_to_the_nodes_that_reach_it() -> None:
    known = around([claim("c", bound="v")], volume("v", 1, "n2"))
    assert outcome(user("c"), known, node("n1"), node("n2")) == "n2"
    assert outcome(user("c"), known, node("n1")) == "1 node(s) had volume node affinity conflict."
    lost = around([claim("c", bound="gone")])
    assert outcome(user("c"), lost, node("n1")) == (
        "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)."
    )


def test_claims_that_keep_a_pod_from_everywhere_are_named() -> None:
    one = node("n1")
    assert outcome(user("c"), around([]), one) == 'persistentvolumeclaim "c" not found.'
    unbound = around([claim("c", klass="now")])
    assert outcome(user("c"), unbound, one) == "pod has unbound immediate PersistentVolumeClaims."
    going = around([claim("c", bound="v", deletionTimestamp="2026-01-01T00:00:00Z")])
    assert outcome(user("c"), going, one) == 'persistentvolumeclaim "c" is being deleted.'
    lost = claim("c", bound="v")
    lost.status.phase = "Lost"
    assert outcome(user("c"), around([lost]), one) == (
        'persistentvolumeclaim "c" bound to non-existent persistentvolume "v".'
    )


def test_an_ephemeral_volume_waits_for_its_own_claim() -> None:
    assert outcome(user(ephemeral="e"), around([]), node("n1")) == (
        'waiting for ephemeral volume controller to create the persistentvolumeclaim "a-e".'
    )
    foreign = claim("a-e", bound="v")
    assert outcome(user(ephemeral="e"), around([foreign], volume("v")), node("n1")) == (
        "PVC default/a-e was not created for pod default/a (pod is not owner)."
    )
    foreign.metadata.owner_references = [OwnerReference(kind="Pod", name="a", uid="uid-a", controller=True)]
    assert outcome(user(ephemeral="e"), around([foreign], volume("v")), node("n1")) == "n1"


def test_a_claim_that_waits_takes_its_pod_where_a_volume_is() -> None:
    known = around([claim("c", 2)], volume("small", 1, "n1"), volume("large", 3, "n2"))
    assert outcome(user("c"), known, node("n1"), node("n2")) == "n2"
    assert outcome(user("c"), known, node("n1")) == "1 node(s) didn't find available persistent volumes to bind."


def test_without_a_volume_one_is_made_where_the_class_has_a_provisioner() -> None:
    known = around([claim("c", klass="made")])
    assert outcome(user("c"), known, node("n1")) == "n1"
    held = around([claim("c", klass="made", annotations={"volume.kubernetes.io/selected-node": "n2"})])
    assert outcome(user("c"), held, node("n1"), node("n2")) == "n2"


def test_a_promised_volume_is_promised_to_nobody_else_but_to_its_claim() -> None:
    known = around([claim("c"), claim("d")], volume("v", 1, "n1"))
    known.promises.promise(claim("c"), "n1", volume("v", 1, "n1"))
    assert outcome(user("d"), known, node("n1")) == "1 node(s) didn't find available persistent volumes to bind."
    assert outcome(user("c", name="b"), known, node("n1"), node("n2")) == "n1"
    known.promises.end(claim("c"))
    assert outcome(user("d"), known, node("n1")) == "n1"


def test_a_claim_for_one_pod_alone_is_freed_by_preemption_only() -> None:
    known = around([claim("c", bound="v", mode="ReadWriteOncePod")], volume("v"))
    cluster = Snapshot(snapshot_of(node("n1", user("c", name="first", priority=0)), node("n2")).nodes, {}, known)
    low = schedule(user("c", name="low", priority=0), cluster, DEFAULT)
    assert isinstance(low, Unschedulable)
    text = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert f"2 {text}" in low.message
    high = schedule(user("c", name="high", priority=1), cluster, DEFAULT)
    assert isinstance(high, Unschedulable)
    assert (high.remedy.nominated, [each.key.name for each in high.remedy.victims]) == ("n1", ["first"])


def test_a_volume_of_a_zone_is_reached_from_that_zone() -> None:
    key = "topology.kubernetes.io/zone"
    known = around([claim("c", bound="v")], volume("v", labels={key: "a__b"}))
    assert outcome(user("c"), known, node("n1", labels={key: "c"}), node("n2", labels={key: "b"})) == "n2"
    assert outcome(user("c"), known, node("n1")) == "1 node(s) had no available volume zone."


_VOLUMES = st.lists(st.tuples(st.integers(1, 4), st.sets(st.sampled_from(["n1", "n2"]))), max_size=6)


@given(_VOLUMES, st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_what_is_decided_gives_each_claim_a_volume_of_its_own_that_will_do(held: Any, wanted: list[int]) -> None:
    volumes = [volume(f"v{i}", size, *sorted(nodes)) for i, (size, nodes) in enumerate(held)]
    claims = [claim(f"c{i}", size) for i, size in enumerate(wanted)]
    known = around(claims, *volumes)
    nodes = snapshot_of(node("n1"), node("n2"))
    view = user(*(each.metadata.name for each in claims))
    result = schedule(view, Snapshot(nodes.nodes, {}, known), DEFAULT)
    if isinstance(result, Unschedulable):
        return
    VolumeBinding().reserve(result.state, view, result.node_name)
    given = [known.promises.volume_of(each) for each in claims]
    assert len(set(given)) == len(claims)
    for each, name in zip(claims, given, strict=True):
        size, where = held[int(name[1:])]
        assert size >= int(each.spec.resources.requests["storage"][:-2])
        assert not where or result.node_name in where
    VolumeBinding().unreserve(result.state, view, result.node_name)
    assert not known.promises.volumes()


class Written:
    """A transport that binds what the scheduler sets aside, as the binder would."""

    def __init__(self, known: Surroundings, binds: bool = True) -> None:
        self.known = known
        self.binds = binds
        self.patches: list[tuple[str, Any]] = []

    async def patch(self, address: Any, patch: bytes, content_type: str) -> Any:
        change = msgspec.json.decode(patch)
        self.patches.append((address.name, change))
        if self.binds and "spec" in change:
            claims: Any = self.known.claims
            claims.put(claim(change["spec"]["claimRef"]["name"], bound=address.name))
        return RawObject(b"{}", "2")


def bind(known: Surroundings, transport: Any, view: PodView, *, pods: Store[Any] | None = None) -> None:
    result = schedule(view, Snapshot(snapshot_of(node("n1")).nodes, {}, known), DEFAULT)
    assert isinstance(result, Placement)
    nodes = store(node("n1").node)
    there = pods if pods is not None else store(view.pod)
    context = Context(Client(transport), known, there, nodes, LoopClock())
    VolumeBinding().reserve(result.state, view, "n1")
    asyncio.run(VolumeBinding().pre_bind(result.state, view, "n1", context))


def test_before_binding_the_volume_is_set_aside_and_the_claims_binding_awaited() -> None:
    known = around([claim("c")], volume("v", 1, "n1"))
    written = Written(known)
    bind(known, written, user("c"))
    ((name, change),) = written.patches
    assert (name, change["spec"]["claimRef"]["uid"]) == ("v", "uid-c")
    assert not known.promises.volumes()


def test_a_pod_that_is_gone_meanwhile_ends_the_wait() -> None:
    known = around([claim("c")], volume("v", 1, "n1"))
    gone: Store[Any] = Store()
    with pytest.raises(NodeGivenUp, match="the pod does not exist any more"):
        bind(known, Written(known, binds=False), user("c"), pods=gone)

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from api.core import node as nodes
from api.core import pod as pods
from api.core.node import Node, NodeAddress, NodeCondition
from api.core.pod import Pod
from api.core.static_pods import MIRROR
from api.errors import TooManyRequests
from api.meta import ObjectMeta, OwnerReference
from api.policy.eviction import Eviction
from api.resource import ObjectKey
from client.verbs import Client, ObjectList
from deploy.machine import drain
from deploy.report import CannotDo
from tests import builders


def pod(name: str, keeper: str = "ReplicaSet", **annotations: str) -> Pod:
    made = builders.pod(name)
    made.metadata.uid, made.metadata.annotations = f"uid-{name}", annotations
    if keeper:
        owner = OwnerReference(api_version="apps/v1", kind=keeper, name="x", uid="u", controller=True)
        made.metadata.owner_references = [owner]
    return made


class Cluster:
    """One node; a pod that is evicted is gone at once, after as many refusals as its budget says."""

    def __init__(self, *running: Pod, refusals: int = 0) -> None:
        self.node = Node(metadata=ObjectMeta(name="n1"))
        self.node.status.conditions = [NodeCondition(type="Ready", status="True")]
        self.pods = {each.metadata.name: each for each in running}
        self.refusals = refusals
        self.evicted: list[tuple[str, str]] = []

    async def get(self, resource: Any, key: ObjectKey) -> Any:
        assert resource is nodes.RESOURCE
        return self.node

    async def patch(self, resource: Any, key: ObjectKey, patch: dict[str, Any]) -> Any:
        assert resource is nodes.RESOURCE and key.name == "n1"
        self.node.spec.unschedulable = bool(patch["spec"]["unschedulable"])
        changed = {**self.node.metadata.annotations, **patch["metadata"]["annotations"]}
        self.node.metadata.annotations = {name: value for name, value in changed.items() if value is not None}

    async def list(self, resource: Any, *, field_selector: str) -> ObjectList[Pod]:
        assert resource is pods.RESOURCE and field_selector == "spec.nodeName=n1"
        return ObjectList(list(self.pods.values()), "1")

    async def create_subresource(self, resource: Any, key: ObjectKey, subresource: str, body: Eviction) -> bytes:
        assert subresource == "eviction" and self.node.spec.unschedulable
        assert body.delete_options is not None and body.delete_options.preconditions is not None
        if self.refusals:
            self.refusals -= 1
            raise TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.")
        self.evicted.append((key.name, body.delete_options.preconditions.uid or ""))
        del self.pods[key.name]
        return b""


async def run(cluster: Cluster, *, timeout_s: float = 60, force: bool = False) -> list[str]:
    said: list[str] = []
    await drain.drain(cast(Client, cluster), "n1", timeout_s, said.append, force=force)
    return said


@pytest.mark.looptime
async def test_pods_are_evicted_and_those_that_belong_to_the_node_stay() -> None:
    mirror = pod("static", "Node", **{MIRROR: "x"})
    cluster = Cluster(pod("a"), pod("b"), pod("agent", "DaemonSet"), mirror)
    said = await run(cluster)
    assert cluster.evicted == [("a", "uid-a"), ("b", "uid-b")]
    assert set(cluster.pods) == {"agent", "static"}
    assert said == ["2 pods to go elsewhere: default/a, default/b"]


@pytest.mark.looptime
async def test_a_budget_is_waited_for() -> None:
    cluster = Cluster(pod("a"), refusals=3)
    await run(cluster)
    assert cluster.evicted == [("a", "uid-a")]


@pytest.mark.looptime
async def test_what_a_budget_never_lets_go_is_named_with_the_reason_and_the_way_back() -> None:
    cluster = Cluster(pod("a"), refusals=1000)
    with pytest.raises(CannotDo, match=r"after 60 s default/a is still there: .*budget.*--force.*kubectl uncordon n1"):
        await run(cluster)
    assert cluster.node.spec.unschedulable


@pytest.mark.looptime
async def test_with_force_what_is_left_goes_with_the_machine() -> None:
    said = await run(Cluster(pod("a"), refusals=1000), force=True)
    assert "going on, as --force says" in said[-1]


@pytest.mark.looptime
async def test_a_pod_that_nobody_starts_again_is_evicted_only_with_force() -> None:
    cluster = Cluster(pod("a"), pod("alone", ""))
    with pytest.raises(CannotDo, match=r"nobody would start default/alone again.*--force"):
        await run(cluster)
    assert cluster.evicted == []
    await run(cluster, force=True)
    assert [name for name, _ in cluster.evicted] == ["a", "alone"]


@pytest.mark.looptime
async def test_a_finished_pod_is_missed_by_nobody() -> None:
    done = pod("done", "")
    done.status.phase = "Succeeded"
    cluster = Cluster(done)
    await run(cluster)
    assert cluster.evicted == [("done", "uid-done")]


async def test_a_node_that_once_left_takes_pods_again_and_one_cordoned_by_somebody_does_not() -> None:
    cluster = Cluster()
    await run(cluster)
    await drain.undo(cast(Client, cluster), "n1")
    assert not cluster.node.spec.unschedulable and cluster.node.metadata.annotations == {}
    cluster.node.spec.unschedulable = True
    await drain.undo(cast(Client, cluster), "n1")
    assert cluster.node.spec.unschedulable


async def test_a_node_is_lost_that_is_not_ready_or_whose_machine_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    cluster.node.status.addresses = [NodeAddress(type="InternalIP", address="127.0.0.1")]
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    monkeypatch.setattr(drain, "KUBELET_PORT", server.sockets[0].getsockname()[1])
    assert await drain.why_lost(cast(Client, cluster), "n1") == ""
    cluster.node.status.conditions[0].status = "Unknown"
    assert await drain.why_lost(cast(Client, cluster), "n1") == "node n1 is not Ready"
    cluster.node.status.conditions[0].status = "True"
    server.close()
    await server.wait_closed()
    assert "does not answer" in await drain.why_lost(cast(Client, cluster), "n1"), "Ready as of a while ago"


def test_a_sentence_names_a_few_pods_only() -> None:
    assert drain.named([pod(f"p{n}") for n in range(7)]).endswith("default/p4 and 2 more")

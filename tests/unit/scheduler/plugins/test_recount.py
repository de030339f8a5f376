"""Correcting what was counted gives what counting anew would give."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.core.placement import Affinity, PodAffinity, PodAffinityTerm, PodAntiAffinity
from api.meta import LabelSelector
from scheduler.framework import Code, CycleState
from scheduler.plugins.inter_pod_affinity import InterPodAffinity
from scheduler.plugins.pod_topology_spread import PodTopologySpread
from scheduler.snapshot import NodeView, PodView, snapshot_of
from tests.unit.scheduler.builders import node, pod, spread

_KINDS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=4)


def term(app: str) -> PodAffinityTerm:
    return PodAffinityTerm(topology_key="zone", label_selector=LabelSelector(match_labels={"app": app}))


def affinity(near: str = "", far: str = "") -> Affinity:
    return Affinity(
        pod_affinity=PodAffinity([term(near)]) if near else None,
        pod_anti_affinity=PodAntiAffinity([term(far)]) if far else None,
    )


def filled(name: str, zone: str, kinds: list[tuple[str, bool]], tag: str = "") -> NodeView:
    pods = [
        pod(f"{name}{tag}-{i}", labels={"app": app}, affinity=affinity(far="a") if shy else None)
        for i, (app, shy) in enumerate(kinds)
    ]
    return node(name, *pods, labels={"zone": zone})


def verdicts(plugin: Any, state: CycleState, code: Code, wanted: PodView, nodes: list[NodeView]) -> list[Any]:
    return [code is Code.SKIP or plugin.filter(state, wanted, each) for each in nodes]


@given(_KINDS, _KINDS, _KINDS, st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a", "b"]))
def test_what_is_corrected_is_what_would_be_counted(one: Any, other: Any, instead: Any, near: str, far: str) -> None:
    wanted = pod(
        "x", labels={"app": "a"}, affinity=affinity(near, far), spread=[spread("zone", skew=1, labels={"app": "a"})]
    )
    before, stays = filled("n1", "z1", one), filled("n2", "z2", other)
    after = filled("n1", "z1", instead, tag="new")
    for plugin in (InterPodAffinity(), PodTopologySpread()):
        state, anew = CycleState(), CycleState()
        plugin.pre_filter(state, wanted, snapshot_of(before, stays))
        corrected = plugin.recount(state, wanted, before, after)
        counted = plugin.pre_filter(anew, wanted, snapshot_of(after, stays))
        assert corrected.code is counted.code
        nodes = [after, stays]
        assert verdicts(plugin, state, corrected.code, wanted, nodes) == verdicts(
            plugin, anew, counted.code, wanted, nodes
        )

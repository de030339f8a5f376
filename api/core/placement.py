"""Where pods go: affinity to nodes and to other pods, tolerations of taints, and spreading over places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from api.core.references import NodeSelector, NodeSelectorTerm
from api.meta import LabelSelector, LabelSelectorRequirement
from api.schema import Int32, Int64, Struct, always, field, wire


class TopologySpreadConstraint(Struct):
    """How evenly matching pods must spread over zones, nodes or other domains.

    Attributes:
        max_skew: By how many pods one place may have more than the one with the fewest; at least 1.
        topology_key: The label of nodes whose value names the place, such as topology.kubernetes.io/zone; nodes without
            it are left out.
        when_unsatisfiable: DoNotSchedule lets the pod wait until it fits, ScheduleAnyway only prefers nodes that keep
            to it.
        label_selector: Which pods of the namespace are counted.
        min_domains: Below how many places the fewest counts as 0, so that pods wait for more places; 1 by default. Only
            with DoNotSchedule.
        node_affinity_policy: Whether only places on nodes that the pod's nodeAffinity and nodeSelector allow count:
            Honor (the default) or Ignore.
        node_taints_policy: Whether nodes count whose taints the pod does not bear: Ignore (the default) counts them,
            Honor does not.
        match_label_keys: Labels whose values are taken from the pod itself and added to labelSelector, such as
            pod-template-hash to spread each revision by itself.
    """

    max_skew: Annotated[Int32, wire(1, required=True)] = always(0)
    topology_key: Annotated[str, wire(2, required=True)] = always("")
    when_unsatisfiable: Annotated[str, wire(3, required=True)] = always("")
    label_selector: Annotated[LabelSelector | None, wire(4)] = None
    min_domains: Annotated[Int32 | None, wire(5)] = None
    node_affinity_policy: Annotated[str | None, wire(6)] = None
    node_taints_policy: Annotated[str | None, wire(7)] = None
    match_label_keys: Annotated[list[str], wire(8, list_type="atomic")] = []


class Toleration(Struct):
    """Which taints of nodes a pod bears, and for how long.

    Attributes:
        key: The taint's key; empty, with the operator Exists, is every taint.
        operator: Equal (the default) also compares the value; Exists does not.
        value: The taint's value, for Equal; empty for Exists.
        effect: The effect that is borne: NoSchedule, PreferNoSchedule or NoExecute; empty is all of them.
        toleration_seconds: For NoExecute: how many seconds the pod may stay once the taint is there; unset, for ever. 0
            or less evicts at once.
    """

    key: Annotated[str, wire(1)] = ""
    operator: Annotated[str, wire(2)] = ""
    value: Annotated[str, wire(3)] = ""
    effect: Annotated[str, wire(4)] = ""
    toleration_seconds: Annotated[Int64 | None, wire(5)] = None


class PodAntiAffinity(Struct):
    """Away from which other pods a pod must or would rather be.

    Attributes:
        required_during_scheduling_ignored_during_execution: Pods that must not be near; if any term is not met, the pod
            waits.
        preferred_during_scheduling_ignored_during_execution: Pods that it is better to be away from: each node loses
            the weights of terms whose pods it is near.
    """

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], wire(1, list_type="atomic")
    ] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedPodAffinityTerm], wire(2, list_type="atomic")
    ] = []


class PodAffinityTerm(Struct):
    """Other pods, by labels and namespaces, and what is near: nodes whose label `topologyKey` has the same value.

    Attributes:
        label_selector: Which pods, by their labels; unset matches none.
        namespaces: Namespaces in which they are looked for; with neither this nor namespaceSelector, the pod's own.
        topology_key: The label of nodes that says what is near, such as kubernetes.io/hostname or
            topology.kubernetes.io/zone.
        namespace_selector: More namespaces, by their labels; an empty selector is all of them.
        match_label_keys: Labels whose values are taken from the pod itself and must be equal in the others, such as
            pod-template-hash.
        mismatch_label_keys: Labels whose values are taken from the pod itself and must be different in the others.
    """

    label_selector: Annotated[LabelSelector | None, wire(1)] = None
    namespaces: Annotated[list[str], wire(2, list_type="atomic")] = []
    topology_key: Annotated[str, wire(3, required=True)] = always("")
    namespace_selector: Annotated[LabelSelector | None, wire(4)] = None
    match_label_keys: Annotated[list[str], wire(5, list_type="atomic")] = []
    mismatch_label_keys: Annotated[list[str], wire(6, list_type="atomic")] = []


class WeightedPodAffinityTerm(Struct):
    """Pods to be near or far from if possible, and how much that counts.

    Attributes:
        weight: How much it counts beside others, 1 to 100.
        pod_affinity_term: The pods, and what is near.
    """

    weight: Annotated[Int32, wire(1, required=True)] = always(0)
    pod_affinity_term: Annotated[PodAffinityTerm, wire(2, required=True)] = field(default_factory=PodAffinityTerm)


class PodAffinity(Struct):
    """Near which other pods a pod must or would rather be.

    Attributes:
        required_during_scheduling_ignored_during_execution: Pods that must be near; each term must be met, or the pod
            waits.
        preferred_during_scheduling_ignored_during_execution: Pods that it is better to be near: each node gets the sum
            of the weights of terms that it meets.
    """

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], wire(1, list_type="atomic")
    ] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedPodAffinityTerm], wire(2, list_type="atomic")
    ] = []


class PreferredSchedulingTerm(Struct):
    """Nodes that are preferred, and how much that counts.

    Attributes:
        weight: How much it counts beside others, 1 to 100.
        preference: The nodes that are preferred; an empty term prefers none.
    """

    weight: Annotated[Int32, wire(1, required=True)] = always(0)
    preference: Annotated[NodeSelectorTerm, wire(2, required=True)] = field(default_factory=NodeSelectorTerm)


class NodeAffinity(Struct):
    """Which nodes a pod must or would rather be on. Only looked at when the pod is scheduled: later changes of labels
    move nothing.

    Attributes:
        required_during_scheduling_ignored_during_execution: Which nodes will do; without one of them the pod waits.
        preferred_during_scheduling_ignored_during_execution: Which nodes are better: each gets the sum of the weights
            of terms that it meets, and more is better.
    """

    required_during_scheduling_ignored_during_execution: Annotated[NodeSelector | None, wire(1)] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredSchedulingTerm], wire(2, list_type="atomic")
    ] = []


class Affinity(Struct):
    """Where a pod must be or would rather be, by labels of nodes and of pods that are there.

    Attributes:
        node_affinity: By what nodes are.
        pod_affinity: Towards other pods.
        pod_anti_affinity: Away from other pods.
    """

    node_affinity: Annotated[NodeAffinity | None, wire(1)] = None
    pod_affinity: Annotated[PodAffinity | None, wire(2)] = None
    pod_anti_affinity: Annotated[PodAntiAffinity | None, wire(3)] = None


def select_by_label_keys(affinity: Affinity, labels: Mapping[str, str]) -> None:
    """Write into each term's selector what its label keys mean for a pod with `labels` (KEP-3633).

    So that whoever reads the pod needs to know of selectors only. A key that the pod has no label of means nothing, and
    without a selector a term selects no pod at all.
    """
    for chosen in (affinity.pod_affinity, affinity.pod_anti_affinity):
        if chosen is None:
            continue
        preferred = chosen.preferred_during_scheduling_ignored_during_execution
        for term in (
            *chosen.required_during_scheduling_ignored_during_execution,
            *(wish.pod_affinity_term for wish in preferred),
        ):
            if term.label_selector is None:
                continue
            for operator, keys in (("In", term.match_label_keys), ("NotIn", term.mismatch_label_keys)):
                term.label_selector.match_expressions = [
                    *term.label_selector.match_expressions,
                    *(
                        LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]])
                        for key in keys
                        if key in labels
                    ),
                ]

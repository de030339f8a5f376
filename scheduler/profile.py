"""Which plugins run, in which order, with which weights.

The order is upstream's: a node is rejected by the first filter that objects, so the order decides which reason a user
reads. Pods choose a profile by spec.schedulerName.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from scheduler.framework import (
    Bind,
    Filter,
    Plugin,
    PostFilter,
    PreBind,
    PreFilter,
    PreScore,
    Reserve,
    Score,
)
from scheduler.plugins.default_preemption import DefaultPreemption
from scheduler.plugins.image_locality import ImageLocality
from scheduler.plugins.inter_pod_affinity import InterPodAffinity
from scheduler.plugins.node_affinity import NodeAffinity
from scheduler.plugins.node_name import NodeName
from scheduler.plugins.node_ports import NodePorts
from scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from scheduler.plugins.node_resources_fit import NodeResourcesFit
from scheduler.plugins.node_unschedulable import NodeUnschedulable
from scheduler.plugins.pod_topology_spread import PodTopologySpread
from scheduler.plugins.taint_toleration import TaintToleration
from scheduler.plugins.volume_binding import VolumeBinding
from scheduler.plugins.volume_restrictions import VolumeRestrictions
from scheduler.plugins.volume_zone import VolumeZone


@dataclass(frozen=True)
class Profile:
    """A scheduler, as pods name it: plugins in order, each with the weight of its score."""

    scheduler_name: str
    plugins: Sequence[tuple[Plugin, int]]

    @cached_property
    def pre_filters(self) -> Sequence[tuple[Plugin, PreFilter]]:
        """Those that look at the pod first."""
        return [(plugin, plugin) for plugin, _ in self.plugins if isinstance(plugin, PreFilter)]

    @cached_property
    def filters(self) -> Sequence[tuple[Plugin, Filter]]:
        """Those that reject nodes."""
        return [(plugin, plugin) for plugin, _ in self.plugins if isinstance(plugin, Filter)]

    @cached_property
    def post_filters(self) -> Sequence[tuple[Plugin, PostFilter]]:
        """Those asked when no node is left."""
        return [(plugin, plugin) for plugin, _ in self.plugins if isinstance(plugin, PostFilter)]

    @cached_property
    def pre_scores(self) -> Sequence[tuple[Plugin, PreScore]]:
        """Those that look at all feasible nodes before scoring."""
        return [(plugin, plugin) for plugin, _ in self.plugins if isinstance(plugin, PreScore)]

    @cached_property
    def scores(self) -> Sequence[tuple[Plugin, Score, int]]:
        """Those that rank nodes, with weights."""
        return [(plugin, plugin, weight) for plugin, weight in self.plugins if isinstance(plugin, Score)]

    @cached_property
    def reserves(self) -> Sequence[Reserve]:
        """Those told of assumed pods."""
        return [plugin for plugin, _ in self.plugins if isinstance(plugin, Reserve)]

    @cached_property
    def pre_binds(self) -> Sequence[tuple[Plugin, PreBind]]:
        """Those with work to do before binding."""
        return [(plugin, plugin) for plugin, _ in self.plugins if isinstance(plugin, PreBind)]

    @cached_property
    def binds(self) -> Sequence[Bind]:
        """Those that bind in place of the scheduler itself."""
        return [plugin for plugin, _ in self.plugins if isinstance(plugin, Bind)]


DEFAULT = Profile(
    "default-scheduler",
    (
        (NodeUnschedulable(), 0),
        (NodeName(), 0),
        (TaintToleration(), 3),
        (NodeAffinity(), 2),
        (NodePorts(), 0),
        (NodeResourcesFit(), 1),
        (VolumeRestrictions(), 0),
        (VolumeBinding(), 0),
        (VolumeZone(), 0),
        (PodTopologySpread(), 2),
        (InterPodAffinity(), 2),
        (DefaultPreemption(), 0),
        (NodeResourcesBalancedAllocation(), 1),
        (ImageLocality(), 1),
    ),
)
"""The profile of pods that name no scheduler, with upstream's order and weights."""

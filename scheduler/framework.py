"""What a scheduling plugin is: its extension points, its answers, and the memory of one cycle.

One pod at a time goes through: PreFilter (once), Filter (per node), then PostFilter if no node is left; else PreScore
(once), Score (per node), Reserve, PreBind and Bind. A plugin implements what it needs and keeps nothing on itself:
what it works out for a pod goes to `CycleState`. KEP-624 names these points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any, Protocol, TypeVar, runtime_checkable

from api.core.node import Node
from api.core.pod import Pod
from api.lister import Lister
from client.verbs import Client
from component.clock import Clock
from scheduler.snapshot import NodeView, PodView, Snapshot, Surroundings

T = TypeVar("T")

SCORE_MAX = 100
"""Scores of one plugin lie in 0..SCORE_MAX before its weight."""


class Code(Enum):
    """What a plugin says of a pod, or of a pod on a node."""

    SUCCESS = auto()
    UNSCHEDULABLE = auto()
    """Not now; removing pods could help."""
    UNRESOLVABLE = auto()
    """Not here, whichever pods were removed."""
    SKIP = auto()
    """From PreFilter and PreScore: this plugin has nothing to say about this pod; leave its next point out."""


@dataclass(frozen=True, slots=True)
class Status:
    """A plugin's answer; reasons are sentences that users read."""

    code: Code
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remedy:
    """What PostFilter makes of a pod that fits nowhere."""

    message: str = ""
    """Ends the pod's message; empty when there is something to do."""
    nominated: str | None = None
    """The node where room is made; empty: none, and an earlier nomination is void; None: as before."""
    victims: tuple[PodView, ...] = ()
    """Who is to leave that node, the most important first."""


SUCCESS = Status(Code.SUCCESS)
SKIP = Status(Code.SKIP)


def unschedulable(*reasons: str) -> Status:
    """Return a rejection that fewer pods on the node could lift."""
    return Status(Code.UNSCHEDULABLE, reasons)


def unresolvable(*reasons: str) -> Status:
    """Return a rejection that stands as long as the node and the pod are what they are."""
    return Status(Code.UNRESOLVABLE, reasons)


class ClusterEvent(Flag):
    """What happened, in the terms by which plugins say what could let a rejected pod in."""

    NODE_ADDED = auto()
    NODE_ALLOCATABLE = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    """Also spec.unschedulable."""
    POD_ASSIGNED = auto()
    """A pod got a node, or a pod that has one changed its labels."""
    POD_GONE = auto()
    """A pod that had a node, or for which room was made, was deleted or ended."""
    NAMESPACE_LABELS = auto()
    CLAIM = auto()
    """A PersistentVolumeClaim was made or changed."""
    VOLUME = auto()
    """A PersistentVolume was made or changed."""
    STORAGE_CLASS = auto()


ANY_EVENT = ~ClusterEvent(0)


class CycleState:
    """What plugins noted about one pod in one cycle, by the type of the note."""

    __slots__ = ("_notes",)

    def __init__(self) -> None:
        self._notes: dict[type, Any] = {}

    def put(self, note: object) -> None:
        """Keep `note`, in place of an earlier one of its type."""
        self._notes[type(note)] = note

    def copy(self) -> CycleState:
        """Return a state of its own with the same notes."""
        twin = CycleState()
        twin._notes = dict(self._notes)
        return twin

    def get(self, kind: type[T]) -> T:
        """Return the note of this type; a plugin asks only for what its earlier point has put there."""
        note: T = self._notes[kind]
        return note

    def find(self, kind: type[T]) -> T | None:
        """Return the note of this type, or None if the plugin was skipped."""
        return self._notes.get(kind)


class Plugin(Protocol):
    """A scheduling rule."""

    @property
    def name(self) -> str:
        """Upstream's name of the rule."""
        ...

    @property
    def helped_by(self) -> ClusterEvent:
        """Which events could let in a pod that this plugin rejected."""
        ...


@runtime_checkable
class PreFilter(Protocol):
    """Looks at the pod before any node; a rejection here rejects it on all of them."""

    def pre_filter(self, state: CycleState, pod: PodView, snapshot: Snapshot) -> Status: ...


@runtime_checkable
class CountsPods(PreFilter, Protocol):
    """Notes something about pods on other nodes: corrects it when preemption tries a node with other pods."""

    def recount(self, state: CycleState, pod: PodView, before: NodeView, after: NodeView) -> Status:
        """Put a new note, as `pre_filter` would if the node `before` were `after`; never change the old one.

        Without a note (`pre_filter` had nothing to say) only what is new on the node counts.
        """
        ...


@runtime_checkable
class Filter(Protocol):
    """Says whether the pod may run on the node."""

    def filter(self, state: CycleState, pod: PodView, node: NodeView) -> Status: ...


@runtime_checkable
class PostFilter(Protocol):
    """Called when no node is left: says what could be done, or why nothing can."""

    def post_filter(
        self, pod: PodView, snapshot: Snapshot, rejected: Mapping[str, Status], try_on: Callable[[NodeView], Status]
    ) -> Remedy:
        """Return what to do about it.

        Args:
            pod: what fits nowhere.
            snapshot: the cluster.
            rejected: each node's answer, by name.
            try_on: what all filters would say of the pod if a node of the snapshot were as the one given.
        """
        ...


@runtime_checkable
class PreScore(Protocol):
    """Looks at the feasible nodes once before each is scored."""

    def pre_score(
        self, state: CycleState, pod: PodView, snapshot: Snapshot, feasible: Mapping[str, NodeView]
    ) -> Status: ...


@runtime_checkable
class Score(Protocol):
    """Ranks feasible nodes."""

    def score(self, state: CycleState, pod: PodView, node: NodeView) -> int:
        """Return how well the pod fits here, in whatever scale `normalize` takes."""
        ...

    def normalize(self, state: CycleState, scores: Mapping[str, int]) -> Mapping[str, int]:
        """Return the scores by node in 0..SCORE_MAX, higher is better."""
        ...


@runtime_checkable
class Reserve(Protocol):
    """Told when the pod is assumed on a node, and when that is taken back. Must not fail."""

    def reserve(self, state: CycleState, pod: PodView, node_name: str) -> None: ...
    def unreserve(self, state: CycleState, pod: PodView, node_name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a PreBind may use."""

    client: Client
    around: Surroundings
    pods: Lister[Pod]
    nodes: Lister[Node]
    clock: Clock


class NodeGivenUp(Exception):
    """What must be done before a pod is bound cannot be done for this node; the message says why."""


@runtime_checkable
class PreBind(Protocol):
    """Does what must be done in the world before the pod is bound."""

    async def pre_bind(self, state: CycleState, pod: PodView, node_name: str, context: Context) -> None:
        """Return when it is done, which may take as long as it needs.

        Raises:
            NodeGivenUp, ApiError: it cannot be done; the pod is tried again from the beginning.
        """
        ...


@runtime_checkable
class Bind(Protocol):
    """Tells the API server where the pod goes; raises `api.errors.ApiError`."""

    async def bind(self, state: CycleState, pod: PodView, node_name: str) -> None: ...


def scale_scores(scores: Mapping[str, int], *, reverse: bool = False) -> Mapping[str, int]:
    """Return scores stretched so that the highest is SCORE_MAX; reversed, the lowest raw score is the best."""
    highest = max(scores.values(), default=0)
    if highest == 0:
        return dict.fromkeys(scores, SCORE_MAX if reverse else 0)
    scaled = {name: SCORE_MAX * score // highest for name, score in scores.items()}
    return {name: SCORE_MAX - score for name, score in scaled.items()} if reverse else scaled


def count_reasons(statuses: Iterable[Status]) -> str:
    """Return `1 Insufficient cpu, 2 node(s) ...`: each reason with the number of nodes that had it, in text order."""
    counts = Counter(reason for status in statuses for reason in status.reasons)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))

"""From what kubelets say to what is used: samples, and the rates between two of them. Pure.

A kubelet tells CPU time since a container's start, so what is used a second is the difference of two samples. A
container that is too young for two is measured from its start, once it has run for ten seconds. The form is
Prometheus' text; the names are KEP-727's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

FRESH_S: Final = 10.0
"""How long a container must have run before its CPU time since the start says anything."""
OLD_S: Final = 90.0
"""A node that was not heard of for so long is not told of any more."""

_LINE: Final = re.compile(r"(?P<name>[a-z_]+)(\{(?P<labels>.*)\})? (?P<value>[0-9.eE+-]+|NaN)( (?P<at>\d+))?")
_LABEL: Final = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Container = tuple[str, str, str]
"""Namespace, pod, container."""


@dataclass(slots=True)
class Sample:
    """What one machine or container had used at a time."""

    at: float = 0.0
    """Seconds since the epoch."""
    cpu_s: float | None = None
    """CPU time since it started."""
    memory_bytes: int | None = None
    """The working set."""
    started: float = 0.0
    """Seconds since the epoch; 0: not known."""


@dataclass(slots=True)
class Scrape:
    """What one kubelet said at once."""

    node: Sample = field(default_factory=Sample)
    containers: dict[Container, Sample] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used, measured over a window that ended at a time."""

    cores: float
    memory_bytes: int
    at: float
    window_s: float


def parse(text: str, now: float) -> Scrape:
    """Return what /metrics/resource says; lines about anything else are passed over.

    Args:
        text: the page.
        now: when it was asked for, for samples that don't say when they were taken.
    """
    scrape = Scrape()
    for line in text.splitlines():
        if line.startswith("#") or not (found := _LINE.fullmatch(line)) or found["value"] == "NaN":
            continue
        subject, _, what = found["name"].partition("_")
        sample = scrape.node
        if subject == "container":
            labels = dict(_LABEL.findall(found["labels"] or ""))
            key = (labels.get("namespace", ""), labels.get("pod", ""), labels.get("container", ""))
            sample = scrape.containers.setdefault(key, Sample())
        elif subject != "node":
            continue
        at, value = int(found["at"]) / 1000 if found["at"] else now, float(found["value"])
        match what:
            case "cpu_usage_seconds_total":
                sample.cpu_s, sample.at = value, at
            case "memory_working_set_bytes":
                sample.memory_bytes = int(value)
                sample.at = sample.at or at
            case "start_time_seconds":
                sample.started = value
    return scrape


class Samples:
    """The last two samples of everything."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[Scrape | None, Scrape]] = {}

    def add(self, node: str, scrape: Scrape) -> None:
        """Take note of what a node's kubelet said."""
        _, last = self._nodes.get(node, (None, None))
        if last is None or scrape.node.at > last.node.at:
            self._nodes[node] = (last, scrape)

    def keep(self, nodes: Iterable[str], now: float) -> None:
        """Forget the nodes that are gone, and those that fell silent."""
        known = set(nodes)
        self._nodes = {
            name: pair for name, pair in self._nodes.items() if name in known and now - pair[1].node.at < OLD_S
        }

    def of_nodes(self) -> dict[str, Usage]:
        """Return what each node uses, by name."""
        pairs = {name: (before.node if before else None, now.node) for name, (before, now) in self._nodes.items()}
        rates = {name: _rate(*pair) for name, pair in pairs.items()}
        return {name: usage for name, usage in rates.items() if usage is not None}

    def of_pods(self) -> dict[tuple[str, str], dict[str, Usage]]:
        """Return what each container uses, by namespace and pod; pods of which not all can be told are left out."""
        found: dict[tuple[str, str], dict[str, Usage]] = {}
        untold: set[tuple[str, str]] = set()
        for before, now in self._nodes.values():
            old: Mapping[Container, Sample] = before.containers if before is not None else {}
            for key, sample in now.containers.items():
                usage = _rate(old.get(key), sample)
                if usage is None:
                    untold.add(key[:2])
                else:
                    found.setdefault(key[:2], {})[key[2]] = usage
        return {pod: containers for pod, containers in found.items() if pod not in untold}


def _rate(before: Sample | None, now: Sample) -> Usage | None:
    """Return what was used a second between two samples; None where they don't tell."""
    if now.cpu_s is None or now.memory_bytes is None:
        return None
    since, spent = 0.0, 0.0
    if before is not None and before.cpu_s is not None and now.started <= before.at:
        since, spent = before.at, before.cpu_s
    elif now.started and now.at - now.started >= FRESH_S:
        since = now.started
    if not since or now.at <= since or now.cpu_s < spent:
        return None
    return Usage((now.cpu_s - spent) / (now.at - since), now.memory_bytes, now.at, now.at - since)

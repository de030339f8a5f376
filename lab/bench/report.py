"""Figures as every measurement gives them: samples with median and spread, on a machine that is named."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured several times."""

    name: str
    unit: str
    samples: Sequence[float]

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)

    def percentile(self, share: float) -> float:
        """Return the sample below which `share` (0..1) of them lie; the nearest one there is."""
        ranked = sorted(self.samples)
        return ranked[min(len(ranked) - 1, round(share * (len(ranked) - 1)))]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.samples),
            "p90": self.percentile(0.9),
            "max": max(self.samples),
            "samples": list(self.samples),
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is held against: it must stay under the floor, and would like to be under the aim."""

    figure: str
    floor: float
    aim: float

    def verdict(self, value: float) -> str:
        """Return `aim`, `floor` or `missed`."""
        return "aim" if value <= self.aim else "floor" if value <= self.floor else "missed"


@dataclass(frozen=True, slots=True)
class Report:
    """A measurement's outcome."""

    title: str
    figures: Sequence[Figure]
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was run: rounds, nodes, image."""

    def verdicts(self) -> list[dict[str, Any]]:
        """Return each goal with the median it is held against."""
        medians = {figure.name: figure.median for figure in self.figures}
        return [
            {
                "figure": goal.figure,
                "median": medians[goal.figure],
                "floor": goal.floor,
                "aim": goal.aim,
                "reached": goal.verdict(medians[goal.figure]),
            }
            for goal in self.goals
            if goal.figure in medians
        ]


def machine() -> dict[str, Any]:
    """Describe this machine, its load before the measurement included: figures travel only with it."""
    memory = _proc_value(Path("/proc/meminfo"), "MemTotal")
    return {
        "cpu": _proc_value(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{int(memory.split()[0]) / 2**20:.1f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def show(report: Report, on: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a report; `on` is what `machine` said before the measurement."""
    if as_json:
        shown: dict[str, Any] = {"title": report.title, "machine": dict(on), "facts": dict(report.facts)}
        shown |= {"figures": [figure.to_json() for figure in report.figures]}
        shown |= {"goals": report.verdicts(), "notes": list(report.notes)}
        print(json.dumps(shown, indent=2))
        return
    out = Console(highlight=False)
    out.print(f"[bold]{report.title}[/]")
    out.print("[dim]" + "  ".join(f"{key} {value}" for key, value in {**on, **report.facts}.items()) + "[/]")
    table = Table(box=None, header_style="", pad_edge=False)
    table.add_column("FIGURE")
    for heading in ("MEDIAN", "MIN", "P90", "MAX", "SAMPLES"):
        table.add_column(heading, justify="right")
    table.add_column("UNIT")
    for figure in report.figures:
        numbers = (figure.median, min(figure.samples), figure.percentile(0.9), max(figure.samples))
        table.add_row(figure.name, *(f"{value:.4g}" for value in numbers), str(len(figure.samples)), figure.unit)
    out.print(table)
    for each in report.verdicts():
        color = {"aim": "green", "floor": "yellow", "missed": "red"}[each["reached"]]
        out.print(
            f"[{color}]{each['reached']:<6}[/] {each['figure']}: {each['median']:.4g} "
            f"(floor {each['floor']:.4g}, aim {each['aim']:.4g})"
        )
    for note in report.notes:
        out.print(f"[dim]{note}[/]")


def _proc_value(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")

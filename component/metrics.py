"""What a process tells of itself, in Prometheus' text form: a dictionary's addition an event, the rest at the scrape.

An owner keeps counters (`Tally`), histograms (`Spread`) and values that it sets (`Level`) as plain attributes and adds
to them from its event loop alone; what can be read on the spot is a `Gauge`. prometheus_client takes a lock and about
three microseconds for every event, and 5 MiB a process (decision 100). Exposition format: Prometheus documentation,
"Exposition formats".
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Final, Literal, Protocol, TypeVar

Labels = tuple[str, ...]
F = TypeVar("F", bound="Family")
DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Family(Protocol):
    """A metric with all its series."""

    def render(self) -> Iterable[str]:
        """Yield the lines that a scrape shows."""
        ...


class Tally:
    """A counter: `tally.add(("get", "200"))`."""

    __slots__ = ("_help", "_labels", "_name", "values")
    KIND: ClassVar = "counter"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self._name = name
        self._help = help
        self._labels = tuple(labels)
        self.values: dict[Labels, float] = {} if labels else {(): 0}
        """By the labels' values, in order. What has no labels and never happened is a zero, not a gap."""

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count."""
        values = self.values
        values[labels] = values.get(labels, 0) + amount

    def render(self) -> Iterable[str]:
        """Yield the lines that a scrape shows."""
        yield from _head(self._name, self._help, self.KIND)
        for labels, value in self.values.items():
            yield f"{self._name}{_pairs(self._labels, labels)} {_number(value)}"


class Level(Tally):
    """A gauge that its owner sets: `level.set(3, ("active",))`."""

    __slots__ = ()
    KIND = "gauge"

    def set(self, value: float, labels: Labels = ()) -> None:
        """Note what it is now."""
        self.values[labels] = value


class Gauge:
    """A value read at the scrape: `read` gives it, or each series' by its labels; one that only grows is a counter."""

    __slots__ = ("_help", "_kind", "_labels", "_name", "_read")

    def __init__(
        self,
        name: str,
        help: str,
        read: Callable[[], float | Mapping[Labels, float]],
        labels: Sequence[str] = (),
        kind: Literal["gauge", "counter"] = "gauge",
    ) -> None:
        self._kind = kind
        self._name = name
        self._help = help
        self._labels = tuple(labels)
        self._read = read

    def render(self) -> Iterable[str]:
        """Yield the lines that a scrape shows."""
        yield from _head(self._name, self._help, self._kind)
        found = self._read()
        by_labels = found if isinstance(found, Mapping) else {(): found}
        for labels, value in by_labels.items():
            yield f"{self._name}{_pairs(self._labels, labels)} {_number(value)}"


class Series:
    """One series of a `Spread`: keep it where the same labels come often."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, each on its own; the last is for what is over all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Count the seconds that what happens within takes, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)


class Spread:
    """A histogram: `spread.of(("get",)).observe(0.003)`."""

    __slots__ = ("_bounds", "_help", "_labels", "_name", "_series")

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), bounds: Sequence[float] = DURATIONS) -> None:
        self._name = name
        self._help = help
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[Labels, Series] = {} if labels else {(): Series(self._bounds)}

    def of(self, labels: Labels = ()) -> Series:
        """Return the series with those labels' values."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Series(self._bounds)
        return found

    def put(self, labels: Labels, series: Series) -> None:
        """Show a series that its owner keeps, which has this histogram's bounds."""
        self._series[labels] = series

    def render(self) -> Iterable[str]:
        """Yield the lines that a scrape shows."""
        yield from _head(self._name, self._help, "histogram")
        for labels, series in self._series.items():
            inner = _pairs(self._labels, labels)[1:-1]
            begin = f"{self._name}_bucket{{{inner}{',' if inner else ''}le="
            running = 0
            for bound, count in zip(self._bounds, series.counts, strict=False):
                running += count
                yield f'{begin}"{_number(bound)}"}} {running}'
            running += series.counts[-1]
            yield f'{begin}"+Inf"}} {running}'
            shown = f"{{{inner}}}" if inner else ""
            yield f"{self._name}_sum{shown} {_number(series.total)}"
            yield f"{self._name}_count{shown} {running}"


SHARED: Final[list[Family]] = []
"""What this process counts in places that know nothing of who shows it; `component.health` adds it to /metrics."""


def shared(family: F) -> F:
    """Show `family` in this process's /metrics, and return it."""
    SHARED.append(family)
    return family


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Return bounds of a histogram, each `factor` times the one before."""
    return tuple(first * factor**power for power in range(count))


def render(families: Iterable[Family]) -> bytes:
    """Return metrics as a scrape shows them."""
    lines = [line for family in families for line in family.render()]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _head(name: str, help: str, kind: str) -> Iterable[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _pairs(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escape(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)

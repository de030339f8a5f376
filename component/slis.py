"""How checks of health went, as /metrics/slis of every process shows it to those who reckon its availability.

Facts: "Kubernetes Component SLI Metrics" of the documentation, stable since 1.32.
"""

from __future__ import annotations

from typing import Final

from component.metrics import Level, Tally, render

_IS_WELL: Final = Level(
    "kubernetes_healthcheck", "This metric records the result of a single healthcheck.", ("name", "type")
)
_RESULTS: Final = Tally(
    "kubernetes_healthchecks_total", "This metric records the results of all healthcheck.", ("name", "status", "type")
)


def note(check: str, page: str, is_well: bool) -> None:
    """Count a check that was asked as a part of `page`: healthz, livez or readyz."""
    _IS_WELL.set(int(is_well), (check, page))
    _RESULTS.add((check, "success" if is_well else "error", page))


def shown() -> bytes:
    """Return all of it in Prometheus' text form."""
    return render([_IS_WELL, _RESULTS])

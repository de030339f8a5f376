"""What authorization counts, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from component.metrics import Family, Level, Spread, Tally

_PREFIX: Final = "apiserver_authorization"
_RELOADS: Final = f"{_PREFIX}_config_controller_automatic_reload"


class AuthorizationMetrics:
    """The counters of one API server."""

    def __init__(self) -> None:
        named, typed = ("name", "result"), ("type", "name")
        self.decisions = Tally(
            f"{_PREFIX}_decisions_total", "Questions by who allowed or denied them.", (*typed, "decision")
        )
        self.evaluations = Tally(f"{_PREFIX}_webhook_evaluations_total", "Questions to webhooks.", named)
        self.durations = Spread(f"{_PREFIX}_webhook_duration_seconds", "How long webhooks took.", named)
        self.failed_open = Tally(
            f"{_PREFIX}_webhook_evaluations_fail_open_total",
            "Webhooks that had no opinion since they could not be asked.", named,
        )  # fmt: skip
        self.condition_errors = Tally(
            f"{_PREFIX}_match_condition_evaluation_errors_total", "Match conditions that had no value.", typed
        )
        self.condition_exclusions = Tally(
            f"{_PREFIX}_match_condition_exclusions_total",
            "Webhooks not asked since a match condition was false.",
            typed,
        )
        self.condition_durations = Spread(
            f"{_PREFIX}_match_condition_evaluation_seconds", "How long match conditions took.", typed,
            (0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25),
        )  # fmt: skip
        by_server = ("status", "apiserver_id_hash")
        self.reloads = Tally(f"{_RELOADS}s_total", "How often the changed configuration was read again.", by_server)
        self.reloaded_at = Level(f"{_RELOADS}_last_timestamp_seconds", "When it was last read again.", by_server)

    def families(self) -> Iterable[Family]:
        """Return all of them."""
        yield from (self.decisions, self.evaluations, self.durations, self.failed_open)
        yield from (self.condition_errors, self.condition_exclusions, self.condition_durations)
        yield from (self.reloads, self.reloaded_at)

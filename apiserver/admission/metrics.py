"""What webhooks and policies are counted by, under upstream's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from component.metrics import Family, Spread, Tally

_DURATIONS: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
_CHECK: Final = ("policy", "policy_binding", "error_type", "enforcement_action")


class AdmissionMetrics:
    """The counters."""

    def __init__(self) -> None:
        self.durations = Spread(
            "apiserver_admission_webhook_admission_duration_seconds", "How long each webhook took.",
            ("name", "type", "operation", "rejected"), _DURATIONS,
        )  # fmt: skip
        self.plugins = plugin_durations()
        self.requests = Tally(
            "apiserver_admission_webhook_request_total", "Questions to webhooks.",
            ("name", "type", "operation", "code", "rejected"),
        )  # fmt: skip
        self.rejections = Tally(
            "apiserver_admission_webhook_rejection_count", "Requests that webhooks refused, or failed to answer.",
            ("name", "type", "operation", "error_type", "rejection_code"),
        )  # fmt: skip
        self.failed_open = Tally(
            "apiserver_admission_webhook_fail_open_count", "Requests let through as a webhook failed.", ("name", "type")
        )
        self.checks = Tally(
            "apiserver_validating_admission_policy_check_total", "Rules that were broken, and what followed.", _CHECK
        )
        self.check_durations = Spread(
            "apiserver_validating_admission_policy_check_duration_seconds", "How long those rules took.",
            _CHECK, (0.0000005, 0.001, 0.01, 0.1, 1.0),
        )  # fmt: skip

    def asked(self, name: str, kind: str, operation: str, *, took_s: float, code: int, failed: bool = False) -> None:
        """Count a question to a webhook.

        Args:
            name: the webhook's.
            kind: `admit` or `validating`.
            operation: CREATE, UPDATE, DELETE or CONNECT.
            took_s: how long it took.
            code: of the answer that the client gets for it; 200 if the webhook said yes.
            failed: whether it gave no answer.
        """
        rejected = "true" if code >= 400 else "false"
        self.durations.of((name, kind, operation, rejected)).observe(took_s)
        self.requests.add((name, kind, operation, str(code), rejected))
        if failed:
            self.rejections.add((name, kind, operation, "calling_webhook_error", "0"))
        elif code >= 400:
            self.rejections.add((name, kind, operation, "no_error", str(code)))

    def checked(self, policy: str, binding: str, error: str, action: str, took_s: float) -> None:
        """Count a rule that did not hold, or could not be evaluated.

        Args:
            policy: the policy's name.
            binding: the binding's.
            error: `no_error`, `compile_error`, `out_of_budget` or `invalid_error`.
            action: what followed: `deny`, `audit`, `warn`, or `allow` where what fails is let be.
            took_s: how long evaluating it took.
        """
        labels = (policy, binding, error, action)
        self.checks.add(labels)
        self.check_durations.of(labels).observe(took_s)

    def families(self) -> Iterable[Family]:
        """Return all of them."""
        return (
            self.plugins, self.durations, self.requests, self.rejections, self.failed_open, self.checks,
            self.check_durations,
        )  # fmt: skip


def plugin_durations() -> Spread:
    """Return the metric of single plugins, under upstream's name."""
    return Spread(
        "apiserver_admission_controller_admission_duration_seconds", "How long each admission plugin took.",
        ("name", "operation", "rejected", "type"), (0.005, 0.025, 0.1, 0.5, 1.0, 2.5),
    )  # fmt: skip

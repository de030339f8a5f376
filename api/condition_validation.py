"""What conditions in a status may be, where kinds use the common type (API conventions, "Typical status"). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from api import names
from api import validation as v
from api.meta import Condition

_REASON: Final = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON_LENGTH_MAX: Final = 1024
_MESSAGE_LENGTH_MAX: Final = 32 * 1024


def check_conditions(path: str, conditions: Sequence[Condition]) -> v.Errors:
    """Require one answer to each question, since when, and why."""
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        where = f"{path}[{i}]"
        if condition.type in seen:
            yield v.duplicate(f"{where}.type", condition.type)
        seen.add(condition.type)
        for message in names.check_qualified_name(condition.type):
            yield v.invalid(f"{where}.type", condition.type, message)
        if condition.status not in ("False", "True", "Unknown"):
            yield v.not_supported(f"{where}.status", condition.status, ("False", "True", "Unknown"))
        if condition.observed_generation < 0:
            generation = condition.observed_generation
            yield v.invalid(f"{where}.observedGeneration", generation, "must be greater than or equal to zero")
        if not condition.last_transition_time:
            yield v.required(f"{where}.lastTransitionTime", "must be set")
        if not condition.reason:
            yield v.required(f"{where}.reason", "must be set")
        elif not re.fullmatch(_REASON, condition.reason):
            yield v.invalid(
                f"{where}.reason",
                condition.reason,
                "a condition reason must start with alphabetic character, optionally followed by a string of"
                " alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'"
                " (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB',"
                f" regex used for validation is '{_REASON}')",
            )
        if len(condition.reason.encode()) > _REASON_LENGTH_MAX:
            yield v.too_long(f"{where}.reason", _REASON_LENGTH_MAX)
        if len(condition.message.encode()) > _MESSAGE_LENGTH_MAX:
            yield v.too_long(f"{where}.message", _MESSAGE_LENGTH_MAX)

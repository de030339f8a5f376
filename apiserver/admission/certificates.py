"""Certificates on request: the server writes into one who asks, and into a decision when it was made.

Who may decide and who may sign: `certificate_approval.py`, `certificate_signing.py`; what may be asked for:
`certificate_subject_restriction.py`.
"""

from __future__ import annotations

from typing import Any

from api import timestamps
from api.certificates import certificatesigningrequest
from apiserver.request import AdmissionRequest
from component.clock import Clock


class Certificates:
    """Fills in what only the server knows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def admit(self, request: AdmissionRequest) -> None:
        """Write into a new request who asks, whatever it says itself; into a decision, when it was made."""
        if request.resource is not certificatesigningrequest.RESOURCE:
            return
        if request.operation == "UPDATE" and request.subresource in ("approval", "status"):
            _date(request.object, request.old, timestamps.render(self._clock.now()))
        if request.operation != "CREATE":
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        user = request.user
        spec.username, spec.uid, spec.groups = user.name, user.uid, list(user.groups)
        spec.extra = {key: list(values) for key, values in user.extra.items()}


def _date(new: Any, old: Any, now: str) -> None:
    """Give conditions the times that their writers left out; one that says what it said before changed when it did."""
    since = {(one.type, one.status): one.last_transition_time for one in old.status.conditions}
    for condition in new.status.conditions:
        condition.last_update_time = condition.last_update_time or now
        before = since.get((condition.type, condition.status))
        condition.last_transition_time = condition.last_transition_time or before or now

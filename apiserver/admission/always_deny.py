"""AlwaysDeny: a plugin that refuses every write; deprecated, for tests."""

from __future__ import annotations

from typing import Final

from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest

_WHY: Final = "admission control is denying all modifications"


class AlwaysDeny:
    """The plugin."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Refuse; raises Forbidden."""
        raise refusal(request, _WHY)

    async def validate(self, request: AdmissionRequest) -> None:
        """Refuse; raises Forbidden."""
        raise refusal(request, _WHY)

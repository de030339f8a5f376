"""AlwaysAdmit: a plugin that refuses nothing; deprecated, and kept since settings name it."""

from __future__ import annotations

from apiserver.request import AdmissionRequest


class AlwaysAdmit:
    """The plugin."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Change nothing."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge nothing."""

"""Why a patch could not be applied."""

from __future__ import annotations


class PatchFailure(Exception):
    """The patch does not fit the document, or is no patch at all (`is_malformed`)."""

    def __init__(self, message: str, *, is_malformed: bool = False) -> None:
        super().__init__(message)
        self.is_malformed = is_malformed

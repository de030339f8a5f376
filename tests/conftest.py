"""What all tests share: hypothesis judges answers, not how long a busy machine took to give them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steersman", deadline=None)
settings.load_profile("steersman")

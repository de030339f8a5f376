"""What all tests share: hypothesis judges answers, not how long a busy machine took; nothing is waited for in vain."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

settings.register_profile("steersman", deadline=None)
settings.load_profile("steersman")

AT_ONCE = pytest.mark.looptime(noop_cycles=2)
"""What is tested on virtual time is in memory whole: where nothing is ready to run, nothing will be but by time. (For
what comes over sockets looptime would turn the loop 42 times before each step, which is most of what a step costs.)"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(AT_ONCE)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no search for garbage needs to go through it again."""
    gc.collect()
    gc.freeze()

"""What all tests share: hypothesis judges answers, not how long a busy machine took; nothing is waited for in vain."""

from __future__ import annotations

import gc
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steersman", deadline=None)
settings.load_profile("steersman")

AT_ONCE = pytest.mark.looptime(noop_cycles=2)
"""What is tested on virtual time is in memory whole: where nothing is ready to run, nothing will be but by time. (For
what comes over sockets looptime would turn the loop 42 times before each step, which is most of what a step costs.)"""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Every other of several workers goes through directories from their ends.

    All have to read all tests, and to rewrite the asserts of those that nobody has rewritten: most of what there is to
    do before the first test of a fresh clone. So they meet in the middle, and each finds there what another has kept.
    """
    report = yield
    if isinstance(collector, pytest.Directory) and _worker_of(collector.config) % 2:
        report.result.reverse()
    return report


def _worker_of(config: pytest.Config) -> int:
    """Return the number of this worker, 0 where there is but one process."""
    return int(getattr(config, "workerinput", {"workerid": "gw0"})["workerid"].removeprefix("gw"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # the same order in all of them
        folders = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
        items.sort(key=lambda item: (_first_holding(folders, item.path), item.path.parts))
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(AT_ONCE)


def _first_holding(folders: list[Path], path: Path) -> int:
    return next((number for number, folder in enumerate(folders) if path.is_relative_to(folder)), len(folders))


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no search for garbage needs to go through it again."""
    gc.collect()
    gc.freeze()

from __future__ import annotations

from typing import Any

import pytest

from api.core.containers import ExecAction
from kubelet.probes.exec import probe
from kubelet.probes.streak import Result
from kubelet.runtime.cri import CriError, RuntimeUnavailable


class Refusing:
    """A runtime that says no in one way."""

    def __init__(self, error: CriError) -> None:
        self._error = error

    async def exec_sync(self, *asked: Any) -> Any:
        raise self._error


async def asked(error: CriError) -> Result:
    runtime: Any = Refusing(error)
    return await probe(runtime, "c", ExecAction(command=["cat", "x"]), 2)


async def test_a_command_that_cannot_be_begun_is_an_error_and_no_failure_of_the_container():
    with pytest.raises(CriError, match="executable file not found"):
        await asked(CriError("executable file not found in $PATH"))


async def test_a_command_that_takes_too_long_fails_and_a_runtime_that_is_away_says_nothing():
    assert await asked(CriError("", timed_out=True)) == Result(False, 'command "cat x" timed out after 2s')
    assert not (await asked(RuntimeUnavailable("gone"))).is_known

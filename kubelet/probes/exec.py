"""Exec probes: a command in the container that must end with 0."""

from __future__ import annotations

from api.core.containers import ExecAction
from kubelet.probes.streak import Result
from kubelet.runtime.cri import Cri, CriError, RuntimeUnavailable

_OUTPUT_MAX = 10 * 1024


async def probe(cri: Cri, container_id: str, action: ExecAction, timeout_s: int) -> Result:
    """Run the command once; raises CriError where it cannot even be begun: that says nothing of the container."""
    try:
        answer = await cri.exec_sync(container_id, action.command, timeout_s)
    except RuntimeUnavailable as error:
        return Result(False, error.message, is_known=False)
    except CriError as error:
        if error.timed_out:
            shown = " ".join(action.command)
            return Result(False, f'command "{shown}" timed out after {timeout_s}s')
        raise
    output = (answer.stdout + answer.stderr)[:_OUTPUT_MAX].decode(errors="replace")
    return Result(answer.exit_code == 0, output)

"""Keeps container logs from filling the disk: a log over 10 MiB is renamed, and the runtime opens a new one.

A running container without a log was renamed by a kubelet that ended before it could say so to the runtime, which
writes to the renamed file: it is told then.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from component.clock import Clock
from kubelet.logs import rotations
from kubelet.runtime.cri import Cri, CriError
from kubelet.runtime.pleg import Pleg

log = logging.getLogger(__name__)

SIZE_BYTES_MAX = 10 << 20
FILES_MAX = 5
PERIOD_S = 10.0


class LogRotation:
    """Rotates the logs of one node's containers."""

    def __init__(self, pleg: Pleg, cri: Cri, clock: Clock) -> None:
        self._pleg = pleg
        self._cri = cri
        self._clock = clock

    async def run(self) -> None:
        """Look at every running container's log again and again, until cancelled."""
        while True:
            for pod in list(self._pleg.pods.values()):
                for record in pod.running:
                    if record.log_path:
                        try:
                            await self.rotate(Path(record.log_path), record.id)
                        except (OSError, CriError) as error:
                            log.warning("log not rotated", extra={"log": record.log_path, "error": error})
            await self._clock.sleep(PERIOD_S)

    async def rotate(self, path: Path, container_id: str) -> None:
        """Rotate one log if it is too large, and delete the oldest. Raises OSError, CriError."""
        size = _size(path)
        if size is None:
            await self._cri.reopen_log(container_id)
            return
        if size < SIZE_BYTES_MAX:
            return
        older = rotations(path)[:-1]
        for surplus in older[: max(0, len(older) - (FILES_MAX - 2))]:
            surplus.unlink(missing_ok=True)
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(self._clock.now()))
        rotated = path.with_name(f"{path.name}.{stamp}")
        os.rename(path, rotated)
        try:
            await self._cri.reopen_log(container_id)
        except CriError:
            # The runtime still writes to the renamed file: put the name back, so that nothing is lost. Where it only
            # did not say so in time, it has a new file by now.
            if _size(path) is None:
                os.rename(rotated, path)
            raise


def _size(path: Path) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None

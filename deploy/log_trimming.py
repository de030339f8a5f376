"""Keeps the supervised processes' logs within bounds: each, and one older copy of it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LOOK_S: Final = 30.0


async def run(directory: Path, bytes_max: int) -> None:
    """Look again and again, until cancelled."""
    while True:
        for path in sorted(directory.glob("*.log")):
            try:
                await trim(path, bytes_max)
            except OSError as error:
                log.warning("log not trimmed", extra={"log": path, "error": error})
        await asyncio.sleep(LOOK_S)


async def trim(path: Path, bytes_max: int) -> None:
    """Empty a log that is too large, which writers that append do not mind. Raises OSError.

    It is emptied even if it cannot be copied: a full disk is what has no room for the copy.
    """
    if path.stat().st_size <= bytes_max:
        return
    older = path.with_suffix(".log.1")
    try:
        await asyncio.to_thread(shutil.copyfile, path, older)
    except OSError as error:
        log.warning("log not kept before it was emptied", extra={"log": path, "error": error})
        older.unlink(missing_ok=True)
    os.truncate(path, 0)

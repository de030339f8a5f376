"""Runs iptables: reads which chains of ours are there, and applies changes in one transaction.

`iptables` and `iptables-restore` come from PATH, so both variants (nf_tables and legacy) work, and it is the one that
CNI's portmap plugin uses: rules in two variants at once would fight.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from kubeproxy import commands
from kubeproxy.chains import OURS
from kubeproxy.rules import CHAINS_PER_CALL, JUMPS, TABLES, Jump

LOCK_WAIT_S = 5
TIMEOUT_S = 60.0


class RestoreError(Exception):
    """iptables refused or is missing; nothing was changed. Try again later, from what is there then."""


Present = dict[str, dict[str, int]]
"""By table, our chains that are there, and how many rules each has."""


def parse_save(text: str) -> tuple[Present, list[Jump]]:
    """Return our chains, and which of our jumps are there, from what `iptables-save` prints. Pure."""
    existing: Present = {table: {} for table in TABLES}
    jumps: set[tuple[str, str, str]] = set()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(f":{OURS}") and table in existing:
            existing[table][line[1:].split(" ")[0]] = 0
        elif line.startswith(f"-A {OURS}") and table in existing:
            existing[table][line.split(" ", 2)[1]] += 1
        elif line.startswith("-A "):
            found = re.match(rf"-A (\S+) .*?-j ({OURS}\S+)", line)
            if found:
                jumps.add((table, found[1], found[2]))
    return existing, [jump for jump in JUMPS if (jump.table, jump.source, jump.target) in jumps]


class Iptables:
    """The kernel's tables, by way of the command line tools."""

    def __init__(self, variant: str = "", prefix: Sequence[str] = ()) -> None:
        """Use a `variant` (nft or legacy; empty for the system's choice); `prefix` starts commands elsewhere."""
        self._name = f"iptables-{variant}" if variant else "iptables"
        self._prefix = tuple(prefix)
        self.chains_per_call = CHAINS_PER_CALL
        """How many chains to change in one call at most; known once `read` was called."""

    async def read(self) -> tuple[Present, list[Jump]]:
        """Return our chains, and which of our jumps are there.

        Raises:
            RestoreError: it cannot be read.
        """
        if "legacy" in await self._run([self._name, "--version"]):
            # The whole table is read and written back by every call, so the fewer the better.
            self.chains_per_call = sys.maxsize
        parts = [await self._run([f"{self._name}-save", "-t", table]) for table in TABLES]
        return parse_save("\n".join(parts))

    async def apply(self, text: str) -> None:
        """Apply `iptables-restore --noflush` input: all of a table or nothing of it.

        Raises:
            RestoreError: it was refused; the message names the line.
        """
        if text:
            await self._run([f"{self._name}-restore", "--noflush", "-w", str(LOCK_WAIT_S)], text)

    async def _run(self, command: list[str], text: str = "") -> str:
        try:
            result = await commands.run([*self._prefix, *command], text, timeout_s=TIMEOUT_S)
        except commands.CommandMissing as error:
            raise RestoreError(f"{error}: apt-get install iptables") from None
        except TimeoutError:
            raise RestoreError(f"`{' '.join(command)}` took longer than {TIMEOUT_S:.0f} s") from None
        if result.code:
            raise RestoreError(f"`{' '.join(command)}`: {_explain(result.errors, text)}")
        return result.output


def _explain(errors: str, text: str) -> str:
    """Return the error, with the line of input it speaks of."""
    found = re.search(r"line:? (\d+)", errors)
    lines = text.splitlines()
    if found and 0 < int(found[1]) <= len(lines):
        return f"{errors.strip()} ({lines[int(found[1]) - 1]!r})"
    return errors.strip()

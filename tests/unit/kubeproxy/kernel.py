"""The kernel's tables in memory: takes what iptables-restore would be given."""

from __future__ import annotations

import sys

from kubeproxy.restore import Iptables, Present, parse_save
from kubeproxy.rules import Jump


class Kernel:
    """What iptables-restore --noflush would leave behind."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, list[str]]] = {
            "filter": {"INPUT": [], "FORWARD": [], "OUTPUT": []},
            "nat": {"PREROUTING": [], "OUTPUT": [], "POSTROUTING": [], "CNI-DN": ["-j RETURN"]},
        }

    def restore(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith("*"):
                table = self.tables[line[1:]]
            elif line.startswith(":"):
                table[line[1:].split()[0]] = []
            elif line != "COMMIT":
                command, chain, *rest = line.split(" ", 2)
                match command:
                    case "-A":
                        table[chain].append(rest[0])
                    case "-I":
                        number, _, rule = rest[0].partition(" ")
                        if number.isdigit():
                            table[chain].insert(int(number) - 1, rule)
                        else:
                            table[chain].insert(0, rest[0])
                    case "-D" if rest[0].isdigit():
                        del table[chain][int(rest[0]) - 1]
                    case "-D":
                        table[chain].remove(rest[0])
                    case "-X":
                        assert not table[chain], f"{chain} is not empty"
                        for name, rules in table.items():
                            assert not any(rule.endswith(f"-j {chain}") for rule in rules), f"{name} points at {chain}"
                        del table[chain]

    def save(self) -> str:
        lines = []
        for table, chains_ in self.tables.items():
            lines += [f"*{table}", *(f":{name} - [0:0]" for name in chains_)]
            lines += [f"-A {name} {rule}" for name, rules in chains_.items() for rule in rules]
        return "\n".join(lines)

    def ours(self) -> dict[str, dict[str, tuple[str, ...]]]:
        return {
            table: {name: tuple(rules) for name, rules in content.items() if name.startswith("KUBE-")}
            for table, content in self.tables.items()
        }


class KernelTables(Iptables):
    """Reads and writes such tables."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel
        self.chains_per_call = sys.maxsize

    async def read(self) -> tuple[Present, list[Jump]]:
        return parse_save(self._kernel.save())

    async def apply(self, text: str) -> None:
        self._kernel.restore(text)

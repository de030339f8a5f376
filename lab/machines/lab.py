"""A lab as a whole: how many machines, of which layers, on which wire; and its verbs.

What the lab is lies in `<dir>/lab.json`; whether a machine runs is asked of the kernel. So every verb finds the lab
again, and one that was cut short can be repeated.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from deploy.cluster_network import NetworkError
from deploy.images.archive import ImageUnavailable
from deploy.report import BadInput, CannotDo, Report
from lab.machines import layers
from lab.machines.machine import Layers, Machine
from lab.machines.network import HOST, Wire

CACHE = Path("/var/cache/steersman/machines")
"""Where the shared layers are kept between labs."""
DISK_BYTES = 8 << 30
MACHINES_MAX = 9
KUBERNETES = "1.32"
"""The version whose kubectl is preferred."""
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "mkfs.ext4": "e2fsprogs",
}


class LabRecord(msgspec.Struct, kw_only=True, rename="camel"):
    """What is kept of a lab."""

    machines: int
    system: str
    packages: str
    code: str


class Lab:
    """The machines in one directory."""

    def __init__(self, directory: Path) -> None:
        """Open the lab.

        Raises:
            CannotDo: there is none.
        """
        self.directory = directory
        try:
            self._record = msgspec.json.decode((directory / "lab.json").read_bytes(), type=LabRecord)
        except FileNotFoundError:
            raise CannotDo(f"there is no lab in {directory}: `steer lab up` makes one") from None
        self.wire = Wire(directory)
        self.machines = [
            Machine(name, number, directory / name, self.wire)
            for number, name in enumerate(machine_names(self._record.machines), 1)
        ]

    def machine(self, name: str) -> Machine:
        """Return a machine by name.

        Raises:
            CannotDo: there is no such machine; the message lists those there are.
        """
        for machine in self.machines:
            if machine.name == name:
                return machine
        raise CannotDo(f"no machine is called {name!r}; there are {', '.join(each.name for each in self.machines)}")

    @property
    def layers(self) -> Layers:
        """What the machines stand on."""
        return Layers(Path(self._record.system), Path(self._record.packages), Path(self._record.code))

    def power_on(self, machines: Iterable[Machine]) -> None:
        """Switch machines on and wait until they have booted."""
        chosen = list(machines)
        for machine in chosen:
            machine.power_on(self.layers, self.directory / "images", _kubectl())
        _all(Machine.await_boot, chosen)

    def power_off(self, machines: Iterable[Machine]) -> None:
        """Cut the power of machines, all at once."""
        _all(Machine.power_off, list(machines))

    def cut(self, name: str, others: Sequence[str], *, incoming: bool, outgoing: bool) -> None:
        """Cut the wire between a machine and `others` (all other machines when empty), in one or both directions.

        Raises:
            CannotDo: a name is no machine's.
        """
        self.machine(name)
        ends = list(others) or [machine.name for machine in self.machines if machine.name != name]
        for end in ends:
            if end == name:
                raise BadInput(f"{name} cannot be cut off from itself")
            if end != HOST:
                self.machine(end)
        pairs = [(name, end) for end in ends if outgoing] + [(end, name) for end in ends if incoming]
        self.wire.cut(pairs)


def machine_names(count: int) -> list[str]:
    """Return m1, m2, ... in order."""
    return [f"m{number}" for number in range(1, count + 1)]


def up(directory: Path, count: int, report: Report, *, cache: Path = CACHE) -> Lab:
    """Make or complete a lab of `count` machines, with the code of this checkout, and boot them.

    Raises:
        CannotDo: this box cannot, or the lab that is there has more machines.
    """
    _check(directory)
    record = directory / "lab.json"
    existing = Lab(directory) if record.exists() else None
    if existing is not None and len(existing.machines) > count:
        raise CannotDo(
            f"the lab has {len(existing.machines)} machines: give --machines {len(existing.machines)} or more, "
            "or `steer lab down --purge` first"
        )
    system = layers.system(cache, report)
    wanted = LabRecord(
        machines=count,
        system=str(system),
        packages=str(layers.packages(cache, report)),
        code=str(layers.code(cache, system, report)),
    )
    (directory / "images").mkdir(parents=True, exist_ok=True)
    _build_images(directory / "images", report)
    _write(record, msgspec.json.format(msgspec.json.encode(wanted)))
    lab = Lab(directory)
    try:
        lab.wire.create()
    except NetworkError as error:
        raise CannotDo(str(error)) from error
    neighbours = {machine.name: str(machine.address) for machine in lab.machines}
    for machine in lab.machines:
        machine.install(DISK_BYTES, neighbours)
    report(f"booting {count} machine{'s' if count != 1 else ''}")
    lab.power_on(lab.machines)
    return lab


def down(directory: Path, *, purge: bool) -> None:
    """Switch every machine off and take the wire away; with `purge`, delete their disks as well."""
    lab = Lab(directory)
    lab.wire.heal()
    _all(Machine.destroy, lab.machines)
    lab.wire.destroy()
    if purge:
        shutil.rmtree(directory)


def _check(directory: Path) -> None:
    if os.geteuid() != 0:
        raise CannotDo("machines need root: run it with sudo")
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        raise CannotDo(f"programs are missing: apt-get install {' '.join(missing)}")
    if not directory.is_absolute() or directory.is_relative_to("/run"):
        raise BadInput(f"{directory}: a lab's directory is an absolute path outside /run")


def _build_images(directory: Path, report: Report) -> None:
    from deploy.images.build import archives

    try:
        archives(directory)
    except ImageUnavailable as error:
        report(f"left out an image: {error}")


def _kubectl() -> Path | None:
    """Return the kubectl program that machines get: this box's, itself and not a script or a chooser of versions."""
    found = shutil.which("kubectl")
    if found is None:
        return None
    path = Path(found).resolve()
    # Google's SDK brings one for every version, and a program of the plain name that starts one of them.
    versioned = path.with_name(f"kubectl.{KUBERNETES}")
    return versioned if versioned.exists() else path


def _all(do: Callable[[Machine], Any], machines: Sequence[Machine]) -> None:
    """Do the same to several machines at once; raises the first failure once all are done."""
    with ThreadPoolExecutor(max_workers=MACHINES_MAX) as pool:
        for future in [pool.submit(do, machine) for machine in machines]:
            future.result()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.replace(path)

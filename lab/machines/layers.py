"""What all machines of a lab share, read-only and made once: an operating system, Python packages, our code.

A machine's root is an overlay: its own disk above `code` above `packages` above `system`. Each layer lies in a cache
under a name made from all that it depends on, so a change makes another layer and never alters one in use. Only making
the first two needs the network (Debian's and Python's package servers); booting a machine needs none.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.machine.install import MARK
from deploy.report import CannotDo, Report

CHECKOUT = Path(__file__).resolve().parents[2]
PREFIX = Path("opt/steersman/lab")
"""Where our virtual environment is in every machine: a version that is installed (`deploy.machine.install`)."""
SUITE, MIRROR, PYTHON = "bookworm", "http://deb.debian.org/debian", "3.11"
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "util-linux", "e2fsprogs", "less", "sudo",
    "iproute2", "iptables", "nftables", "ipset", "conntrack", "ethtool", "iputils-ping", "tcpdump", "socat", "curl",
    "ca-certificates", "openssl", "containerd", "runc", "containernetworking-plugins", "busybox-static", "catatonit",
    "etcd-client", "libfaketime", "python3", "python3-venv",
)  # fmt: skip
"""What a machine needs to become a node, and what one looks at it with. Never started by itself: see `UNITS_OFF`."""
SOURCE_ONLY = ("pysyncobj",)
"""Python packages published as source alone; pure Python, so that a wheel built here serves there."""
UNITS_OFF = ("containerd.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer")
UNITS_MASKED = (
    "getty.target", "console-getty.service", "systemd-udevd.service", "systemd-udev-trigger.service",
    "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service", "e2scrub_reap.service",
)  # fmt: skip
LAB_UNIT = """\
[Unit]
Description=What a container lacks of a machine: writable cgroups, shared mounts, an address
DefaultDependencies=no
After=systemd-remount-fs.service local-fs.target
Before=network-pre.target network.target network-online.target sysinit.target containerd.service
Wants=network.target network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
EnvironmentFile=/etc/lab/machine.env
ExecStart=/etc/lab/boot.sh

[Install]
WantedBy=sysinit.target
"""
BOOT_SCRIPT = """\
#!/bin/sh -e
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
  if [ ! -L "$d" ] && mountpoint -q "$d"; then mount -o remount,rw,bind "$d"; fi
done
mount --make-rshared /
ip link set lo up
ip addr replace "$ADDRESS/$PREFIX_LENGTH" dev host0
ip link set host0 up
ip route replace default via "$GATEWAY"
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
"""
MANAGER_CONF = "[Manager]\nDefaultTimeoutStopSec=20s\n"
COREDUMPS_OFF = "[Coredump]\nStorage=none\n"


def system(cache: Path, report: Report) -> Path:
    """Return the operating system's layer.

    Raises:
        CannotDo: a tool is missing or the package servers can't be reached.
    """
    recipe = repr((str(PREFIX), SUITE, PACKAGES, UNITS_OFF, UNITS_MASKED, LAB_UNIT, BOOT_SCRIPT, MANAGER_CONF))

    def make(target: Path) -> None:
        if shutil.which("debootstrap") is None:
            raise CannotDo("debootstrap is not installed: apt-get install debootstrap")
        report(f"installing Debian {SUITE} (once, about a minute)")
        _run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(target), MIRROR])
        for archive in (target / "var/cache/apt/archives").glob("*.deb"):
            archive.unlink()
        shutil.rmtree(target / "var/lib/apt/lists", ignore_errors=True)
        (target / "etc/lab").mkdir()
        (target / "etc/lab/boot.sh").write_text(BOOT_SCRIPT)
        (target / "etc/lab/boot.sh").chmod(0o755)
        (target / "etc/systemd/system/lab.service").write_text(LAB_UNIT)
        (target / "etc/systemd/system.conf.d").mkdir()
        (target / "etc/systemd/system.conf.d/lab.conf").write_text(MANAGER_CONF)
        (target / "var/log/journal").mkdir(exist_ok=True)
        for name in ("resolv.conf", "machine-id", "hostname"):
            (target / "etc" / name).unlink(missing_ok=True)
        _run(["systemctl", f"--root={target}", "enable", "lab.service"])
        _run(["systemctl", f"--root={target}", "disable", *UNITS_OFF])
        _run(["systemctl", f"--root={target}", "mask", *UNITS_MASKED])
        _run(["chroot", str(target), "python3", "-m", "venv", f"/{PREFIX}"])

    return _made(cache, "system", recipe, make)


def packages(cache: Path, report: Report) -> Path:
    """Return the layer of the Python packages that our code needs, as pyproject.toml says.

    Raises:
        CannotDo: there is no checkout around us, or the package servers can't be reached.
    """
    needed: list[str] = _project()["project"]["dependencies"]

    def make(target: Path) -> None:
        report("installing Python packages for the machines (once)")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile"]
        command += ["--implementation=cp", f"--python-version={PYTHON}"]
        command += [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux2014", "manylinux_2_17")]
        with tempfile.TemporaryDirectory() as wheels:
            built = [each for each in needed if each.startswith(SOURCE_ONLY)]
            _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, *built])
            _run([*command, "--find-links", wheels, "--target", str(target / _site_packages()), *needed])
        shutil.rmtree(target / _site_packages() / "bin", ignore_errors=True)

    return _made(cache, "packages", repr([str(PREFIX), *sorted(needed)]), make)


def code(cache: Path, system_layer: Path, report: Report, source: Path = CHECKOUT) -> Path:
    """Return the layer of our own code as it is in `source` now, with its commands and compiled.

    Raises:
        CannotDo: there is no checkout at `source`.
    """
    project = _project(source)
    folders: list[str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = sorted(
        path
        for folder in folders
        for path in (source / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    digest = hashlib.sha256()
    for path in [source / "pyproject.toml", *files]:
        digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes() + b"\0")

    def make(target: Path) -> None:
        report("installing our code for the machines")
        site = target / _site_packages()
        for path in files:
            place = site / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
        write_metadata(site, project["project"])
        (target / PREFIX / MARK).write_text(f"{project['project']['version']}-{digest.hexdigest()[:10]}\n")
        _write_commands(target, project["project"]["scripts"])
        # Compiled by the machines' own Python, since users without rights to write here will run it.
        done = ["chroot", str(system_layer), "python3", "-m", "compileall", "-q", "-j", "2", "-s", "/mnt", "/mnt"]
        bound = f'mount --bind "{site}" "{system_layer}/mnt" && exec "$@"'
        _run(["unshare", "--mount", "sh", "-c", bound, "sh", *done])

    return _made(cache, "code", digest.hexdigest(), make)


def write_metadata(site: Path, project: dict[str, Any]) -> None:
    """Write what pip would: an upgrade copies what this says that we need and run."""
    metadata = site / f"{project['name']}-{project['version']}.dist-info"
    metadata.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
    (metadata / "METADATA").write_text("\n".join([*lines, ""]))
    scripts = [f"{name} = {entry}" for name, entry in project["scripts"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[console_scripts]", *scripts, ""]))
    (metadata / "INSTALLER").write_text("steer-lab\n")
    files = [f"{metadata.name}/{name}" for name in ("METADATA", "entry_points.txt", "INSTALLER", "RECORD")]
    (metadata / "RECORD").write_text("".join(f"{name},,\n" for name in files))


def _write_commands(target: Path, scripts: dict[str, str]) -> None:
    commands = target / PREFIX / "bin"
    commands.mkdir(parents=True)
    for name, entry in scripts.items():
        module, _, function = entry.partition(":")
        path = commands / name
        path.write_text(
            f"#!/{PREFIX}/bin/python3\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        path.chmod(0o755)
    (target / "usr/local/bin").mkdir(parents=True)
    (target / "usr/local/bin/steer").symlink_to(f"/{PREFIX}/bin/steer")


def _site_packages() -> Path:
    return PREFIX / "lib" / f"python{PYTHON}" / "site-packages"


def _project(source: Path = CHECKOUT) -> dict[str, Any]:
    try:
        return tomllib.loads((source / "pyproject.toml").read_text())
    except FileNotFoundError:
        raise CannotDo(f"{source} is no checkout of Steersman: the lab installs its machines from one") from None


def _made(cache: Path, kind: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Return the layer `kind` of `recipe`, made aside and then renamed where it is missing."""
    path = cache / f"{kind}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if path.exists():
        os.utime(path)
        return path
    cache.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=cache))
    try:
        make(aside)
        aside.chmod(0o755)
        aside.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another lab came up at the same time and was the first to have made it.
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise CannotDo(f"`{' '.join(command[:4])} …` failed: {' | '.join(last)}")

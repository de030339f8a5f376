"""The steps that make a machine part of a cluster, whichever machine: code, users, settings, units, images.

`deploy.machine.create` puts the first machine's steps together, `deploy.machine.join` those of all others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from deploy import containerd
from deploy.images.archive import ImageUnavailable
from deploy.images.build import archives
from deploy.images.pause import REFERENCE as PAUSE_IMAGE
from deploy.machine import credentials, host, install, plan, preflight
from deploy.machine.host import Systemd
from deploy.machine.plan import RUNTIME_SOCKET, RUNTIME_STATE, Layout, Machine, service, units
from deploy.machine.steps import Step, never
from deploy.preflight import CNI_DIRECTORIES, cni_directory
from deploy.report import CannotDo

TIMERS = {"control-plane": ("steersman-snapshot.timer", "steersman-sync.timer"), "worker": ("steersman-sync.timer",)}
TARGET = "steersman.target"


@dataclass
class Site:
    """A machine at work on itself: what it is to be, and the means."""

    machine: Machine
    layout: Layout = field(default_factory=Layout)
    systemd: Systemd = field(default_factory=Systemd)
    may_install: bool = True
    """Whether missing packages may be installed."""

    @property
    def services(self) -> list[str]:
        """The names of this machine's services, in order."""
        return [service(name) for name in plan.service_names(self.machine.role)]

    def is_running(self) -> bool:
        """Whether this machine's units run already."""
        return host.is_booted_by_systemd() and any(self.systemd.is_active(name) for name in self.services)

    def check(self) -> None:
        """Raise CannotDo with everything that keeps this machine from becoming what it is to be."""
        found = preflight.problems(self.machine, self.layout, is_running=self.is_running())
        missing = preflight.missing_packages()
        if missing and not (self.may_install and shutil.which("apt-get")):
            found.append(f"programs are missing: apt-get install {' '.join(missing)}")
        if found:
            raise CannotDo("\n".join(found))

    def unit(self, name: str) -> plan.Unit:
        """Return one of this machine's units."""
        return next(unit for unit in units(self.machine, self.layout) if unit.name == name)

    def await_ready(self, name: str) -> None:
        """Wait until a process is ready; raises CannotDo."""
        identity = credentials.admin_identity(self.layout) if self.machine.is_control_plane else None
        host.await_ready(self.unit(name), self.systemd, identity)


def base_steps(site: Site) -> list[Step]:
    """Return the steps that come before anything is asked of the cluster: programs, code, users, kernel."""
    version = install.running_version()
    layout = site.layout
    return [
        Step("install packages", lambda: not preflight.missing_packages(), install_packages),
        Step(
            f"install Steersman {version} in {layout.prefix}",
            lambda: install.current_version(layout) == version,
            lambda: _install(layout, version),
        ),
        Step("make users and load kernel modules", lambda: _has_users(layout), lambda: _prepare_system(layout)),
    ]


def _install(layout: Layout, version: str) -> None:
    install.use(layout, install.install(layout, version))


def install_packages() -> None:
    """Install what is missing with apt-get; raises CannotDo."""
    missing = preflight.missing_packages()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise CannotDo(f"`apt-get {' '.join(command)}` failed: {said[-1] if said else 'it does not say why'}")


def _has_users(layout: Layout) -> bool:
    wanted = (host.UNIT_FILES / "steersman.sysusers").read_bytes()
    return layout.sysusers.exists() and layout.sysusers.read_bytes() == wanted


def _prepare_system(layout: Layout) -> None:
    modules = layout.root / "etc/modules-load.d/steersman.conf"
    host.replace(modules, (host.UNIT_FILES / "steersman.modules").read_bytes())
    for name in modules.read_text().splitlines():
        if name and not name.startswith("#"):
            # A kernel may have it built in, and says so by failing; what is really missing shows when it is used.
            subprocess.run(["modprobe", "--quiet", name], capture_output=True, check=False)
    host.run("systemd-sysusers", str(host.UNIT_FILES / "steersman.sysusers"))
    host.replace(layout.sysusers, (host.UNIT_FILES / "steersman.sysusers").read_bytes())


def record_step(site: Site) -> Step:
    """Return the step that writes down what this machine is: from here on it is part of a cluster."""
    return Step(
        f"write {site.layout.machine}",
        lambda: host.read_machine(site.layout) == site.machine,
        lambda: host.write_machine(site.layout, site.machine),
    )


def node_steps(site: Site) -> list[Step]:
    """Return the steps that make the machine's units and start those of the node."""
    return [*unit_steps(site), *start_steps(site, plan.NODE)]


def unit_steps(site: Site) -> list[Step]:
    """Return the steps that write settings and unit files."""
    layout = site.layout
    return [
        Step("write the processes' settings", never, lambda: write_settings(site)),
        Step("configure containerd", never, lambda: _configure_containerd(layout)),
        Step("install systemd units", never, lambda: install_units(site)),
    ]


def write_settings(site: Site) -> list[str]:
    """Write what each process is told; return those whose settings changed."""
    site.layout.etc.mkdir(parents=True, exist_ok=True, mode=0o755)
    site.layout.data.mkdir(parents=True, exist_ok=True, mode=0o755)
    # Whoever may write here runs pods as root.
    site.layout.manifests.mkdir(exist_ok=True, mode=0o700)
    site.layout.data.chmod(0o755)  # each process has a directory of its own below, closed to all others
    return host.write_settings(site.layout, units(site.machine, site.layout))


def unit_files(machine: Machine) -> list[str]:
    """Return the files of deploy/systemd that a machine gets."""
    names = [TARGET, "steersman-sync.service", *TIMERS[machine.role]]
    names += [service(name) for name in plan.service_names(machine.role)]
    if machine.is_control_plane:
        names.append("steersman-snapshot.service")
    for directory in sorted(host.UNIT_FILES.glob("*.service.d")):
        if directory.name == "steersman-.service.d" or directory.name.removesuffix(".d") in names:
            names += sorted(f"{directory.name}/{file.name}" for file in directory.iterdir())
    return names


def install_units(site: Site) -> bool:
    """Put unit files in place and have systemd read them; return whether one changed."""
    changed = host.install_units(site.layout, unit_files(site.machine))
    if changed:
        site.systemd.reload()
    site.systemd.enable(TARGET, *TIMERS[site.machine.role], *site.services)
    return changed


def _configure_containerd(layout: Layout) -> None:
    layout.containerd.mkdir(parents=True, exist_ok=True, mode=0o711)
    try:
        settings = containerd.settings_here(
            root=layout.containerd,
            state=Path(RUNTIME_STATE),
            socket=Path(RUNTIME_SOCKET),
            cni_conf_dir=Path(plan.CNI_CONF),
            cni_bin_dir=cni_directory() or CNI_DIRECTORIES[0],
            sandbox_image=PAUSE_IMAGE,
        )
    except containerd.ContainerdMissing as error:
        raise CannotDo(str(error)) from error
    host.replace(layout.containerd / "config.toml", containerd.render(settings).encode())


def start_steps(site: Site, names: tuple[str, ...]) -> list[Step]:
    """Return a step for each process that starts it."""
    return [_start(site, name) for name in names]


def _start(site: Site, name: str) -> Step:
    return Step(
        f"start {service(name)}",
        lambda: site.systemd.is_active(service(name)),
        lambda: site.systemd.start(service(name)),
    )


def finish_steps(site: Site) -> list[Step]:
    """Return the steps that come last: images that no registry has, and what runs by the clock."""
    # Timers may be stopped while the target stands, as while a store is restored.
    last = (TARGET, *TIMERS[site.machine.role])
    return [
        Step("load the pause image", lambda: PAUSE_IMAGE in images(), lambda: load_own_images(site.layout)),
        Step(f"start {TARGET}", lambda: all(map(site.systemd.is_active, last)), lambda: site.systemd.start(*last)),
    ]


def images() -> list[str]:
    """Return the names of the images this machine has; empty while containerd does not answer."""
    if not Path(RUNTIME_SOCKET).exists():
        return []
    try:
        listed = _ctr("images", "list", "--quiet")
    except CannotDo:
        return []
    return listed.split()


def load_own_images(layout: Layout) -> None:
    """Give this machine the images that Steersman builds itself, for machines without a registry."""
    if not host.wait_until(lambda: _answers(), host.READY_WITHIN_S):
        raise CannotDo(f"containerd does not answer: see journalctl -u {service('containerd')}")
    try:
        built = archives(layout.data / "images")
    except ImageUnavailable as error:
        raise CannotDo(str(error)) from error
    load_images(built)


def load_images(files: list[Path]) -> None:
    """Import archives; raises CannotDo."""
    for file in files:
        _ctr("images", "import", "--digests=false", str(file))


def _answers() -> bool:
    if not Path(RUNTIME_SOCKET).exists():
        return False  # `ctr` would wait for it, and long
    try:
        _ctr("version")
    except CannotDo:
        return False
    return True


def _ctr(*arguments: str) -> str:
    return host.run("ctr", "--address", RUNTIME_SOCKET, "--namespace", containerd.NAMESPACE, *arguments, timeout_s=120)

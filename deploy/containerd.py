"""containerd for one node: which version is installed, and the configuration that suits it.

`render` is pure. Configuration version 2 serves containerd 1.6 (Debian 12) and 1.7 (Ubuntu 24.04), version 3 the 2.x
releases. What it says and why:

- `sandbox_image` is the pause image that Steersman builds, so that no registry is needed;
- `restrict_oom_score_adj` where the machine withholds CAP_SYS_RESOURCE: runc cannot lower a score then, and every
  sandbox would fail;
- `netns_mounts_under_state_dir`, and a `Root` for runc, so that no two nodes share a directory;
- the streaming server listens on the node's loopback: only its kubelet relays exec, attach and port-forward.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CAP_SYS_RESOURCE = 24
NAMESPACE = "k8s.io"
"""The containerd namespace that CRI's images and containers live in."""
DISABLED_PLUGINS = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
)


class ContainerdMissing(Exception):
    """containerd is not installed, or does not say its version."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one node's containerd is told."""

    version: tuple[int, int]
    """Of containerd: major and minor."""
    root: Path
    """Images and snapshots; survives a power cut. Not on overlayfs, or `snapshotter` must be native."""
    state: Path
    """Sockets of shims and bundles; gone after a power cut, as /run is."""
    socket: Path
    cni_conf_dir: Path
    cni_bin_dir: Path
    runc: Path
    sandbox_image: str
    snapshotter: str = "overlayfs"
    systemd_cgroup: bool = False
    restrict_oom_score_adj: bool = False


def parse_version(text: str) -> tuple[int, int]:
    """Return (major, minor) from what `containerd --version` prints.

    Raises:
        ContainerdMissing: there is no version in it.
    """
    found = re.search(r"\sv?(\d+)\.(\d+)", text)
    if not found:
        raise ContainerdMissing(f"`containerd --version` printed {text!r}, which names no version")
    return int(found[1]), int(found[2])


def installed_version() -> tuple[int, int]:
    """Return the version of the containerd on PATH.

    Raises:
        ContainerdMissing: it is not installed.
    """
    try:
        answer = subprocess.run(["containerd", "--version"], capture_output=True, text=True, timeout=10, check=True)
    except FileNotFoundError:
        raise ContainerdMissing("containerd is not installed: apt-get install containerd") from None
    except subprocess.SubprocessError as error:
        raise ContainerdMissing(f"`containerd --version` failed: {error}") from None
    return parse_version(answer.stdout)


def has_sys_resource() -> bool:
    """Whether this process may lower OOM scores, and so whether its containers' runtime may."""
    effective = re.search(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    return bool(effective and int(effective[1], 16) >> CAP_SYS_RESOURCE & 1)


def runc_path() -> Path:
    """Return where runc is.

    Raises:
        ContainerdMissing: it is not installed.
    """
    found = shutil.which("runc")
    if found is None:
        raise ContainerdMissing("runc is not installed: apt-get install runc")
    return Path(found)


def suitable_snapshotter(directory: Path) -> str:
    """Return overlayfs, or native where `directory` lies on an overlay, which cannot carry another."""
    answer = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(directory)], capture_output=True, text=True, check=True
    )
    return "native" if answer.stdout.strip().startswith("overlay") else "overlayfs"


def settings_here(
    root: Path, state: Path, socket: Path, cni_conf_dir: Path, cni_bin_dir: Path, sandbox_image: str
) -> Settings:
    """Return what a node on this machine tells its containerd, given what is installed and allowed here.

    `root` is there already.

    Raises:
        ContainerdMissing: containerd or runc is not installed.
    """
    return Settings(
        version=installed_version(),
        root=root,
        state=state,
        socket=socket,
        cni_conf_dir=cni_conf_dir,
        cni_bin_dir=cni_bin_dir,
        runc=runc_path(),
        sandbox_image=sandbox_image,
        snapshotter=suitable_snapshotter(root),
        restrict_oom_score_adj=not has_sys_resource(),
    )


def render(settings: Settings) -> str:
    """Return the configuration file's text."""
    runtime, images, streaming = (
        ("io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri")
        if settings.version >= (2, 0)
        else ("io.containerd.grpc.v1.cri",) * 3
    )
    sections: dict[str, dict[str, object]] = {
        "": {
            "version": 3 if settings.version >= (2, 0) else 2,
            "root": str(settings.root),
            "state": str(settings.state),
            "oom_score": 0,
            "disabled_plugins": list(DISABLED_PLUGINS),
        },
        "grpc": {"address": str(settings.socket)},
        "ttrpc": {"address": f"{settings.socket}.ttrpc"},
        'plugins."io.containerd.internal.v1.opt"': {"path": str(settings.root / "opt")},
    }

    def put(section: str, **values: object) -> None:
        sections.setdefault(section, {}).update(values)

    put(
        f'plugins."{runtime}"',
        disable_apparmor=not Path("/sys/module/apparmor").exists(),
        disable_hugetlb_controller=True,
        tolerate_missing_hugetlb_controller=True,
        restrict_oom_score_adj=settings.restrict_oom_score_adj,
        netns_mounts_under_state_dir=True,
        max_container_log_line_size=16384,
    )
    put(f'plugins."{streaming}"', stream_server_address="127.0.0.1", stream_server_port="0")
    if settings.version >= (2, 0):
        put(f'plugins."{images}"', snapshotter=settings.snapshotter)
        put(f'plugins."{images}".pinned_images', sandbox=settings.sandbox_image)
    else:
        put(f'plugins."{images}"', sandbox_image=settings.sandbox_image)
        put(f'plugins."{runtime}".containerd', snapshotter=settings.snapshotter)
    cni: dict[str, object] = {"conf_dir": str(settings.cni_conf_dir), "max_conf_num": 1}
    if settings.version >= (2, 1):
        cni["bin_dirs"] = [str(settings.cni_bin_dir)]
    else:
        cni["bin_dir"] = str(settings.cni_bin_dir)
    put(f'plugins."{runtime}".cni', **cni)
    put(f'plugins."{runtime}".containerd', default_runtime_name="runc")
    put(f'plugins."{runtime}".containerd.runtimes.runc', runtime_type="io.containerd.runc.v2")
    put(
        f'plugins."{runtime}".containerd.runtimes.runc.options',
        SystemdCgroup=settings.systemd_cgroup,
        BinaryName=str(settings.runc),
        Root=str(settings.state / "runc"),
    )
    blocks = []
    for name, values in sections.items():
        lines = [f"[{name}]"] if name else []
        # JSON's strings, numbers, booleans and arrays of strings are TOML's too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"

"""Where the code lies on a machine: one virtual environment a version below /opt/steersman, and `current` beside them.

A version is named by its number and a digest of its files, so two commits never share a directory, and one that is in
place is never changed: going to another version is one symbolic link, and so is going back. What runs the command is
what gets installed: from a checkout, from a wheel, or in place where it runs below /opt/steersman already.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.machine.plan import Layout
from deploy.report import CannotDo

DISTRIBUTION = "steersman"
FOLDERS = (
    "api", "apiserver", "balancer", "client", "clusterdns", "component", "controllers", "deploy",
    "kubelet", "kubeproxy", "lab", "metricsserver", "proto", "scheduler", "store",
)  # fmt: skip
"""Our packages, as pyproject.toml has them."""
MARK = ".steersman-version"
"""The file that says which version a directory holds; written last, so a directory without it is not whole."""
KEPT = 3
"""How many versions stay installed, to go back to."""


def number() -> str:
    """Return the version's number, such as 0.1.0."""
    return importlib.metadata.version(DISTRIBUTION)


def running_version() -> str:
    """Return the full name of the version that runs this command."""
    if _source().is_relative_to(sys.prefix) and (installed := _version_in(Path(sys.prefix))):
        return installed
    digest = hashlib.sha256()
    for path in _own_files():
        digest.update(f"{path.relative_to(_source())}\0".encode() + path.read_bytes() + b"\0")
    return f"{number()}-{digest.hexdigest()[:10]}"


def current_version(layout: Layout) -> str | None:
    """Return the version in use on this machine, or None when none is installed."""
    link = layout.prefix / "current"
    return _version_in(link)


def installed_versions(layout: Layout) -> list[str]:
    """Return the versions that are whole, the oldest first."""
    return [version for version, _ in _installed(layout)]


def directory_of(layout: Layout, version: str) -> str | None:
    """Return the name of the directory that holds a version whole; None where it is not installed."""
    return next((name for found, name in _installed(layout) if found == version), None)


def _installed(layout: Layout) -> list[tuple[str, str]]:
    marks = [path for path in layout.prefix.glob(f"*/{MARK}") if not path.parent.is_symlink()]
    marks.sort(key=lambda path: path.stat().st_mtime)
    return [(path.read_text().strip(), path.parent.name) for path in marks]


def _version_in(directory: Path) -> str | None:
    try:
        return (directory / MARK).read_text().strip()
    except OSError:
        return None


def install(layout: Layout, version: str) -> str:
    """Put the code that runs this command below /opt/steersman as `version`, unless it is there, whole.

    Returns the name of its directory, for `use`.

    Raises:
        CannotDo: the virtual environment could not be made.
    """
    target = layout.prefix / version
    if (there := directory_of(layout, version)) is not None:
        return there
    layout.prefix.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    done = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-m", "venv", "--without-pip", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotDo(f"no virtual environment in {target}: {done.stderr.strip().splitlines()[-1:]}")
    site = target / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for distribution in _needed(DISTRIBUTION):
        _copy(distribution, site)
    for path in _own_files():
        place = site / path.relative_to(_source())
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    _write_commands(target)
    _open_to_all(target)
    compileall.compile_dir(site, quiet=2, workers=os.cpu_count() or 1)
    _try_out(target)
    (target / MARK).write_text(f"{version}\n")
    (target / MARK).chmod(0o644)
    return target.name


def use(layout: Layout, directory: str) -> None:
    """Make the version in `directory` the one in use, and have `steer` found by everybody's shell."""
    link = layout.prefix / "current"
    temporary = layout.prefix / ".current.new"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(directory)
    temporary.replace(link)
    command = layout.root / "usr/local/bin/steer"
    target = f"/{(link / 'bin/steer').relative_to(layout.root)}"
    if not command.is_symlink() or os.readlink(command) != target:
        command.parent.mkdir(parents=True, exist_ok=True)
        aside = command.with_name(".steer.new")
        aside.unlink(missing_ok=True)
        aside.symlink_to(target)
        aside.replace(command)


def prune(layout: Layout, former: str) -> list[str]:
    """Delete the oldest versions beyond `KEPT`, never those in use and `former`; return what was deleted."""
    keep = {current_version(layout), running_version(), former}
    unused = [version for version in installed_versions(layout) if version not in keep]
    old = unused[: max(0, len(unused) + len(keep) - KEPT)]
    for version in old:
        shutil.rmtree(layout.prefix / str(directory_of(layout, version)))
    return old


def _source() -> Path:
    return Path(__file__).resolve().parents[2]


def _own_files() -> list[Path]:
    return sorted(
        path
        for folder in FOLDERS
        for path in (_source() / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def _needed(name: str, seen: set[str] | None = None) -> Iterator[importlib.metadata.Distribution]:
    """Yield the distribution `name` and all it needs, without what is for development only."""
    seen = set() if seen is None else seen
    key = name.lower().replace("_", "-")
    if key in seen:
        return
    seen.add(key)
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return  # for another platform or Python; what is really missing would keep this command from running
    yield distribution
    for requirement in distribution.requires or ():
        if "extra ==" not in requirement:
            yield from _needed(_name_of(requirement), seen)


def _name_of(requirement: str) -> str:
    end = next((i for i, char in enumerate(requirement) if not (char.isalnum() or char in "-_.")), len(requirement))
    return requirement[:end]


def _copy(distribution: importlib.metadata.Distribution, site: Path) -> None:
    if distribution.metadata["Name"].lower() == DISTRIBUTION:
        # Our code is copied from where it runs; what pip wrote of it names our commands and what we need.
        for directory in Path(str(distribution.locate_file(""))).glob(f"{DISTRIBUTION}-*.dist-info"):
            shutil.copytree(directory, site / directory.name, dirs_exist_ok=True)
        return
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        inside = ".." not in file.parts and "__pycache__" not in file.parts and not file.is_absolute()
        if not inside or not source.is_file():
            continue
        place = site.joinpath(*file.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)


def _write_commands(target: Path) -> None:
    for entry in _commands():
        path = target / "bin" / entry.name
        path.write_text(
            f"#!{target}/bin/python3\nimport sys\n\nfrom {entry.module} import {entry.attr}\n\n"
            f"sys.exit({entry.attr}())\n"
        )
        path.chmod(0o755)


def _try_out(target: Path) -> None:
    """Import what every command runs, before anything depends on it; raises CannotDo."""
    modules = sorted({entry.module for entry in _commands()})
    if not modules:
        raise CannotDo(f"{DISTRIBUTION} is not installed with its commands here: install it with pip, and run that")
    program = [f"{target}/bin/python3", "-c", "; ".join(f"import {module}" for module in modules)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.defpath})
    if done.returncode:
        said = (done.stderr.strip() or "it does not say why").splitlines()[-1]
        raise CannotDo(f"the version in {target} does not run: {said}")


def _commands() -> list[importlib.metadata.EntryPoint]:
    found = importlib.metadata.distribution(DISTRIBUTION).entry_points
    return [entry for entry in found if entry.group == "console_scripts"]


def _open_to_all(target: Path) -> None:
    """Let the processes' users read the code, whatever the umask was."""
    for path in [target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)

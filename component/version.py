"""What `/version` says: the API that clients may expect here, and which code answers.

Clients read `gitCommit` as a number in base 16 and `buildDate` as a time; a wheel carries no repository, so the
first is a digest of the sources that this process runs and the second is when the newest of them was written: equal
code, equal answers, wherever it was installed. Fields: apimachinery's `version.Info`.
"""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from component.metrics import Gauge

GIT_VERSION: Final = "v1.32.0+steersman"
"""The API that clients may expect here: they choose their own behaviour by it."""
_ROOT: Final = Path(__file__).parents[1]
_PROGRAM: Final = ("api", "apiserver", "component", "store")
_LABELS: Final = {
    "gitVersion": "git_version", "gitCommit": "git_commit", "gitTreeState": "git_tree_state",
    "buildDate": "build_date", "goVersion": "go_version",
}  # fmt: skip
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@functools.cache
def version_info() -> dict[str, str]:
    """Return the document of `/version`; reads the sources once."""
    commit, built = identity(path for package in _PROGRAM for path in (_ROOT / package).rglob("*.py"))
    return {
        "major": "1",
        "minor": "32",
        "gitVersion": GIT_VERSION,
        "gitCommit": commit,
        "gitTreeState": "clean",
        "buildDate": built.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{_ARCHITECTURES.get(platform.machine(), platform.machine())}",
    }


def build_info() -> Gauge:
    """Return the metric that says the same."""
    told = {_LABELS.get(name, name): value for name, value in version_info().items()}
    return Gauge("kubernetes_build_info", "What runs; always 1.", lambda: {tuple(told.values()): 1}, tuple(told))


def identity(sources: Iterable[Path]) -> tuple[str, datetime]:
    """Return 40 hexadecimal digits that change with the content of `sources`, and when the newest was written."""
    digest = hashlib.sha1(usedforsecurity=False)
    newest = 0.0
    for path in sorted(sources):
        content = path.read_bytes()
        digest.update(b"%s %d\0" % (path.name.encode(), len(content)))
        digest.update(content)
        newest = max(newest, path.stat().st_mtime)
    return digest.hexdigest(), datetime.fromtimestamp(newest, UTC)

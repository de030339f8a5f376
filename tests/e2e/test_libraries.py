"""Client libraries, unmodified, doing their normal work: each by a program of its own in `libraries/`.

They are installed from their registries into a throw-away folder, so this asks for the network and runs with `-m soak`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import RunningCluster, run

HERE = Path(__file__).parent / "libraries"
PACKAGES = ("kubernetes", "kubernetes_asyncio", "lightkube", "kr8s", "kopf")
PROGRAMS = ("official", "official_async", "with_lightkube", "with_kr8s", "operator_kopf")
NODE_PACKAGE = "@kubernetes/client-node@1"  # 2 asks for a newer Node.js than many machines have


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    there = tmp_path_factory.mktemp("libraries")
    run([sys.executable, "-m", "venv", str(there)], timeout=300)
    run([f"{there}/bin/pip", "install", "-q", *PACKAGES], timeout=900)
    return f"{there}/bin/python"


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_library_works(cluster: RunningCluster, namespace: str, python: str, program: str) -> None:
    run([python, str(HERE / f"{program}.py"), namespace], env=cluster.environment, timeout=300)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_the_javascript_library_works(cluster: RunningCluster, namespace: str, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("no npm on PATH")
    run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), NODE_PACKAGE], timeout=900)
    program = str(HERE / "client_node.mjs")
    run(["node", program, namespace, str(tmp_path)], env=cluster.environment, timeout=300)

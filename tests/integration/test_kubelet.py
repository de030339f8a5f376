"""A kubelet over real containerd; each scenario runs inside a node made of namespaces, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.node_host import NodeHost
from tests.integration import kubelet_inside, node_lab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not node_lab.can_run, reason="needs root and containerd"),
]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def host() -> Iterator[NodeHost]:
    with node_lab.nodes(1) as (node,):
        (node.cni_conf_dir / "10-test.conflist").write_text(
            '{"cniVersion": "0.4.0", "name": "t", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,'
            f' "ipam": {{"type": "host-local", "dataDir": "{node.directory}/ipam", "subnet": "10.244.1.0/24"}}}}]}}'
        )
        yield node


@pytest.mark.parametrize("scenario", kubelet_inside.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_kubelet_over_containerd(host: NodeHost, scenario) -> None:
    command = [sys.executable, "-m", "tests.integration.kubelet_inside", scenario.__name__, str(host.directory)]
    inside = host.argv(["/bin/sh", "-c", f"cd {REPOSITORY} && exec {' '.join(command)}"])
    done = subprocess.run(inside, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-4000:]

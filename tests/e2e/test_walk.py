"""Stock kubectl 1.27 to 1.33 through every verb.

One version walks every chapter in `make test`, the others a short core; `-m soak` walks every chapter with all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import RunningCluster
from tests.e2e.kubectl import Kubectl, binaries
from tests.e2e.walk import access, changing, inside, making, reading
from tests.e2e.walk.core import the_core

Chapter = Callable[[Kubectl], None]

VERSIONS = ("1.27", "1.28", "1.29", "1.30", "1.31", "1.32", "1.33")
WHOLE = "1.32"
CHAPTERS: tuple[Chapter, ...] = (
    reading.get_in_every_shape,
    reading.watch_changes,
    reading.describe_every_kind,
    reading.explain_every_kind,
    reading.what_the_server_says_of_itself,
    reading.dump_the_cluster,
    reading.events_are_told,
    making.create_with_every_generator,
    making.create_what_belongs_to_the_cluster,
    making.create_files_tokens_and_what_is_refused,
    making.run_expose_and_autoscale,
    changing.apply_diff_edit_and_replace,
    changing.apply_prunes,
    changing.apply_on_the_server,
    changing.apply_from_kustomizations,
    changing.patch_in_every_way,
    changing.label_annotate_and_scale,
    changing.set_every_part,
    changing.roll_out,
    changing.roll_out_sets,
    changing.delete_in_every_way,
    changing.wait_for_everything,
    inside.logs_exec_attach_and_cp,
    inside.forward_and_proxy,
    inside.debug_pods_and_nodes,
    inside.top,
    inside.taint_cordon_and_drain,
    access.ask_what_one_may,
    access.approve_and_deny_certificates,
    access.configure_kubectl,
)


def versions(*marked: str) -> list[object]:
    """Return every version as a parameter, those not in `marked` as soak."""
    return [pytest.param(each, marks=[] if each in marked else pytest.mark.soak) for each in VERSIONS]


def kubectl_of(cluster: RunningCluster, version: str, namespace: str) -> Kubectl:
    at_hand = binaries()
    if version not in at_hand:
        pytest.skip(f"no kubectl.{version} beside the kubectl on PATH")
    return Kubectl(cluster, at_hand[version], namespace)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", versions(WHOLE))
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.__name__)
def test_kubectl_walks(cluster: RunningCluster, namespace: str, version: str, chapter: Chapter) -> None:
    chapter(kubectl_of(cluster, version, namespace))


@pytest.mark.parametrize("version", [each for each in VERSIONS if each != WHOLE])
def test_kubectl_walks_the_core(cluster: RunningCluster, namespace: str, version: str) -> None:
    the_core(kubectl_of(cluster, version, namespace))

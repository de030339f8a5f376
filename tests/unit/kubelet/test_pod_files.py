from __future__ import annotations

from pathlib import Path

from api.core.pod import Pod
from api.meta import ObjectMeta
from kubelet.paths import Paths
from kubelet.pod_files import PodFiles
from kubelet.runtime.containers import log_path

ID = "ab" * 32
POD = Pod(metadata=ObjectMeta(name="web-0", namespace="shop", uid="u"))


def logged(paths: Paths, attempt: int = 0, pod: Pod = POD) -> Path:
    log = paths.pod_logs(pod) / log_path("main", attempt)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("hello\n")
    return log


def test_collectors_find_a_log_by_the_names_of_pod_namespace_and_container(tmp_path: Path):
    paths = Paths(tmp_path / "kubelet", tmp_path / "log" / "pods")
    files = PodFiles(paths, "cluster.local")
    log = logged(paths)
    files.link_log(POD, "main", 0, ID)
    files.link_log(POD, "main", 0, ID)
    (link,) = (tmp_path / "log" / "containers").iterdir()
    assert link.name == f"web-0_shop_main-{ID}.log"
    assert link.resolve() == log == tmp_path / "log" / "pods" / "shop_web-0_u" / "main" / "0.log"


def test_a_link_goes_with_its_log_and_others_stay(tmp_path: Path):
    paths = Paths(tmp_path)
    files = PodFiles(paths, "cluster.local")
    for attempt, container_id in ((0, "old"), (1, "new")):
        logged(paths, attempt)
        files.link_log(POD, "main", attempt, container_id)
    files.remove_attempt(POD, "main", 0)
    assert [link.name for link in paths.log_links.iterdir()] == ["web-0_shop_main-new.log"]
    files.remove_logs("shop", "web-0", "u")
    assert list(paths.log_links.iterdir()) == []


def test_there_is_no_link_to_a_log_that_is_not_there(tmp_path: Path):
    paths = Paths(tmp_path)
    PodFiles(paths, "cluster.local").link_log(POD, "main", 0, ID)
    assert not paths.log_links.exists()


def test_names_that_are_too_long_for_a_file_are_cut_before_the_containers_id(tmp_path: Path):
    paths = Paths(tmp_path)
    pod = Pod(metadata=ObjectMeta(name="p" * 200, namespace="shop", uid="u"))
    assert paths.log_link(pod, "main", ID).name == f"{'p' * 186}-{ID}.log"
    files = PodFiles(paths, "cluster.local")
    logged(paths, pod=pod)
    files.link_log(pod, "main", 0, ID)
    files.remove_attempt(pod, "main", 0)
    assert list(paths.log_links.iterdir()) == []

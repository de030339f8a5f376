from __future__ import annotations

from pathlib import Path

from deploy.machine import reset
from deploy.machine.plan import Layout


def test_logs_of_this_kubelets_pods_go_and_anothers_stay(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    (layout.data / "kubelet/pods/u1").mkdir(parents=True)
    links = tmp_path / "var/log/containers"
    links.mkdir(parents=True)
    for name, uid in (("ours", "u1"), ("theirs", "u2")):
        log = tmp_path / f"var/log/pods/shop_{name}_{uid}/main/0.log"
        log.parent.mkdir(parents=True)
        log.write_text("hello\n")
        (links / f"{name}_shop_main-id.log").symlink_to(log)
    reset._delete_logs(layout)
    assert [each.name for each in (tmp_path / "var/log/pods").iterdir()] == ["shop_theirs_u2"]
    assert [each.name for each in links.iterdir()] == ["theirs_shop_main-id.log"]
    reset._delete_logs(layout)


def test_there_need_not_be_any_logs(tmp_path: Path) -> None:
    assert reset._pod_logs(Layout(root=tmp_path)) == []

from __future__ import annotations

import msgspec

from api.core.containers import Container
from api.core.pod import Pod
from kubelet.storage_limits import Usage, excess, limited_volumes
from tests.unit.kubelet.builders import pod

MIB = 1 << 20


def keeping(limit: str = "", size_limit: str = "", medium: str = "") -> Pod:
    empty_dir = {"sizeLimit": size_limit, "medium": medium} if size_limit else {"medium": medium}
    made = pod(volumes=[{"name": "v", "emptyDir": empty_dir}])
    limits = {"ephemeral-storage": limit} if limit else {}
    made.spec.containers = [msgspec.convert({"name": "main", "image": "i", "resources": {"limits": limits}}, Container)]
    return made


def test_an_empty_dir_may_be_as_large_as_its_limit() -> None:
    limited = keeping(size_limit="5Mi")
    assert excess(limited, Usage({"v": 5 * MIB})) == ""
    assert excess(limited, Usage({"v": 5 * MIB + 1})) == 'Usage of EmptyDir volume "v" exceeds the limit "5Mi". '
    assert excess(keeping(), Usage({"v": 500 * MIB})) == ""


def test_containers_and_volumes_on_disk_count_together() -> None:
    limited = keeping(limit="10Mi")
    assert excess(limited, Usage({"v": 4 * MIB}, {"main": 6 * MIB})) == ""
    assert "total limit of containers 10Mi" in excess(limited, Usage({"v": 5 * MIB}, {"main": 6 * MIB}))
    assert excess(keeping(limit="10Mi", medium="Memory"), Usage({"v": 50 * MIB}, {"main": 6 * MIB})) == ""


def test_one_container_over_its_own_limit_is_enough() -> None:
    two = keeping(limit="10Mi")
    two.spec.containers.append(
        msgspec.convert({"name": "b", "image": "i", "resources": {"limits": {"ephemeral-storage": "50Mi"}}}, Container)
    )
    found = excess(two, Usage({}, {"main": 11 * MIB, "b": 1}))
    assert found == 'Container main exceeded its local ephemeral storage limit "10Mi". '


def test_only_what_is_limited_is_measured() -> None:
    assert limited_volumes(keeping()) == []
    assert limited_volumes(keeping(size_limit="1Mi")) == limited_volumes(keeping(limit="1Mi")) == ["v"]

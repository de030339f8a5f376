from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.core.containers import Container
from api.core.pod import Pod
from api.core.volumes import EmptyDirVolumeSource, HostPathVolumeSource
from kubelet.downward import PodFacts
from kubelet.environment import ConfigError
from kubelet.paths import Paths
from kubelet.volumes import empty_dir, host_path
from kubelet.volumes.atomic_writer import write
from kubelet.volumes.ownership import give_to_group, show_to_group
from kubelet.volumes.payload import File
from kubelet.volumes.pod_volumes import Mounted, PodVolumes, VolumeError, container_devices, container_mounts


def mounting(**mount: object) -> Container:
    return msgspec.convert({"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"} | mount]}, Container)


def test_a_mount_leads_to_its_volume(tmp_path: Path):
    (found,) = container_mounts(mounting(readOnly=True), {"v": Mounted(tmp_path)}, {})
    assert (found.container_path, found.host_path, found.readonly) == ("/v", str(tmp_path), True)


def test_a_device_is_given_to_its_container_to_read_and_write_unless_its_claim_says_otherwise(tmp_path: Path):
    container = msgspec.convert({"name": "c", "volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, Container)
    link = tmp_path / "by-name"
    link.symlink_to(tmp_path / "sda")
    (found,) = container_devices(container, {"v": Mounted(link, is_device=True)})
    assert (found.container_path, found.host_path, found.permissions) == ("/dev/x", str(tmp_path / "sda"), "mrw")
    (found,) = container_devices(container, {"v": Mounted(link, is_read_only=True, is_device=True)})
    assert found.permissions == "r"
    for volumes in ({}, {"v": Mounted(tmp_path)}):
        with pytest.raises(ConfigError, match='cannot find volume "v" to pass into container'):
            container_devices(container, volumes)


def test_a_sub_path_is_made_and_may_use_variables(tmp_path: Path):
    (found,) = container_mounts(mounting(subPathExpr="d/$(WHO)"), {"v": Mounted(tmp_path)}, {"WHO": "me"})
    assert found.host_path == str(tmp_path / "d" / "me")
    assert (tmp_path / "d" / "me").is_dir()


@pytest.mark.parametrize("mode", [0o2777, 0o3777, 0o755])
def test_what_is_made_for_a_sub_path_is_as_open_as_its_volume_and_of_its_group(tmp_path: Path, mode: int):
    volume = tmp_path / "v"
    volume.mkdir()
    volume.chmod(mode)
    before = os.umask(0o077)
    try:
        container_mounts(mounting(subPath="a/b/c"), {"v": Mounted(volume)}, {})
    finally:
        os.umask(before)
    for below in ("a", "a/b", "a/b/c"):
        assert (volume / below).stat().st_mode & 0o7777 == mode


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../x"])
def test_a_sub_path_may_not_lead_out_of_its_volume(tmp_path: Path, path: str):
    with pytest.raises(ConfigError):
        container_mounts(mounting(subPath=path), {"v": Mounted(tmp_path)}, {})


def test_what_the_runtime_cannot_make_read_only_is_refused_only_if_it_must_be(tmp_path: Path):
    volumes = {"v": Mounted(tmp_path)}
    with pytest.raises(ConfigError, match=r'volume "v" requested recursive read-only mode, but it is not supported'):
        container_mounts(mounting(readOnly=True, recursiveReadOnly="Enabled"), volumes, {})
    (found,) = container_mounts(mounting(readOnly=True, recursiveReadOnly="IfPossible"), volumes, {})
    assert found.readonly


def test_a_sub_path_of_an_unknown_variable_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match='missing value for "WHO"'):
        container_mounts(mounting(subPathExpr="d/$(WHO)"), {"v": Mounted(tmp_path)}, {})


def test_a_link_in_a_volume_does_not_lead_out_of_it(tmp_path: Path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "link").symlink_to("/etc")
    with pytest.raises(ConfigError, match="leads out of volume"):
        container_mounts(mounting(subPath="link"), {"v": Mounted(volume)}, {})


def test_a_volume_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match='cannot find volume "v"'):
        container_mounts(mounting(), {}, {})


def test_an_empty_dir_keeps_its_content(tmp_path: Path):
    directory = tmp_path / "v"
    empty_dir.set_up(directory, EmptyDirVolumeSource(), None)
    (directory / "f").touch()
    directory.chmod(0o700)
    empty_dir.set_up(directory, EmptyDirVolumeSource(), None)
    assert (directory / "f").exists()
    assert directory.stat().st_mode & 0o777 == 0o700


def test_an_empty_dir_is_open_to_all_whenever_its_kubelet_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    directory = tmp_path / "v"
    change = Path.chmod

    def killed(path: Path, mode: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", killed)
    with pytest.raises(KeyboardInterrupt):
        empty_dir.set_up(directory, EmptyDirVolumeSource(), None)
    monkeypatch.setattr(Path, "chmod", change)
    empty_dir.set_up(directory, EmptyDirVolumeSource(), None)
    assert directory.stat().st_mode & 0o777 == 0o777


def test_a_tree_of_which_half_was_given_to_the_group_is_given_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    group = os.getgid()  # Giving to another takes root.
    (tmp_path / "d").mkdir(mode=0o700)
    (tmp_path / "d" / "f").touch(mode=0o600)
    give, given = os.chown, 0

    def killed(*arguments: Any) -> None:
        nonlocal given
        given += 1
        if given > 1:
            raise KeyboardInterrupt
        give(*arguments)

    monkeypatch.setattr(os, "chown", killed)
    with pytest.raises(KeyboardInterrupt):
        give_to_group(tmp_path, group)
    monkeypatch.setattr(os, "chown", give)
    give_to_group(tmp_path, group, only_if_root_differs=True)
    modes = [path.stat().st_mode & 0o7777 for path in (tmp_path, tmp_path / "d", tmp_path / "d" / "f")]
    assert [mode & 0o660 for mode in modes] == [0o660] * 3 and modes[1] & 0o2000


@pytest.mark.parametrize(
    ("limit", "of_pod", "size"), [(None, None, None), ("1Mi", None, 1 << 20), (None, 5, 5), ("1Mi", 5, 5), ("3", 5, 3)]
)
def test_memory_for_files_is_bounded_by_the_volume_and_by_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, of_pod: int | None, size: int | None
):
    mounted: list[int | None] = []
    monkeypatch.setattr(empty_dir.mounts, "mount_tmpfs", lambda path, limit, mode, group: mounted.append(limit))
    empty_dir.set_up(tmp_path / "v", EmptyDirVolumeSource(medium="Memory", size_limit=limit), None, of_pod)
    assert mounted == [size]


def with_volumes(*volumes: dict[str, Any], unused: str = "") -> Pod:
    """Return a pod that mounts all of its volumes but one."""
    used = [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in volumes]
    container = {"name": "c", "volumeMounts": [mount for mount in used if mount["name"] != unused]}
    spec = {"volumes": list(volumes), "containers": [container]}
    return msgspec.convert({"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": spec}, Pod)


class NoClaims:
    async def claim(self, key: object) -> None:
        return None


async def test_of_several_volumes_that_cannot_be_set_up_each_is_told_and_the_others_are_there(tmp_path: Path):
    nobody: Any = None
    nowhere: Any = NoClaims()
    volumes = PodVolumes(Paths(tmp_path), nowhere, nobody, lambda: None)
    missing = {"path": str(tmp_path / "missing"), "type": "Directory"}
    pod = with_volumes(
        {"name": "z", "persistentVolumeClaim": {"claimName": "one"}},
        {"name": "a", "hostPath": missing},
        {"name": "good", "emptyDir": {}},
        {"name": "b", "hostPath": missing},
        {"name": "y", "persistentVolumeClaim": {"claimName": "two"}},
    )
    with pytest.raises(VolumeError) as caught:
        await volumes.set_up(pod, PodFacts())
    first, second, claims = caught.value.messages
    assert first.startswith('MountVolume.SetUp failed for volume "a" : ')
    assert second.startswith('MountVolume.SetUp failed for volume "b" : ')
    unmounted = "unmounted volumes=[a b y z], unattached volumes=[], failed to process volumes=[y z]: "
    assert claims.startswith(f"Unable to attach or mount volumes: {unmounted}")
    assert claims.count("; ") == 1 and '"one"' in claims and '"two"' in claims
    assert list(tmp_path.rglob("good"))  # noqa: ASYNC240 (a test may wait for its own disk)


async def test_a_volume_that_no_container_mounts_is_not_looked_at(tmp_path: Path):
    nobody: Any = None
    volumes = PodVolumes(Paths(tmp_path), nobody, nobody, lambda: None)
    pod = with_volumes({"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "missing"}}, unused="b")
    assert list(await volumes.set_up(pod, PodFacts())) == ["a"]


async def test_what_a_pod_is_told_of_itself_is_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mounted: list[Path] = []
    monkeypatch.setattr(empty_dir.mounts, "mount_tmpfs", lambda path, limit, mode: mounted.append(path))
    items = [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
    volume = {"name": "v", "downwardAPI": {"items": items}}
    pod = with_volumes(volume)
    nobody: Any = None
    volumes = PodVolumes(Paths(tmp_path), nobody, nobody, lambda: None)
    found = await volumes.set_up(pod, PodFacts())
    assert mounted == [found["v"].path]
    assert (found["v"].path / "name").read_text() == "p"


def test_files_from_the_api_are_shown_to_the_group_whole(tmp_path: Path):
    group = os.getgid()  # Giving to another takes root.
    write(tmp_path, {"a": File(b"1", 0o400), "d/b": File(b"2", 0o400)}, group)
    for _ in range(2):  # as often as it is set up
        show_to_group(tmp_path, group)
        data = tmp_path / "..data"
        for directory in (tmp_path, data.resolve(), data / "d"):
            state = directory.stat()
            assert (state.st_gid, state.st_mode & 0o2070) == (group, 0o2050)
        assert [(data / name).stat().st_mode & 0o777 for name in ("a", "d/b")] == [0o440, 0o440]
        assert (tmp_path / "a").lstat().st_gid == group


def test_a_host_path_is_made_or_checked_by_its_type(tmp_path: Path):
    made = host_path.set_up(HostPathVolumeSource(path=str(tmp_path / "d"), type="DirectoryOrCreate"))
    assert made.is_dir()
    with pytest.raises(host_path.WrongKind, match="is not a file"):
        host_path.set_up(HostPathVolumeSource(path=str(made), type="File"))
    assert host_path.set_up(HostPathVolumeSource(path="/anything")) == Path("/anything")

"""Volumes and claims, limits and quotas, and the other kinds of the core group that only hold words."""

import copy

from tests.unit.api.builders import cells, kind_of, made, wrong

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
VOLUME = """
apiVersion: v1
kind: PersistentVolume
spec: {accessModes: [ReadWriteOnce, ReadOnlyMany], capacity: {storage: 1Gi}, hostPath: {path: /data}}
"""


def test_a_claim_begins_pending() -> None:
    claim = made(CLAIM)
    assert (claim.spec.volume_mode, claim.status.phase) == ("Filesystem", "Pending")
    assert wrong(claim) == []
    assert cells(claim)["Status"] == "Pending"


def test_a_claim_asks_for_some_storage_in_some_way() -> None:
    claim = made(CLAIM.replace("1Gi", "0").replace("ReadWriteOnce", "ReadWriteOncePod, ReadOnlyMany"))
    assert wrong(claim) == [
        "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
        'spec.resources[storage]: Invalid value: "0": must be greater than zero',
    ]


def test_a_claim_is_bound_once_and_may_only_grow_then() -> None:
    old = made(CLAIM)
    bound = copy.deepcopy(old)
    bound.spec.volume_name = "v"
    assert wrong(bound, old) == []
    larger = copy.deepcopy(bound)
    larger.spec.resources.requests["storage"] = "2Gi"
    assert len(wrong(larger, bound)) == 1
    bound.status.phase = larger.status.phase = "Bound"
    assert wrong(larger, bound) == []
    larger.status.capacity = {"storage": "1Gi"}
    assert wrong(bound, larger) == [
        "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
    ]


def test_both_ways_to_name_a_claims_source_are_kept_equal() -> None:
    claim = made(CLAIM.replace("spec: {", "spec: {dataSource: {kind: PersistentVolumeClaim, name: b}, "))
    assert (claim.spec.data_source_ref.kind, claim.spec.data_source_ref.name) == ("PersistentVolumeClaim", "b")
    assert wrong(claim) == []


def test_a_volume_outlives_its_claim_and_stays_where_it_is() -> None:
    old = made(VOLUME)
    assert (old.spec.persistent_volume_reclaim_policy, old.spec.volume_mode) == ("Retain", "Filesystem")
    assert wrong(old) == []
    assert cells(old)["Access Modes"] == "RWO,ROX"
    new = copy.deepcopy(old)
    new.spec.host_path.path = "/other"
    assert wrong(new, old) == [
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"
    ]


def test_a_volume_has_one_source_and_a_local_one_a_node() -> None:
    volume = made(VOLUME.replace("hostPath", "local: {path: /d}, hostPath"))
    assert wrong(volume) == [
        "spec.local: Forbidden: may not specify more than 1 volume type",
    ]
    assert wrong(made(VOLUME.replace("hostPath", "local"))) == [
        "spec.nodeAffinity: Required value: Local volume requires node affinity",
    ]
    volume = made(VOLUME.replace(", hostPath: {path: /data}", ""))
    assert wrong(volume) == ["spec: Required value: must specify a volume type"]


def test_what_a_container_gets_follows_from_what_it_may_have() -> None:
    limits = made(
        """
apiVersion: v1
kind: LimitRange
spec: {limits: [{type: Container, max: {cpu: "2"}, min: {memory: 1Mi}}]}
"""
    )
    [item] = limits.spec.limits
    assert (item.default, item.default_request) == ({"cpu": "2"}, {"cpu": "2", "memory": "1Mi"})
    assert wrong(limits) == []
    item.min["cpu"] = "3"
    assert 'spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 2' in wrong(limits)


def test_a_quota_says_what_it_counts_once() -> None:
    old = made("{apiVersion: v1, kind: ResourceQuota, spec: {hard: {pods: 1, limits.cpu: 2}, scopes: [NotBestEffort]}}")
    assert wrong(old) == []
    new = copy.deepcopy(old)
    new.spec.scopes = ["Terminating", "NotTerminating"]
    assert [error.rpartition(": ")[2] for error in wrong(new, old)] == ["conflicting scopes", "field is immutable"]
    old.status.hard, old.status.used = {"pods": "1", "limits.cpu": "2"}, {"pods": "1"}
    assert (cells(old)["Request"], cells(old)["Limit"]) == ("pods: 1/1", "limits.cpu: 0/2")


def test_endpoints_are_addresses_that_can_be_reached_from_elsewhere() -> None:
    ends = made(
        """
apiVersion: v1
kind: Endpoints
subsets: [{addresses: [{ip: 127.0.0.1}, {ip: fd00::1}], ports: [{port: 80}]}]
"""
    )
    assert ends.subsets[0].ports[0].protocol == "TCP"
    [error] = wrong(ends)
    assert error.startswith('subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range')
    assert cells(ends)["Endpoints"] == "127.0.0.1:80,[fd00::1]:80"


def test_a_replication_controller_selects_by_its_templates_labels() -> None:
    controller = made(
        """
apiVersion: v1
kind: ReplicationController
spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}}
"""
    )
    assert (controller.spec.replicas, controller.spec.selector) == (1, {"a": "b"})
    assert controller.metadata.labels == {"a": "b"}
    assert wrong(controller) == []
    controller.spec.selector = {"a": "c"}
    assert len(wrong(controller)) == 1
    assert kind_of(controller).short_names == ("rc",)


def paths(text: str) -> list[str]:
    return [error.partition(":")[0] for error in wrong(made(text))]


def test_limits_are_of_resources_that_there_are_and_true_at_once() -> None:
    def limits(item: str) -> list[str]:
        return paths("apiVersion: v1\nkind: LimitRange\nspec: {limits: [{" + item + "}]}")

    assert limits("type: Pod, max: {storage: 1}") == ["spec.limits[0].max[storage]"]
    assert limits("type: PersistentVolumeClaim, max: {storage: 1}") == []
    assert limits("type: Container, min: {cpu: 2}, defaultRequest: {cpu: 1}") == ["spec.limits[0].defaultRequest[cpu]"]
    assert limits("type: Container, default: {cpu: 2}, max: {cpu: 1}, defaultRequest: {cpu: 1}") == [
        "spec.limits[0].default[cpu]"
    ]
    assert limits("type: Pod, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 3}") == [
        "spec.limits[0].maxLimitRequestRatio[cpu]"
    ]
    assert limits("type: Container, default: {a.b/c: 2}, defaultRequest: {a.b/c: 1}") == [
        "spec.limits[0].defaultRequest[a.b/c]"
    ]


def test_a_quota_counts_what_can_be_counted_in_whole_things() -> None:
    def quota(hard: str) -> list[str]:
        return paths("apiVersion: v1\nkind: ResourceQuota\nspec: {hard: {" + hard + "}}")

    assert quota("pods: 1, count/deployments.apps: 2, requests.hugepages-2Mi: 1, requests.a.b/c: 1") == []
    assert (
        quota("pods: 1500m, storage: 1, odd: 1") == ["spec.hard[pods]", "spec.hard[storage]"] + ["spec.hard[odd]"] * 2
    )


def test_a_node_has_one_range_of_each_family() -> None:
    def node(ranges: str) -> list[str]:
        return paths("apiVersion: v1\nkind: Node\nspec: {podCIDRs: [" + ranges + "]}")

    assert node("10.0.0.1/24, 'fd00::/64'") == []
    assert node("10.0.0.0/24, 10.0.1.0/24") == ["spec.podCIDRs"]
    assert node("10.0.0.0") == ["spec.podCIDRs[0]"]


def test_volumes_on_older_systems_are_defaulted_in_pods_as_in_objects() -> None:
    sources = [
        "rbd: {monitors: [m], image: i}",
        "scaleIO: {gateway: g, system: s, secretRef: {name: x}}",
        "azureDisk: {diskName: d, diskURI: u}",
        "iscsi: {targetPortal: p, iqn: i, lun: 0}",
        "hostPath: {path: /a}",
    ]
    volumes = ", ".join(f"{{name: v{index}, {source}}}" for index, source in enumerate(sources))
    pod = made(f"{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: c, image: x}}], volumes: [{volumes}]}}}}")
    rbd, scale_io, azure_disk, iscsi, host_path = pod.spec.volumes
    assert (rbd.rbd.pool, rbd.rbd.user, rbd.rbd.keyring) == ("rbd", "admin", "/etc/ceph/keyring")
    assert (scale_io.scale_io.storage_mode, scale_io.scale_io.fs_type) == ("ThinProvisioned", "xfs")
    disk = azure_disk.azure_disk
    assert (disk.caching_mode, disk.kind, disk.fs_type, disk.read_only) == ("ReadWrite", "Shared", "ext4", False)
    assert (iscsi.iscsi.iscsi_interface, host_path.host_path.type) == ("default", "")

"""What upstream refuses of pods, under which path and for which reason, and what it takes although it looks wrong."""

import copy
import json
from typing import Any

import pytest

from api import serde, validation
from api.core import persistentvolume, pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
TERMS = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
TOKEN = {"serviceAccountToken": {"path": "t"}}


def a_pod(spec: dict[str, Any] | None = None, container: dict[str, Any] | None = None, **metadata: Any) -> pod.Pod:
    body = {"metadata": {"name": "a", "namespace": "d", **metadata}}
    body["spec"] = {"containers": [{"name": "c", "image": "i", **(container or {})}], **(spec or {})}
    made = serde.decode(json.dumps(body).encode(), pod.RESOURCE, field_validation="Strict").object
    pod.RESOURCE.default(made)
    return made


def causes(new: pod.Pod, old: pod.Pod | None = None, *, status: bool = False) -> list[str]:
    errors = validation.find_errors(pod.RESOURCE, new, old, status=status)
    return [f"{e.path}: {e.reason.removeprefix('FieldValue')}" for e in errors]


def volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **source}]}


@pytest.mark.parametrize(
    ("spec", "container"),
    [
        ({"terminationGracePeriodSeconds": -5}, {}),
        ({"schedulerName": "Not A Name"}, {}),
        ({"imagePullSecrets": [{}]}, {}),
        ({}, {"env": [{"name": "1 b~", "value": "x"}]}),
        (volume(emptyDir={}), {"volumeMounts": [{"name": "v", "mountPath": "/d", "subPath": "..data"}]}),
        (volume(projected={"sources": [{}]}), {}),
        (volume(hostPath={"path": "relative"}), {}),
        ({}, {"resources": {"limits": {"hugepages-2Mi": "4Mi", "cpu": "1"}}}),
        ({"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2},
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}]}, {}),
    ],
)  # fmt: skip
def test_what_upstream_takes_is_taken(spec: dict[str, Any], container: dict[str, Any]) -> None:
    assert causes(a_pod(spec, container)) == []


@pytest.mark.parametrize(
    ("container", "found"),
    [
        ({"env": [{"name": "x", "value": "y", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
         ["env[0].valueFrom: Invalid"]),
        ({"env": [{"name": "x", "valueFrom": {"secretKeyRef": {"name": "", "key": "k"}}}]},
         ["env[0].valueFrom.secretKeyRef.name: Invalid"]),
        ({"env": [{"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.whoops"}}}]},
         ["env[0].valueFrom.fieldRef.fieldPath: Invalid"]),
        ({"env": [{"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
         ["env[0].valueFrom.fieldRef.fieldPath: NotSupported"]),
        ({"env": [{"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name['k']"}}}]},
         ["env[0].valueFrom.fieldRef.fieldPath: Invalid"]),
        ({"env": [{"name": "x", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1Mi"}}}]},
         ["env[0].valueFrom.resourceFieldRef.divisor: Invalid"]),
        ({"envFrom": [{}]}, ["envFrom: Invalid"]),
        ({"envFrom": [{"configMapRef": {"name": "A"}}]}, ["envFrom[0].configMapRef.name: Invalid"]),
        ({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "a/../b"}]}, ["volumeMounts.subPath: Invalid"]),
        ({"volumeMounts": [{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]},
         ["volumeMounts.mountPropagation: Forbidden"]),
        ({"volumeMounts": [{"name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled"}]},
         ["volumeMounts.recursiveReadOnly: Forbidden"]),
        ({"volumeDevices": [{"name": "v", "devicePath": "/a"}]}, ["volumeDevices[0].name: Invalid"]),
        ({"volumeDevices": [{"name": "p", "devicePath": "/a/../b"}]}, ["volumeDevices[0].devicePath: Invalid"]),
        ({"volumeDevices": [{"name": "p", "devicePath": "/a"}], "volumeMounts": [{"name": "p", "mountPath": "/a"}]},
         ["volumeMounts[0].name: Invalid", "volumeMounts[0].mountPath: Invalid",
          "volumeDevices[0].name: Invalid", "volumeDevices[0].devicePath: Invalid"]),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}, ["lifecycle.preStop.sleep: Invalid"]),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}, ["lifecycle.preStop.sleep: Invalid"]),
        ({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 0}}},
         ["livenessProbe.tcpSocket: Forbidden"]),
        ({"livenessProbe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b", "value": ""}]}}},
         ["livenessProbe.httpGet.httpHeaders: Invalid"]),
        ({"readinessProbe": {"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 3}},
         ["readinessProbe.terminationGracePeriodSeconds: Invalid"]),
        ({"resources": {"limits": {"hugepages-2Mi": "4Mi"}}}, ["resources: Forbidden"]),
        ({"resources": {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}},
         ["resources.limits[hugepages-2Mi]: Invalid", "resources.requests[hugepages-2Mi]: Invalid"]),
        ({"resources": {"requests": {"cpu": "1", "hugepages-2Mi": "2Mi"}}}, ["resources.limits: Required"]),
        ({"resources": {"limits": {"requests.example.com/a": "1"}}},
         ["resources.limits[requests.example.com/a]: Invalid", "resources.requests[requests.example.com/a]: Invalid"]),
        ({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}},
         ["securityContext.seccompProfile.localhostProfile: Invalid"]),
        ({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}},
         ["securityContext.appArmorProfile.localhostProfile: Invalid"]),
        ({"securityContext": {"windowsOptions": {"runAsUserName": "a\\b\\c"}}},
         ["securityContext.windowsOptions.runAsUserName: Invalid"]),
    ],
)  # fmt: skip
def test_what_a_container_may_not_be(container: dict[str, Any], found: list[str]) -> None:
    volumes = [{"name": "v", "emptyDir": {}}, {"name": "p", "persistentVolumeClaim": {"claimName": "c"}}]
    assert causes(a_pod({"volumes": volumes}, container)) == [f"spec.containers[0].{each}" for each in found]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (volume(hostPath={"path": "/a", "type": "Odd"}), ["volumes[0].hostPath.type: NotSupported"]),
        (volume(nfs={"server": "s", "path": "a"}), ["volumes[0].nfs.path: Invalid"]),
        (volume(gitRepo={"repository": ""}), ["volumes[0].gitRepo.repository: Required"]),
        (volume(gcePersistentDisk={"pdName": "a", "partition": 300}), ["volumes[0].persistentDisk.partition: Invalid"]),
        (volume(iscsi={"targetPortal": "1.2.3.4", "iqn": "x", "lun": 1}), ["volumes[0].iscsi.iqn: Invalid"]),
        (volume(iscsi={"targetPortal": "p", "iqn": "iqn.2015-02.example.com:a", "lun": 1, "chapAuthSession": True}),
         ["volumes[0].iscsi.secretRef: Required"]),
        (volume(fc={"targetWWNs": ["a"]}), ["volumes[0].fc.lun: Required"]),
        (volume(quobyte={"registry": "nowhere", "volume": "v"}), ["volumes[0].quobyte.registry: Invalid"]),
        (volume(flexVolume={"driver": "d", "options": {"kubernetes.io/a": "b"}}),
         ["volumes[0].flexVolume.options[kubernetes.io/a]: Invalid"]),
        (volume(azureDisk={"diskName": "a", "diskURI": "b", "kind": "Managed"}),
         ["volumes[0].azureDisk.diskURI: NotSupported"]),
        (volume(csi={"driver": "a/b"}), ["volumes[0].csi.driver: Invalid"]),
        (volume(ephemeral={}), ["volumes[0].ephemeral.volumeClaimTemplate: Required"]),
        (volume(ephemeral={"volumeClaimTemplate": {"metadata": {"name": "n"}, "spec": {"accessModes": ["RWX"],
            "resources": {"requests": {"storage": "1"}}}}}),
         ["volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden",
          "volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: NotSupported"]),
        (volume(downwardAPI={"items": [{"path": "a"}]}), ["volumes[0].downwardAPI: Required"]),
        (volume(downwardAPI={"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}),
         ["volumes[0].downwardAPI.resourceFieldRef.containerName: Required"]),
        (volume(projected={"sources": [{"secret": {"name": "a"}, **TOKEN}]}),
         ["volumes[0].projected.sources[0]: Forbidden",
          "volumes[0].projected.sources[0].serviceAccountToken: Forbidden"]),
        (volume(projected={"sources": [{"secret": {"name": "a", "items": [{"key": "k", "path": "p"}]}},
            {"configMap": {"name": "a", "items": [{"key": "k", "path": "p"}]}}]}), ["volumes[0].projected: Invalid"]),
        ({"dnsConfig": {"searches": ["a_b"]}}, ["dnsConfig.searches[0]: Invalid"]),
        ({"schedulingGates": [{"name": ""}]}, ["schedulingGates[0]: Invalid"] * 2),
        ({"nodeName": "n", "schedulingGates": [{"name": "g"}]}, ["nodeName: Forbidden"]),
        ({"runtimeClassName": ""}, ["runtimeClassName: Invalid"]),
        ({"overhead": {"what": "1"}}, ["overhead.limits[what]: Invalid"] * 2),
        ({"os": {"name": "plan9"}}, ["os: NotSupported"]),
        ({"os": {"name": "windows"}, "hostPID": True, "securityContext": {"runAsUser": 1}},
         ["securityContext.runAsUser: Forbidden", "hostPID: Forbidden"]),
        ({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}},
         ["securityContext.windowsOptions: Forbidden"]),
        ({"hostNetwork": True, "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}},
         ["securityContext.sysctls[0].name: Invalid"]),
        ({"affinity": {"podAffinity": {REQUIRED: [
            {"topologyKey": "z", "namespaces": ["A"], "matchLabelKeys": ["k"]}]}}},
         [f"affinity.podAffinity.{REQUIRED}[0].namespace: Invalid",
          f"affinity.podAffinity.{REQUIRED}[0].matchLabelKeys: Forbidden"]),
        ({"affinity": {"podAntiAffinity": {REQUIRED: [
            {"topologyKey": "z", "matchLabelKeys": ["j", "k"], "labelSelector": {"matchLabels": {"k": "v"},
             "matchExpressions": [{"key": "j", "operator": "In", "values": ["w"]},
                                  {"key": "k", "operator": "In", "values": ["v"]}]}}]}}},
         [f"affinity.podAntiAffinity.{REQUIRED}[0].matchLabelKeys[1]: Invalid"]),
        ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway",
            "minDomains": 2, "nodeTaintsPolicy": "Odd"}]},
         ["topologySpreadConstraints[0].minDomains: Invalid",
          "topologySpreadConstraints[0].nodeTaintsPolicy: NotSupported"]),
        ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}] * 2},
         ["topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate"]),
        ({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"a": "b"}}, "matchLabelKeys": ["a"]}]},
         ["topologySpreadConstraints[0].matchLabelKeys[0]: Invalid"]),
    ],
)  # fmt: skip
def test_what_the_spec_of_a_pod_may_not_be(spec: dict[str, Any], found: list[str]) -> None:
    assert causes(a_pod(spec)) == [f"spec.{each}" for each in found]


def test_profiles_in_annotations_say_the_same_as_in_fields() -> None:
    seccomp = {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}
    key = "seccomp.security.alpha.kubernetes.io/pod"
    assert causes(a_pod(seccomp, annotations={key: "docker/default"})) == []
    assert causes(a_pod(seccomp, annotations={key: "unconfined"})) == [
        "spec.securityContext.seccompProfile.type: Forbidden"
    ]
    armor = "container.apparmor.security.beta.kubernetes.io/nobody"
    assert causes(a_pod(annotations={armor: "odd"})) == [f"metadata.annotations[{armor}]: Invalid"] * 2
    cost = "controller.kubernetes.io/pod-deletion-cost"
    assert causes(a_pod(annotations={cost: "+1"})) == [f"metadata.annotations[{cost}]: Invalid"]


def test_a_toleration_may_last_shorter_and_a_changed_spec_is_checked_whole() -> None:
    old = a_pod({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}]})
    new = copy.deepcopy(old)
    new.spec.tolerations[0].toleration_seconds = 5
    assert causes(new, old) == []
    new.spec.restart_policy = "Odd"
    assert causes(new, old) == ["spec.restartPolicy: NotSupported", "spec: Forbidden"]


def test_a_gated_pod_may_be_told_more_of_its_nodes() -> None:
    def gated(*keys: str, count: int = 1, **selector: str) -> pod.Pod:
        terms = [{"matchExpressions": [{"key": key, "operator": "Exists"} for key in keys]}] * count
        affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}} if keys else None
        made = {"schedulingGates": [{"name": "g"}], "nodeSelector": selector, "affinity": affinity}
        return a_pod({name: value for name, value in made.items() if value})

    assert causes(gated("a", "b", x="1", y="2"), gated("a", x="1")) == []
    assert causes(gated("a"), gated()) == []
    assert causes(gated("b"), gated("a")) == [f"{TERMS}[0]: Invalid"]
    assert causes(gated("a", count=2), gated("a")) == [TERMS + ": Invalid"]
    assert causes(gated(), gated("a")) == [TERMS + ": Invalid"]
    assert causes(gated(x="2"), gated(x="1")) == ["spec.nodeSelector: Invalid"]


def test_a_status_has_one_address_of_a_family_and_raises_no_dead() -> None:
    old = a_pod({"restartPolicy": "Never", "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}]})
    new = copy.deepcopy(old)
    new.status.host_ip = "10.0.0.1"
    new.status.host_ips = [pod_ip("10.0.0.2")]
    new.status.pod_ips = [pod_ip("10.1.0.1"), pod_ip("10.1.0.2")]
    assert causes(new, old, status=True) == ["status.podIPs: Invalid", "status.hostIPs[0].ip: Invalid"]


def pod_ip(address: str) -> Any:
    return serde.decode(
        json.dumps({"status": {"podIPs": [{"ip": address}]}}).encode(), pod.RESOURCE
    ).object.status.pod_ips[0]


def test_a_persistent_volume_names_its_secrets_and_may_be_given_one_for_growing() -> None:
    def of(**source: Any) -> persistentvolume.PersistentVolume:
        spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, **source}
        body = json.dumps({"metadata": {"name": "v"}, "spec": spec}).encode()
        made = serde.decode(body, persistentvolume.RESOURCE, field_validation="Strict").object
        persistentvolume.RESOURCE.default(made)
        return made

    def found(new: Any, old: Any = None) -> list[str]:
        return [e.path for e in validation.find_errors(persistentvolume.RESOURCE, new, old)]

    csi = {"driver": "d", "volumeHandle": "h"}
    secret = {"name": "s", "namespace": "n"}
    assert found(of(csi=csi | {"nodePublishSecretRef": {"name": "s"}})) == ["spec.csi.nodePublishSecretRef.namespace"]
    assert found(of(csi=csi | {"controllerExpandSecretRef": secret}), of(csi=csi)) == []
    assert found(of(csi=csi | {"nodeExpandSecretRef": secret}), of(csi=csi)) == ["spec.persistentvolumesource"]
    assert found(of(hostPath={"path": "/a/.."})) == ["spec.hostPath.path"]
    root = of(hostPath={"path": "/./"}, persistentVolumeReclaimPolicy="Recycle")
    assert found(root) == ["spec.persistentVolumeReclaimPolicy"]
    assert found(of(local={"path": "/a/../b"})) == ["spec.local.path", "spec.nodeAffinity"]
    assert found(of(azureFile={"secretName": "a", "shareName": "b", "secretNamespace": ""})) == [
        "spec.azureFile.secretNamespace"
    ]

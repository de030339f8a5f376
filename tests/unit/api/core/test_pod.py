import copy
import json
from typing import Any

import pytest

from api import serde, validation
from api.core import pod
from api.core.pod_defaults import pull_policy_of

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def a_pod(spec: dict[str, Any] | None = None, **container: Any) -> pod.Pod:
    body = {"metadata": {"name": "a", "namespace": "d"}}
    body["spec"] = {"containers": [{"name": "c", "image": "i", **container}], **(spec or {})}
    made = serde.decode(json.dumps(body).encode(), pod.RESOURCE, field_validation="Strict").object
    pod.RESOURCE.default(made)
    return made


def wrong(new: pod.Pod, old: pod.Pod | None = None) -> list[str]:
    return [f"{e.path}: {e.message}" for e in validation.find_errors(pod.RESOURCE, new, old)]


def test_a_pod_gets_upstreams_defaults() -> None:
    assert serde.to_value(a_pod())["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }


def test_parts_of_containers_and_volumes_get_theirs() -> None:
    made = a_pod(
        {
            "volumes": [
                {"name": "e"},
                {"name": "s", "secret": {"secretName": "x"}},
                {"name": "h", "hostPath": {"path": "/"}},
            ]
        },
        ports=[{"containerPort": 80}],
        env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        livenessProbe={"httpGet": {"port": 80}},
        resources={"limits": {"cpu": "1"}},
    )
    [container] = serde.to_value(made)["spec"]["containers"]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["env"][0]["valueFrom"]["fieldRef"] == {"apiVersion": "v1", "fieldPath": "metadata.name"}
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}
    assert serde.to_value(made)["spec"]["volumes"] == [
        {"name": "e", "emptyDir": {}},
        {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
        {"name": "h", "hostPath": {"path": "/", "type": ""}},
    ]
    assert wrong(made) == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        (f"nginx@sha256:{'a' * 64}", "IfNotPresent"),
        ("Host/nginx", "Always"),
        ("nginx/A", "IfNotPresent"),
        ("", "IfNotPresent"),
        ("a" * 64, "IfNotPresent"),
    ],
)
def test_images_without_a_fixed_tag_are_always_pulled_and_what_is_none_is_not(image: str, policy: str) -> None:
    assert pull_policy_of(image) == policy


def test_host_network_takes_the_containers_ports() -> None:
    made = a_pod({"hostNetwork": True}, ports=[{"containerPort": 80}])
    assert made.spec.containers[0].ports[0].host_port == 80
    assert wrong(made) == []


@pytest.mark.parametrize(
    ("spec", "container", "message"),
    [
        ({"containers": []}, {}, "spec.containers: Required value"),
        ({}, {"name": "A"}, '@.name: Invalid value: "A": a lowercase RFC 1123 label'),
        ({}, {"image": ""}, "@.image: Required value"),
        ({}, {"image": " i"}, '@.image: Invalid value: " i": must not have leading or trailing'),
        ({}, {"ports": [{"containerPort": 0}]}, "@.ports[0].containerPort: Required value"),
        ({}, {"ports": [{"containerPort": 70000}]}, "@.ports[0].containerPort: Invalid value: 70000"),
        ({}, {"env": [{"name": "a=b"}]}, '@.env[0].name: Invalid value: "a=b"'),
        ({}, {"volumeMounts": [{"name": "v", "mountPath": "/"}]}, '@.volumeMounts[0].name: Not found: "v"'),
        (
            {},
            {"imagePullPolicy": "Often"},
            '@.imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", ',
        ),
        (
            {},
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            '@.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ({}, {"resources": {"requests": {"cpu": "-1"}}}, '@.resources.requests[cpu]: Invalid value: "-1"'),
        ({}, {"resources": {"requests": {"pods": "1"}}}, "@.resources.requests[pods]: Invalid value"),
        ({}, {"livenessProbe": {}}, "@.livenessProbe: Required value: must specify a handler type"),
        (
            {},
            {"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}},
            "@.livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            {"restartPolicy": "Sometimes"},
            {},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        ({"dnsPolicy": "None"}, {}, "spec.dnsConfig: Required value"),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]},
            {},
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        ({"volumes": [{"name": "v"}, {"name": "v"}]}, {}, 'spec.volumes[1].name: Duplicate value: "v"'),
        (
            {"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]},
            {},
            "spec.volumes[0].hostPath.path: Invalid value",
        ),
        ({"tolerations": [{"operator": "Equal"}]}, {}, "spec.tolerations[0].operator: Invalid value"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 3}]}, {}, "spec.tolerations[0].effect: Invalid value"),
        ({"nodeSelector": {"-": ""}}, {}, 'spec.nodeSelector: Invalid value: "-"'),
        ({"activeDeadlineSeconds": 0}, {}, "spec.activeDeadlineSeconds: Invalid value: 0"),
        ({"hostname": "A"}, {}, "spec.hostname: Invalid value"),
        (
            {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]},
            {},
            "spec.topologySpreadConstraints[0].maxSkew",
        ),
        ({"initContainers": [{"name": "c", "image": "i"}]}, {}, 'spec.initContainers[0].name: Duplicate value: "c"'),
        (
            {"initContainers": [{"name": "x", "image": "i", "readinessProbe": {"exec": {"command": ["a"]}}}]},
            {},
            "spec.initContainers[0].readinessProbe: Forbidden",
        ),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}},
            {},
            f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms: Required value",
        ),
    ],
)
def test_what_a_pod_may_not_be(spec: dict[str, Any], container: dict[str, Any], message: str) -> None:
    errors = wrong(a_pod(spec, **container))
    assert len(errors) == 1
    assert errors[0].startswith(message.replace("@", "spec.containers[0]"))


def test_two_containers_cannot_have_one_host_port() -> None:
    container = {"name": "x", "image": "i", "ports": [{"containerPort": 1, "hostPort": 80}]}
    made = a_pod({"containers": [container, container | {"name": "y"}]})
    assert wrong(made) == ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"']


def test_an_image_may_change_and_a_toleration_may_be_added() -> None:
    old = a_pod({"tolerations": [{"key": "a", "operator": "Exists"}]})
    new = copy.deepcopy(old)
    new.spec.containers[0].image = "other"
    new.spec.tolerations.append(pod.Toleration(key="b", operator="Exists"))
    new.spec.active_deadline_seconds = 5
    assert wrong(new, old) == []


@pytest.mark.parametrize(
    ("field", "value"), [("node_name", "n"), ("restart_policy", "Never"), ("host_network", True), ("priority", 1)]
)
def test_nothing_else_may_change(field: str, value: Any) -> None:
    old = a_pod()
    new = copy.deepcopy(old)
    setattr(new.spec, field, value)
    [error] = wrong(new, old)
    told = "(allow it to be set to 1 if it was previously negative)\n  core.PodSpec{\n"
    assert error.startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    assert told in error and error.count("\n+ ") == 1


def test_a_mirror_has_a_node_and_what_it_mirrors_never_changes() -> None:
    path = "metadata.annotations[kubernetes.io/config.mirror]"

    def mirror(value: str = "", **spec: Any) -> pod.Pod:
        made = a_pod(spec)
        made.metadata.annotations = {"kubernetes.io/config.mirror": value} if value else {}
        return made

    why = "must set spec.nodeName if mirror pod annotation is set"
    assert wrong(mirror("x")) == [f'{path}: Invalid value: "x": {why}']
    assert wrong(mirror("x", nodeName="n")) == []
    for new, old, verb in (("x", "", "add"), ("", "x", "remove or update"), ("y", "x", "remove or update")):
        found = wrong(mirror(new, nodeName="n"), mirror(old, nodeName="n"))
        assert found == [f"{path}: Forbidden: may not {verb} mirror pod annotation"]


def test_containers_are_neither_added_nor_tolerations_removed() -> None:
    old = a_pod({"tolerations": [{"key": "a", "operator": "Exists"}]})
    new = copy.deepcopy(old)
    new.spec.tolerations = []
    assert len(wrong(new, old)) == 1
    new = copy.deepcopy(old)
    new.spec.containers.append(copy.deepcopy(new.spec.containers[0]))
    assert wrong(new, old)[-1] == "spec.containers: Forbidden: pod updates may not add or remove containers"


def test_a_deadline_only_gets_nearer() -> None:
    old = a_pod({"activeDeadlineSeconds": 10})
    new = copy.deepcopy(old)
    for value, count in ((5, 0), (11, 1), (None, 1)):
        new.spec.active_deadline_seconds = value
        assert len(wrong(new, old)) == count


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_a_new_pod_is_pending_and_has_a_class(resources: dict[str, Any], qos: str) -> None:
    made = a_pod(resources=resources)
    pod.RESOURCE.prepare_for_create(made)
    assert made.status == pod.PodStatus(phase="Pending", qos_class=qos)


@pytest.mark.parametrize(
    ("node", "phase", "asked", "period"),
    [
        ("n", "Running", None, 30),
        ("n", "Running", 5, 5),
        ("n", "Running", 0, 0),
        ("n", "Running", -1, 1),
        ("", "Pending", None, 0),
        ("n", "Succeeded", 60, 0),
    ],
)
def test_only_what_runs_gets_time_to_end(node: str, phase: str, asked: int | None, period: int) -> None:
    made = a_pod({"nodeName": node})
    made.status.phase = phase
    assert pod.graceful_period_s(made, asked) == period


def test_label_keys_are_written_into_the_selectors_of_a_new_pod() -> None:
    term = {
        "topologyKey": "zone",
        "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["version", "unknown"],
        "mismatchLabelKeys": ["tenant"],
    }
    preferred = [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "matchLabelKeys": ["version"]}}]
    affinity = {
        "podAffinity": {REQUIRED: [term]},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred},
    }
    made = a_pod({"affinity": affinity})
    made.metadata.labels = {"version": "2", "tenant": "t"}
    pod.prepare_for_create(made)
    stored = json.loads(serde.encode(made))["spec"]["affinity"]
    assert stored["podAffinity"][REQUIRED][0]["labelSelector"]["matchExpressions"] == [
        {"key": "version", "operator": "In", "values": ["2"]},
        {"key": "tenant", "operator": "NotIn", "values": ["t"]},
    ]
    left = stored["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert "labelSelector" not in left

"""Rules that upstream's tables of cases showed to be missing, or told in other words or of other fields."""

import copy
import json
from typing import Any

import msgspec
import pytest

from api import names, validation
from api import validation as v
from api.core import ip_addresses
from api.networking import ingress
from apiserver.flowcontrol import defaults
from tests.unit.api.builders import kind_of, made, wrong

POD = "{apiVersion: v1, kind: Pod, spec: {serviceAccountName: default, containers: [{name: c, image: x}]}}"
TEMPLATE = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}"
CLAIM = (
    "{apiVersion: v1, kind: PersistentVolumeClaim, "
    "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
)


def wrong_status(new: Any, old: Any) -> list[str]:
    errors = validation.find_errors(kind_of(new), new, old, status=True)
    return [f"{error.path}: {error.message}" for error in errors]


def test_values_that_are_no_texts_are_shown_as_go_prints_them() -> None:
    assert v.invalid("a", None, "why").message == 'Invalid value: "null": why'
    assert v.not_supported("a", True, ("nil", "false"), in_order=True).message == (
        'Unsupported value: true: supported values: "nil", "false"'
    )
    assert v.not_supported("a", "x", ("b", "a")).message == 'Unsupported value: "x": supported values: "a", "b"'


def test_only_an_account_has_tokens_in_a_projected_volume() -> None:
    volume = "{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}"
    pod = made(POD.replace("spec: {", f"spec: {{volumes: [{volume}], "))
    assert wrong(pod) == []
    pod.spec.service_account_name = ""
    assert wrong(pod) == [
        "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: "
        "must not be specified when serviceAccountName is not set"
    ]


def test_annotations_of_app_armor_stay_as_they_are() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/c"
    old, new = made(POD), made(POD)
    old.metadata.annotations = {key: "unconfined"}
    path = f"metadata.annotations[{key}]: Forbidden: may not"
    assert wrong(new, old) == [f"{path} remove or update AppArmor annotations"]
    assert wrong(old, new) == [f"{path} add AppArmor annotations"]


def test_what_an_update_brings_to_a_pod_is_looked_at_for_itself_too() -> None:
    old, new = made(POD), made(POD)
    new.spec.containers[0].image = ""
    assert wrong(new, old) == ["spec.containers[0].image: Required value"] * 2


def test_a_topology_may_be_called_anything() -> None:
    pod = made(POD)
    constraint = "{maxSkew: 1, topologyKey: a b, whenUnsatisfiable: DoNotSchedule}"
    pod = made(POD.replace("spec: {", f"spec: {{topologySpreadConstraints: [{constraint}], "))
    assert wrong(pod) == []


def test_processes_of_a_windows_host_are_not_mixed_with_containers() -> None:
    def pod(own: str, **host: Any) -> list[str]:
        context = f"securityContext: {{windowsOptions: {{hostProcess: {own}}}}}"
        made_pod = made(POD.replace("image: x}", f"image: x, {context}}}, {{name: d, image: x}}"))
        made_pod.spec.host_network = bool(host)
        return wrong(made_pod)

    assert pod("false") == []
    assert pod("true", network=True) == [
        'spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess '
        "containers"
    ]
    assert pod("true")[1:] == [
        "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers"
    ]


def test_a_windows_user_may_be_of_a_netbios_domain() -> None:
    text = POD.replace("spec: {", "spec: {securityContext: {windowsOptions: {runAsUserName: %s}}, ")
    assert wrong(made(text % "'NT AUTHORITY\\Local. Service'")) == []
    assert len(wrong(made(text % "'A long name of a domain\\user'"))) == 1


def test_a_restartable_init_container_may_come_back() -> None:
    old = made(POD.replace("spec: {", "spec: {restartPolicy: Never, initContainers: [{name: i, image: x}, "
        "{name: j, image: x}], "))  # fmt: skip
    old.spec.init_containers[0].restart_policy = "Always"
    ended, runs = {"terminated": {"exitCode": 0}}, {"running": {}}
    status = type(old.status)
    old.status = msgspec.convert({"initContainerStatuses": [{"name": name, "state": ended} for name in "ij"]}, status)
    new = copy.deepcopy(old)
    new.status = msgspec.convert({"initContainerStatuses": [{"name": name, "state": runs} for name in "ij"]}, status)
    assert wrong_status(new, old) == [
        "status.initContainerStatuses[1].state: Forbidden: may not be transitioned to non-terminated state"
    ]


def test_a_claim_is_of_one_mode_and_its_class_moves_from_the_annotation_once() -> None:
    key = "volume.beta.kubernetes.io/storage-class"
    old = made(CLAIM)
    block = copy.deepcopy(old)
    block.spec.volume_mode = "Block"
    assert 'volumeMode: Invalid value: "Block": field is immutable' in wrong(block, old)
    old.metadata.annotations = {key: "fast"}
    moved, other = copy.deepcopy(old), copy.deepcopy(old)
    moved.spec.storage_class_name, moved.metadata.annotations = "fast", {}
    assert wrong(moved, old) == []
    other.metadata.annotations = {key: "slow"}
    assert wrong(other, old) == [f'metadata.annotations.{key}: Invalid value: "slow": field is immutable']
    other.metadata.annotations, other.spec.storage_class_name = {key: "fast"}, "slow"
    assert [line.partition(": ")[0] for line in wrong(other, old)] == ["spec"]


def test_the_status_of_a_claim_tells_amounts_and_known_states() -> None:
    old = made(CLAIM)
    new = copy.deepcopy(old)
    new.status.capacity = {"storage": "-1"}
    new.status.allocated_resource_statuses = {"cpu": "NodeResizePending", "storage": "Odd"}
    new.status.allocated_resources = {"storage": "-2", "example.com/a": "1"}
    assert [line.partition(": ")[0] for line in wrong_status(new, old)] == [
        "status.capacity[storage]",
        "status.allocatedResourceStatus",
        "status.allocatedResourceStatus",
        "status.allocatedResources[storage]",
    ]


def test_taints_that_are_there_twice_and_pods_to_avoid() -> None:
    node = made("{apiVersion: v1, kind: Node, spec: {taints: [{key: a, effect: NoSchedule}, {key: a, effect: Odd}, "
        "{key: a, effect: NoSchedule}]}}")  # fmt: skip
    key = "scheduler.alpha.kubernetes.io/preferAvoidPods"
    node.metadata.annotations = {
        key: json.dumps({"preferAvoidPods": [{"podSignature": {}}, {"podSignature": {"podController": {"uid": "u"}}}]})
    }
    where = f"metadata.annotations.{key}"
    assert wrong(node) == [
        f"{where}[0].PodSignature: Required value",
        f"{where}[1].PodSignature.PodController.Controller: Invalid value: false: must point to a controller",
        'metadata.taints[1].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", '
        '"NoExecute"',
        'metadata.taints[2]: Duplicate value: core.Taint{Key:"a", Value:"", Effect:"NoSchedule", '
        "TimeAdded:(*v1.Time)(nil)}: taints must be unique by key and effect pair",
    ]
    node.metadata.annotations = {key: "no"}
    assert wrong(node)[0].startswith(f'metadata.annotations.AvoidPods: Invalid value: "{key}": ')


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "unexpected end of JSON input"),
        ('{"a": ', "unexpected end of JSON input"),
        ("bad", "invalid character 'b' looking for beginning of value"),
        ("not json", "invalid character 'o' in literal null (expecting 'u')"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("[" * 100_000, "exceeded max depth"),
        ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ],
)
def test_what_is_wrong_with_a_docker_config_is_told_as_go_does(content: str, why: str) -> None:
    secret = made("{apiVersion: v1, kind: Secret, type: kubernetes.io/dockercfg}")
    secret.data = {".dockercfg": content.encode()}
    assert wrong(secret) == [f'data[.dockercfg]: Invalid value: "<secret contents redacted>": {why}']
    secret.data = {".dockercfg": b"null"}
    assert wrong(secret) == []


def test_a_key_for_ssh_is_not_empty() -> None:
    secret = made("{apiVersion: v1, kind: Secret, type: kubernetes.io/ssh-auth, data: {ssh-privatekey: ''}}")
    assert wrong(secret) == ["data[%s][ssh-privatekey]: Required value"], "as upstream spells the path"


@pytest.mark.parametrize("text", ["fe80::1%eth0", "1.2.3", "::g"])
def test_an_address_names_no_interface(text: str) -> None:
    assert ip_addresses.parse_ip(text) is None
    assert len(list(ip_addresses.check_ip("a", text))) == 1


@pytest.mark.parametrize(("text", "is_range"), [
    ("10.0.0.0/8", True), ("::/0", True), ("10.0.0.1/8", True), ("10.0.0.0/255.0.0.0", False), ("10.0.0.0/", False),
    ("10.0.0.0", False), ("fe80::1%a/64", False),
])  # fmt: skip
def test_a_range_has_a_length(text: str, is_range: bool) -> None:
    assert (ip_addresses.parse_cidr(text) is not None) is is_range


def test_an_address_in_endpoints_that_is_none_is_told_of_twice() -> None:
    endpoints = made("{apiVersion: v1, kind: Endpoints, subsets: [{addresses: [{ip: nowhere}]}]}")
    where = "subsets[0].addresses[0].ip: Invalid value"
    assert wrong(endpoints) == [
        f'{where}: "nowhere": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        f'{where}: "nowhere": must be a valid IP address',
    ]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_a_count_of_names_taken_only_grows(kind: str) -> None:
    old = made(f"{{apiVersion: apps/v1, kind: {kind}, spec: {{selector: {{matchLabels: {{a: b}}}}, {TEMPLATE}}}}}")
    new = copy.deepcopy(old)
    old.status.collision_count, new.status.observed_generation = 2, -1
    assert wrong_status(new, old) == [
        "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
        "status.collisionCount: Invalid value: 0: cannot be decremented",
    ]


def test_a_strategy_that_is_unknown_is_told_as_a_whole() -> None:
    for kind, path in (("Deployment", "strategy"), ("DaemonSet", "updateStrategy")):
        text = f"spec: {{selector: {{matchLabels: {{a: b}}}}, {path}: {{type: Odd}}, {TEMPLATE}}}"
        (line,) = wrong(made(f"{{apiVersion: apps/v1, kind: {kind}, {text}}}"))
        told = "DeploymentStrategy" if kind == "Deployment" else "DaemonSetUpdateStrategy"
        assert line.startswith(f'spec.{path}: Unsupported value: apps.{told}{{Type:"Odd", RollingUpdate:(*apps.Rolling')


def test_one_source_of_a_metric_that_is_not_the_one_named_is_looked_at_all_the_same() -> None:
    text = (
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {maxReplicas: 2, scaleTargetRef: "
        "{kind: Deployment, name: d}, metrics: [{type: %s, resource: {name: cpu, target: {type: ''}}}]}}"
    )
    where = "spec.metrics[0]"
    of_resource = [
        f"{where}.resource.target.type: Required value: must specify a metric target type",
        f'{where}.resource.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue',
        f"{where}.resource.target.averageUtilization: Required value: must set either a target raw value or a target "
        "utilization",
    ]
    assert wrong(made(text % "Resource")) == of_resource
    assert wrong(made(text % "Pods")) == [
        *of_resource,
        f"{where}.pods: Required value: must populate information for the given metric source",
    ]
    assert wrong(made(text % "Odd"))[0].startswith(f'{where}.type: Unsupported value: "Odd"')


def test_a_runtime_class_costs_what_containers_may_ask_for() -> None:
    text = (
        "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, handler: '', overhead: {podFixed: {odd: 1}}, scheduling: "
        "{tolerations: [{operator: Exists}, {operator: Exists}, {key: a b, operator: Exists}]}}"
    )
    assert [line.partition(": ")[0] for line in wrong(made(text))] == [
        "handler",
        "overhead.limits[odd]",
        "overhead.limits[odd]",
        "scheduling.tolerations.tolerations[2].key",
        "scheduling.tolerations[1]",
    ]


def test_a_priority_class_of_the_system_is_one_of_two() -> None:
    text = "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: %s}, value: %s}"
    said = (
        "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: "
    )
    assert wrong(made(text % ("system-odd", 1))) == [f"{said}system-odd is not a known system priority class"]
    assert wrong(made(text % ("system-node-critical", 1))) == [
        f"{said}value of system-node-critical PriorityClass must be 2000001000"
    ]
    default = made(text % ("system-node-critical", 2000001000))
    default.global_default = True
    assert wrong(default) == [f"{said}globalDefault of system-node-critical PriorityClass must be false"]


def test_the_first_and_the_last_flow_are_what_they_are() -> None:
    mandatory = [
        each
        for each in (*defaults.flow_schemas(), *defaults.priority_levels())
        if each.metadata.name in defaults.MANDATORY
    ]
    assert len(mandatory) == 4
    for each in mandatory:
        each.metadata.creation_timestamp = "2024-01-01T00:00:00Z"
        assert wrong(each) == []
        changed = copy.deepcopy(each)
        if each.kind == "FlowSchema":
            changed.spec.matching_precedence += 5000 if each.metadata.name == "exempt" else -5
        elif each.metadata.name == "catch-all":
            changed.spec.limited.nominal_concurrency_shares = 7
        else:
            changed.spec.exempt.nominal_concurrency_shares = 7
            assert wrong(changed) == []
            continue
        assert [line.partition(": ")[0] for line in wrong(changed)] == ["spec"]


def test_a_storage_class_has_few_parameters_and_topologies_that_say_something() -> None:
    text = "{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: a.b/c, allowedTopologies: [{}]}"
    storage_class = made(text)
    storage_class.parameters = {str(i): "x" * 600 for i in range(513)}
    assert wrong(storage_class) == [
        "parameters: Too long: may not be more than 512 bytes",
        'allowedTopologies[0].matchLabelExpressions: Duplicate value: ""',
    ]


def test_a_host_with_a_star_is_a_wildcard() -> None:
    assert names.check_wildcard_subdomain("*.a.b") == []
    (why,) = names.check_wildcard_subdomain("a.*.b")
    assert why.startswith("a wildcard DNS-1123 subdomain must start with '*.'")
    assert "'\\*\\.[a-z0-9](" in why
    assert [error.message for error in ingress._check_host("h", "a.*.b")] == [f'Invalid value: "a.*.b": {why}']


def test_a_network_policy_of_three_types_is_told_of_once() -> None:
    text = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, policyTypes: %s}}"
    assert wrong(made(text % "[a, b, c]")) == [
        'spec.policyTypes: Invalid value: []networking.PolicyType{"a", "b", "c"}: '
        "may not specify more than two policyTypes"
    ]
    assert wrong(made(text % "[a]")) == [
        'spec.policyTypes[0]: Unsupported value: "a": supported values: "Ingress", "Egress"'
    ]


def test_a_webhook_may_stay_as_bad_as_it_was() -> None:
    hook = (
        "{name: a.b.c, sideEffects: Unknown, admissionReviewVersions: [v9], clientConfig: {url: 'https://u:p@h/?q#f'}}"
    )
    text = "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, webhooks: [%s]}"
    old = made(text % f"{hook}, {hook}")
    url = "webhooks[0].clientConfig.url: Invalid value"
    of_url = [
        f'{url}: "u:p": user information is not permitted in the URL',
        f'{url}: "f": fragments are not permitted in the URL',
        f'{url}: "q": query parameters are not permitted in the URL',
    ]
    assert wrong(old, old)[:3] == of_url
    assert len(wrong(old, old)) == 6
    assert {line.partition(": ")[0].partition("].")[2] for line in wrong(old)} == {
        "clientConfig.url", "sideEffects", "admissionReviewVersions", "name",
    }  # fmt: skip


def test_an_old_event_lies_where_it_is_about_and_a_new_one_is_short() -> None:
    text = "{apiVersion: v1, kind: Event, metadata: {name: e, namespace: %s}, involvedObject: {%s}}"
    strayed = 'involvedObject.namespace: Invalid value: "%s": does not match event.namespace'
    assert wrong(made(text % ("default", ""))) == []
    assert wrong(made(text % ("kube-system", ""))) == [strayed % ""]
    event = made(text % ("n", "namespace: other"))
    assert wrong(event) == [strayed % "other"]
    event.event_time = "2024-01-01T00:00:00.000000Z"
    event.reporting_component, event.reporting_instance, event.action = "a b", "i" * 129, "A"
    event.reason, event.message = "R", "m" * 1025
    assert [line.partition(": ")[0] for line in wrong(event)] == ["reportingComponent", "reportingInstance", "message"]


def test_a_new_event_has_nothing_of_the_old_form() -> None:
    event = made(
        "{apiVersion: events.k8s.io/v1, kind: Event, eventTime: '2024-01-01T00:00:00.000000Z', reportingController: c, "
        "reportingInstance: i, action: A, reason: R, type: Normal, regarding: {namespace: d}, deprecatedCount: 1, "
        "deprecatedSource: {component: c}, series: {count: 1, lastObservedTime: null}}"
    )
    assert wrong(event) == [
        'series.count: Invalid value: "": should be at least 2',
        "series.lastObservedTime: Required value",
        'count: Invalid value: "": needs to be unset',
        'source: Invalid value: "": needs to be unset',
    ]


def test_a_question_has_no_metadata_but_its_namespace() -> None:
    asked = "{apiVersion: authorization.k8s.io/v1, kind: %s, metadata: %s, spec: {user: u, %s}}"
    resource = "resourceAttributes: {namespace: d, verb: get, resource: pods}"

    def found(kind: str, metadata: str, spec: str = resource) -> list[str]:
        review = made(asked % (kind, metadata, spec))
        return [error.path for error in kind_of(review).validate(review, None)]

    assert found("LocalSubjectAccessReview", "{namespace: d}") == []
    assert found("LocalSubjectAccessReview", "{namespace: d, name: a}") == ["metadata"]
    assert found("SubjectAccessReview", "{}") == []
    assert found("SubjectAccessReview", "{labels: {a: b}}") == ["metadata"]
    assert found("LocalSubjectAccessReview", "{namespace: d}", "nonResourceAttributes: {path: /}") == [
        "spec.nonResourceAttributes"
    ]


def test_a_volume_moves_to_todays_labels_of_nodes_and_no_further() -> None:
    text = (
        "{apiVersion: v1, kind: PersistentVolume, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], "
        "hostPath: {path: /a}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: %s, "
        "operator: In, values: [z]}]}]}}}}"
    )
    old, new = "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"
    assert wrong(made(text % new), made(text % old)) == []
    why = "field is immutable, except for updating from beta label to GA"
    for other in (wrong(made(text % old), made(text % new)), wrong(made(text % "a"), made(text % old))):
        (line,) = other
        assert line.startswith("nodeAffinity: Invalid value: core.VolumeNodeAffinity{") and line.endswith(why)


def test_config_keys_are_told_all_that_is_wrong_with_them() -> None:
    assert [message.partition(" (")[0] for message in names.check_config_key("../a")] == [
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
        "must not start with '..'",
    ]

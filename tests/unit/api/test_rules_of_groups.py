"""Which fields of kinds of the smaller groups are refused, as upstream's tables of cases have it."""

from typing import Any

from api.autoscaling.horizontalpodautoscaler import validate_status
from tests.unit.api.builders import made, wrong


def paths(text: str, old: Any = None) -> list[str]:
    """Return the fields that are wrong."""
    return [error.partition(": ")[0] for error in wrong(made(text), old)]


def spec_paths(version: str, kind: str, spec: str) -> list[str]:
    """Return the fields that are wrong in an object with this spec."""
    return paths(f"{{apiVersion: {version}, kind: {kind}, spec: {spec}}}")


def test_topologies_of_a_storage_class_are_there_once() -> None:
    def storage_class(*terms: str) -> list[str]:
        text = ", ".join(f"{{matchLabelExpressions: [{term}]}}" for term in terms)
        head = "apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: a.b/c"
        return paths(f"{{{head}, allowedTopologies: [{text}]}}")

    assert storage_class("{key: k, values: [a, b]}", "{key: k, values: [a]}") == []
    where = "allowedTopologies[0].matchLabelExpressions"
    assert storage_class("{key: k, values: [a, a]}") == [f"{where}[0].values[1]"]
    assert storage_class("{key: k, values: [a]}, {key: k, values: [b]}") == [f"{where}[1].key"]
    assert storage_class("{key: '', values: []}") == [f"{where}[0].key"] * 2 + [f"{where}[0].values"]
    assert storage_class("{key: k, values: [a, b]}", "{key: k, values: [b, a]}") == [
        "allowedTopologies[1].matchLabelExpressions"
    ]


def test_a_node_has_each_driver_once_and_as_it_was() -> None:
    def node(*drivers: str) -> str:
        return f"{{apiVersion: storage.k8s.io/v1, kind: CSINode, spec: {{drivers: [{', '.join(drivers)}]}}}}"

    assert paths(node(f"{{name: a.b, nodeID: {'n' * 256}}}")) == []
    assert paths(node(f"{{name: {'a' * 64}, nodeID: {'n' * 257}}}")) == [
        "spec.drivers[0].name",
        "spec.drivers[0].nodeID",
    ]
    assert paths(node("{name: a, nodeID: n, topologyKeys: [k, k]}")) == ["spec.drivers[0]"]
    old = made(node("{name: a, nodeID: n}"))
    assert paths(node("{name: a, nodeID: m}"), old) == ["CSINodeDriver"]


def test_a_volume_that_is_attached_and_has_no_object_is_a_drivers() -> None:
    def attachment(source: str) -> list[str]:
        spec = f"{{attacher: a.b, nodeName: n, source: {source}}}"
        return spec_paths("storage.k8s.io/v1", "VolumeAttachment", spec)

    csi = "csi: {driver: d, volumeHandle: v}, accessModes: [ReadWriteOnce]"
    where = "spec.source.inlineVolumeSpec"
    assert attachment("{persistentVolumeName: a_b}") == ["spec.source.persistentVolumeName"]
    assert attachment(f"{{inlineVolumeSpec: {{{csi}}}}}") == []
    assert attachment(f"{{inlineVolumeSpec: {{{csi}, storageClassName: c, volumeMode: Block}}}}") == [
        f"{where}.storageClassName",
        f"{where}.volumeMode",
    ]
    assert attachment("{inlineVolumeSpec: {hostPath: {path: /a}}}") == [f"{where}.accessModes", f"{where}.csi"]


def test_an_attachment_is_told_what_it_lacks_before_what_only_new_ones_may_not_say() -> None:
    text = "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, spec: {source: {persistentVolumeName: ''}}}"
    assert list(dict.fromkeys(wrong(made(text)))) == [
        "spec.attacher: Required value",
        "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
        *(found for found in wrong(made(text)) if found.startswith("spec.nodeName: Invalid")),
        *(found for found in wrong(made(text)) if found.startswith("spec.attacher: Invalid")),
        *(found for found in wrong(made(text)) if found.startswith("spec.source.persistentVolumeName: Invalid")),
    ]
    assert wrong(made(text), made(text))[-1].startswith("spec.nodeName: ")


def test_a_driver_may_have_any_name_and_asks_once_for_each_audience() -> None:
    head = "{apiVersion: storage.k8s.io/v1, kind: CSIDriver"
    assert paths(f"{head}, metadata: {{name: {'a' * 64}}}, spec: {{}}}}") == []
    assert spec_paths(
        "storage.k8s.io/v1",
        "CSIDriver",
        "{tokenRequests: [{audience: a}, {audience: a, expirationSeconds: 1}, {audience: b, expirationSeconds: 1}],"
        " volumeLifecycleModes: [A]}",
    ) == ["spec.tokenRequests[1].audience", "spec.tokenRequests[2].expirationSeconds", "spec.volumeLifecycleModes"]


def test_what_storage_says_of_itself_may_be_more_than_it_has() -> None:
    head = "{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, storageClassName: c"
    assert paths(f"{head}, maximumVolumeSize: '-1'}}") == []
    assert paths(f"{head}, capacity: '-1'}}") == ["capacity"]
    assert spec_paths("storage.k8s.io/v1", "CSIDriver", "{volumeLifecycleModes: [A]}") == ["spec.volumeLifecycleModes"]


def test_an_endpoint_slice_names_zones_and_protocols() -> None:
    def slice_(endpoint: str = "addresses: [10.0.0.1]", kind: str = "IPv4", port: str = "port: 1") -> list[str]:
        head = f"apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: {kind}"
        return paths(f"{{{head}, endpoints: [{{{endpoint}}}], ports: [{{{port}}}]}}")

    assert slice_() == []
    assert slice_(kind="''") == ["addressType"]
    assert slice_("addresses: ['::1']") == ["endpoints[0].addresses[0]"] * 2
    assert slice_("addresses: [a.b., a.b]", kind="FQDN") == []
    assert slice_("addresses: ['', a, a_b.c]", kind="FQDN") == [f"endpoints[0].addresses[{i}]" for i in range(3)]
    assert slice_(port="port: 1, appProtocol: a b") == ["ports[0].appProtocol"]
    where = "addresses: [10.0.0.1], hints: {forZones: "
    assert slice_(f"{where}[{{name: a}}, {{name: a}}, {{name: a b}}]}}") == [
        "endpoints[0].hints.forZones[1].name",
        "endpoints[0].hints.forZones[2].name",
    ]
    zones = ", ".join(f"{{name: z{i}}}" for i in range(9))
    assert slice_(f"{where}[{zones}]}}") == ["endpoints[0].hints.forZones"]
    topology = ", ".join(f"k{i}: v" for i in range(17))
    assert slice_(f"addresses: [10.0.0.1], deprecatedTopology: {{{topology}}}") == ["endpoints[0].deprecatedTopology"]


def test_an_autoscaler_names_metrics_as_paths_can() -> None:
    def autoscaler(metric: str) -> list[str]:
        spec = f"{{scaleTargetRef: {{kind: Deployment, name: d}}, maxReplicas: 2, metrics: [{metric}]}}"
        return spec_paths("autoscaling/v2", "HorizontalPodAutoscaler", spec)

    target = "target: {type: AverageValue, averageValue: 1}"
    assert autoscaler(f"{{type: Pods, pods: {{metric: {{name: a}}, {target}}}}}") == []
    assert autoscaler(f"{{type: Pods, pods: {{metric: {{name: a/b}}, {target}}}}}") == [
        "spec.metrics[0].pods.metric.name"
    ]
    where = "spec.metrics[0].containerResource"
    assert autoscaler(f"{{type: ContainerResource, containerResource: {{name: foo, container: A, {target}}}}}") == [
        f"{where}.name",
        f"{where}.name",
        f"{where}.container",
    ]
    stored = made("{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler}")
    stored.status.desired_replicas = -1
    assert [error.path for error in validate_status(stored, stored)] == ["status.desiredReplicas"]


def test_a_stateful_set_says_in_which_order() -> None:
    template = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}"
    rest = f"selector: {{matchLabels: {{a: b}}}}, template: {template}"
    assert spec_paths("apps/v1", "StatefulSet", f"{{{rest}, podManagementPolicy: A, updateStrategy: {{type: B}}}}") == [
        "spec.podManagementPolicy",
        "spec.updateStrategy",
    ]


def test_a_binding_in_a_namespace_may_leave_it_out() -> None:
    def binding(kind: str, subject: str) -> list[str]:
        head = f"apiVersion: rbac.authorization.k8s.io/v1, kind: {kind}, roleRef: {{kind: ClusterRole, name: r}}"
        return paths(f"{{{head}, subjects: [{subject}]}}")

    assert binding("RoleBinding", "{kind: ServiceAccount, name: a}") == []
    assert binding("ClusterRoleBinding", "{kind: ServiceAccount, name: a}") == ["subjects[0].namespace"]
    assert binding("ClusterRoleBinding", "{kind: User, name: a, namespace: n}") == []


def test_a_webhook_names_each_resource_once() -> None:
    def hook(*resources: str) -> list[str]:
        rule = f"{{operations: ['*'], apiGroups: [''], apiVersions: [v1], resources: {list(resources)}}}"
        config = "clientConfig: {service: {name: s, namespace: n}}, admissionReviewVersions: [v1], sideEffects: None"
        head = "apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration"
        return paths(f"{{{head}, webhooks: [{{name: a.b.c, {config}, rules: [{rule}]}}]}}")

    where = "webhooks[0].rules[0].resources"
    assert hook("*", "pods/exec", "*/scale") == []
    assert hook("pods", "*") == []  # upstream looks at the last
    assert hook("*", "pods") == [where]
    assert hook("*/*", "pods") == [where]
    assert hook("pods/*", "pods/exec") == hook("*/exec", "pods/exec") == [f"{where}[1]"]
    assert hook("pods/exec", "pods/*") == []
    assert hook("") == [f"{where}[0]"]


def test_a_flow_schema_names_paths_accounts_and_namespaces() -> None:
    def schema(subject: str, rule: str) -> list[str]:
        rules = f"[{{subjects: [{subject}], {rule}}}]"
        spec = f"{{matchingPrecedence: 5, priorityLevelConfiguration: {{name: l}}, rules: {rules}}}"
        head = "flowcontrol.apiserver.k8s.io/v1"
        return [path.removeprefix("spec.rules[0].") for path in spec_paths(head, "FlowSchema", spec)]

    user = "{kind: User, user: {name: u}}"

    def urls(*values: str) -> list[str]:
        return schema(user, f"nonResourceRules: [{{verbs: [get], nonResourceURLs: {list(values)}}}]")

    where = "nonResourceRules[0].nonResourceURLs"
    assert urls("/", "/a", "/a/*", "/*") == urls("*") == []
    assert urls() == urls("*", "/a") == [where]
    bad = ("", "a", "/a b", "//a", "/a*", "/*/*")
    assert urls(*bad) == [f"{where}[{i}]" for i in range(len(bad))]
    assert schema(user, "nonResourceRules: [{verbs: [fly, get], nonResourceURLs: [/a]}]") == [
        "nonResourceRules[0].verbs"
    ]
    resources = "resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: %s}]"
    assert schema(user, resources % "['*', A]") == ["resourceRules[0].namespaces"]
    assert schema(user, resources % "[a, A]") == ["resourceRules[0].namespaces[1]"]
    account = "{kind: ServiceAccount, serviceAccount: {name: %s, namespace: %s}}"
    assert schema(account % ("'*'", "n"), resources % "['*']") == []
    assert schema(account % ("A", "B"), resources % "['*']") == [
        "subjects[0].serviceAccount.name",
        "subjects[0].serviceAccount.namespace",
    ]


def test_a_hand_of_queues_can_be_dealt_from_one_hash() -> None:
    def level(hand: int) -> list[str]:
        queuing = f"{{queues: 512, handSize: {hand}, queueLengthLimit: 1}}"
        spec = f"{{type: Limited, limited: {{limitResponse: {{type: Queue, queuing: {queuing}}}}}}}"
        return spec_paths("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", spec)

    assert level(6) == []
    assert level(7) == ["spec.limited.limitResponse.queuing.handSize"]


def test_a_signer_has_a_domain_and_one_path() -> None:
    def signer(name: str) -> list[str]:
        text = f"{{signerName: {name}, usages: [any]}}"
        found = spec_paths("certificates.k8s.io/v1", "CertificateSigningRequest", text)
        return [path for path in found if path != "spec.request"]

    assert signer("a.b/c.d") == signer(f"a.b/{'c' * 200}") == []
    for bad in ("''", "a/b", "a.b", "a.b/c/d", "A.b/c", "a.b/C", "kubernetes.io/legacy-unknown"):
        assert set(signer(bad)) == {"spec.signerName"}, bad

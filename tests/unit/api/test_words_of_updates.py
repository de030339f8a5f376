"""What differed when a real API server was asked to update the same objects."""

import copy
from typing import Any

from tests.unit.api.builders import made, wrong

POD = "{containers: [{name: c, image: x%s}], restartPolicy: Never}"


def changed(obj: Any, **values: Any) -> Any:
    new = copy.deepcopy(obj)
    for name, value in values.items():
        setattr(new.spec if hasattr(new, "spec") else new, name, value)
    return new


def test_a_volume_that_is_wrong_cannot_be_mounted() -> None:
    pod = made(
        "{apiVersion: v1, kind: Pod, spec: {volumes: [{name: v, configMap: {}}, {name: v, emptyDir: {}},"
        " {name: w, secret: {}}], containers: [{name: c, image: x,"
        " volumeMounts: [{name: v, mountPath: /v}, {name: w, mountPath: /w}]}]}}"
    )
    assert wrong(pod) == [
        "spec.volumes[0].configMap.name: Required value",
        "spec.volumes[2].secret.secretName: Required value",
        'spec.containers[0].volumeMounts[1].name: Not found: "w"',
    ], "the second volume of the name is sound"


def test_a_jobs_labels_and_selector_stay_as_the_server_wrote_them() -> None:
    job = made(f"{{apiVersion: batch/v1, kind: Job, spec: {{template: {{spec: {POD % ''}}}}}}}", uid="u")
    assert wrong(job) == []
    new = copy.deepcopy(job)
    new.spec.template.metadata.labels = {
        "job-name": "other",
        "batch.kubernetes.io/job-name": "a",
        "batch.kubernetes.io/controller-uid": "u",
    }
    label = "spec.template.metadata.labels"
    assert wrong(new)[0] == f"{label}[controller-uid]: Required value: must be 'u'"
    assert wrong(new)[1].endswith(": must be 'a'") and wrong(new)[1].startswith(f"{label}[job-name]: Invalid value: ")
    assert len(wrong(new)) == 2
    new = copy.deepcopy(job)
    new.spec.selector.match_labels["a"] = "b"
    assert wrong(new)[0].endswith(": `selector` not auto-generated")
    old = copy.deepcopy(job)
    for key in ("job-name", "controller-uid"):
        del old.spec.template.metadata.labels[f"batch.kubernetes.io/{key}"]
    old.spec.selector.match_labels = {"controller-uid": "u"}
    assert wrong(old, old) == [], "as Jobs were before 1.27"


def test_without_a_selector_only_daemon_sets_do_not_say_that_it_is_required() -> None:
    text = "{apiVersion: apps/v1, kind: %s, spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [%s]}}}}"
    lists = [wrong(made(text % (kind, "{name: c, image: x}"))) for kind in ("DaemonSet", "Deployment")]
    assert [line.partition(":")[0] for line in lists[0]] == ["spec.template.metadata.labels"]
    assert [line.partition(":")[0] for line in lists[1]] == ["spec.selector", "spec.template.metadata.labels"]


def test_nothing_else_is_told_of_a_path_without_a_type() -> None:
    text = "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {%s rules: [{http: {paths: [{}]}}]}}"
    assert wrong(made(text % "")) == [
        "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"
    ]
    assert wrong(made(text % "ingressClassName: '',"))[-1].startswith('spec.ingressClassName: Invalid value: "": ')


def test_scaling_to_nothing_needs_something_else_to_measure() -> None:
    text = (
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {minReplicas: 0, maxReplicas: 2,"
        " scaleTargetRef: {kind: K, name: n}}}"
    )
    assert wrong(made(text)) == [
        "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
        "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero"
        " replicas",
    ]


def test_a_node_whose_range_changes_is_wrong_as_a_whole_too() -> None:
    old = made("{apiVersion: v1, kind: Node, spec: {providerID: a}}")
    assert [line.partition(":")[0] for line in wrong(changed(old, provider_id="b"), old)] == ["spec.providerID", "[]"]


def test_an_update_looks_only_at_what_may_change() -> None:
    old = made("{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 2000000000, preemptionPolicy: Never}")
    assert len(wrong(old)) == 1 and wrong(old, old) == []
    new = changed(old, preemption_policy="Bad")
    assert wrong(new, old) == ['preemptionPolicy: Invalid value: "Bad": field is immutable']
    text = (
        "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, spec: {attacher: 'B d', nodeName: n,"
        " source: {persistentVolumeName: p}}}"
    )
    attachment = made(text)
    assert len(wrong(attachment)) == 1 and wrong(attachment, attachment) == []
    assert wrong(changed(attachment, attacher=""), attachment)[0] == "spec.attacher: Required value"


def test_an_empty_word_is_not_a_missing_one() -> None:
    text = "{apiVersion: v1, kind: Endpoints, subsets: [{addresses: [{ip: 1.2.3.4, nodeName: ''}],"
    endpoints = made(text + " ports: [{port: 1, appProtocol: ''}]}]}")
    assert [line[:58] for line in wrong(endpoints)] == [
        'subsets[0].addresses[0].nodeName: Invalid value: "": a low',
        'subsets[0].ports[0].appProtocol: Invalid value: "": name p',
        'subsets[0].ports[0].appProtocol: Invalid value: "": name p',
    ]
    hook = "{name: a.b.c, sideEffects: '', admissionReviewVersions: [v1], clientConfig: {url: 'https://u'}}"
    hooks = made(
        f"{{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, webhooks: [{hook}]}}"
    )
    assert wrong(hooks) == ['webhooks[0].sideEffects: Unsupported value: "": supported values: "None", "NoneOnDryRun"']

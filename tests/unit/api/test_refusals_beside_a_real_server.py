"""Rules that came to light when the same objects were sent to this server and to a real kube-apiserver."""

from __future__ import annotations

import uuid

import pytest

from tests.unit.api.builders import made, wrong

TEMPLATE = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}"
JOB = "{{apiVersion: batch/v1, kind: Job, metadata: {{name: j, uid: u}}, spec: {{{}template: {{metadata: {{labels: {{{}}}}}, spec: {{restartPolicy: Never, containers: [{{name: c, image: x}}]}}}}}}}}"  # noqa: E501


def _fields(text: str) -> list[str]:
    return [error.split(": ")[0] for error in wrong(made(text))]


@pytest.mark.parametrize(
    ("kind", "whole"),
    [("Deployment", ": invalid label selector"), ("ReplicaSet", ": invalid label selector"), ("StatefulSet", "")],
)
def test_a_selector_that_cannot_be_read_is_told_as_a_whole_too(kind: str, whole: str) -> None:
    text = f"{{apiVersion: apps/v1, kind: {kind}, spec: {{selector: {{matchLabels: {{a: 'b c'}}}}, {TEMPLATE}}}}}"
    told = wrong(made(text))
    assert [error for error in told if error.startswith("spec.selector: ") and error.endswith("}" + whole)]


def test_a_selector_of_roles_that_cannot_be_read_is_told_as_a_whole_too() -> None:
    text = (
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, rules: [],"
        " aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: 'b c'}}]}}"
    )
    assert any(error.endswith("invalid label selector.") for error in wrong(made(text)))


def test_a_volume_that_is_wrong_cannot_be_mounted() -> None:
    text = (
        "{apiVersion: v1, kind: Pod, spec: {serviceAccountName: default,"
        " containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v}, {name: w, mountPath: /w}]}],"
        " volumes: [{name: v, emptyDir: {sizeLimit: '-1'}}, {name: w, emptyDir: {}}]}}"
    )
    assert "spec.containers[0].volumeMounts[0].name" in _fields(text)
    assert "spec.containers[0].volumeMounts[1].name" not in _fields(text)


def test_finalizers_of_one_word_are_told_by_their_place() -> None:
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: d, finalizers: [a.io/b, mine]}}"
    assert _fields(text) == ["metadata.finalizers[1]"]


def test_the_finalizers_in_a_namespaces_spec_are_known_or_qualified() -> None:
    text = "{{apiVersion: v1, kind: Namespace, metadata: {{name: x}}, spec: {{finalizers: [{}]}}}}"
    assert _fields(text.format("kubernetes, a.io/b")) == []
    assert _fields(text.format("mine")) == ["spec.finalizers"]


def test_limits_may_come_without_a_name() -> None:
    limits = made("{apiVersion: v1, kind: LimitRange, metadata: {name: '', namespace: d}, spec: {limits: []}}")
    assert str(uuid.UUID(limits.metadata.name)) == limits.metadata.name


@pytest.mark.parametrize(
    ("spec", "labels", "told"),
    [
        ("", "", []),
        ("", "a: b", []),
        ("selector: {matchLabels: {a: b}}, ", "a: b", ["spec.selector"]),
        ("", "job-name: other", ["spec.template.metadata.labels[job-name]"]),
        ("manualSelector: true, selector: {matchLabels: {a: b}}, ", "a: b", []),
    ],
)
def test_nobody_gets_in_the_way_of_a_selector_that_is_written(spec: str, labels: str, told: list[str]) -> None:
    assert _fields(JOB.format(spec, labels)) == told


def test_a_job_has_all_labels_of_its_template_by_default() -> None:
    assert made(JOB.format("", "a: b")).metadata.labels.keys() >= {"a", "job-name", "controller-uid"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {},"
            " ingress: [{ports: [{port: 1, protocol: ''}]}]}}",
            'spec.ingress[0].ports[0].protocol: Unsupported value: "": supported values: "TCP", "UDP", "SCTP"',
        ),
        (
            "{apiVersion: v1, kind: PersistentVolume, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce],"
            " hostPath: {path: /x}, volumeMode: ''}}",
            'spec.volumeMode: Unsupported value: "": supported values: "Block", "Filesystem"',
        ),
        (
            "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, spec: {volumeLifecycleModes: ['']}}",
            'spec.volumeLifecycleModes: Unsupported value: "": supported values: "Persistent", "Ephemeral"',
        ),
        (
            "{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: a.io/b, volumeBindingMode: ''}",
            'volumeBindingMode: Unsupported value: "": supported values: "Immediate", "WaitForFirstConsumer"',
        ),
        (
            "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 1, preemptionPolicy: x}",
            'preemptionPolicy: Unsupported value: "x": supported values: "PreemptLowerPriority", "Never"',
        ),
    ],
)
def test_a_field_that_was_given_empty_holds_none_of_its_words(text: str, told: str) -> None:
    assert told in wrong(made(text))


def test_an_empty_class_of_an_ingress_is_no_name() -> None:
    text = (
        "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {ingressClassName: '',"
        " defaultBackend: {service: {name: s, port: {number: 1}}}}}"
    )
    assert [error for error in wrong(made(text)) if error.startswith('spec.ingressClassName: Invalid value: ""')]


def test_no_pods_at_all_is_asked_for_only_by_what_is_measured_elsewhere() -> None:
    text = (
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler,"
        " spec: {minReplicas: 0, maxReplicas: 2, scaleTargetRef: {kind: D, name: d}}}"
    )
    assert "spec.metrics" in _fields(text)


def test_the_name_of_what_is_aggregated_may_only_be_version_and_group() -> None:
    text = "{{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {{name: {}}}, spec: {{group: g.io, version: {}, groupPriorityMinimum: 1, versionPriority: 1, service: {{}}}}}}"  # noqa: E501
    told = wrong(made(text.format("a/b", "v1")))
    assert [error for error in told if error.startswith("metadata.name")] == [
        """metadata.name: Invalid value: "a/b": may not contain '/'"""
    ]
    assert "spec.service.name: Required value" in told
    assert [e for e in wrong(made(text.format("x", "''"))) if e.startswith('spec.version: Invalid value: ""')]


def test_what_is_no_request_at_all_is_told_without_a_librarys_words() -> None:
    text = (
        "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest,"
        " spec: {signerName: a.io/b, usages: [client auth], request: YQ==}}"
    )
    assert "spec.request: Invalid value: []byte{0x61}: PEM block type must be CERTIFICATE REQUEST" in wrong(made(text))

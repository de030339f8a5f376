"""Kinds of the smaller groups: defaults, rules and cells, a few facts each."""

import base64
import copy
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from api.certificates import certificatesigningrequest as csrs
from api.storage.volumeattachment import VolumeError
from tests.unit.api.builders import cells, kind_of, made, wrong

TEMPLATE = "{metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: x}]}}"


def test_a_daemon_set_replaces_one_node_at_a_time() -> None:
    text = (
        f"{{apiVersion: apps/v1, kind: DaemonSet, spec: {{selector: {{matchLabels: {{a: b}}}}, template: {TEMPLATE}}}}}"
    )
    made_set = made(text)
    rolling = made_set.spec.update_strategy.rolling_update
    assert (rolling.max_unavailable, rolling.max_surge) == (1, 0)
    assert wrong(made_set) == []
    rolling.max_unavailable = 0
    assert wrong(made_set) == [
        "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"
    ]
    rolling.max_unavailable = rolling.max_surge = "50%"
    assert len(wrong(made_set)) == 1


def test_a_stateful_set_keeps_its_identity() -> None:
    old = made(
        f"""
apiVersion: apps/v1
kind: StatefulSet
spec:
  serviceName: s
  selector: {{matchLabels: {{a: b}}}}
  template: {TEMPLATE}
  volumeClaimTemplates:
  - {{metadata: {{name: v}}, spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}}}
"""
    )
    assert (old.spec.replicas, old.spec.pod_management_policy) == (1, "OrderedReady")
    assert old.spec.persistent_volume_claim_retention_policy.when_deleted == "Retain"
    assert old.spec.volume_claim_templates[0].status.phase == "Pending"
    assert wrong(old) == []
    new = copy.deepcopy(old)
    new.spec.replicas, new.spec.template.spec.containers[0].image = 3, "y"
    assert wrong(new, old) == []
    new.spec.service_name = "t"
    [error] = wrong(new, old)
    assert error.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")


def test_of_a_stateful_sets_template_only_what_makes_it_one_is_checked() -> None:
    text = """
apiVersion: apps/v1
kind: StatefulSet
spec: {serviceName: s, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: SPEC}}
"""
    assert wrong(made(text.replace("SPEC", "{}"))) == []
    assert wrong(made(text.replace("SPEC", "{restartPolicy: Never, activeDeadlineSeconds: 1}"))) == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
    ]


def test_a_revision_is_written_once() -> None:
    old = made("{apiVersion: apps/v1, kind: ControllerRevision, revision: 1, data: {spec: {a: 1}}}")
    new = copy.deepcopy(old)
    new.revision = 2
    assert wrong(new, old) == []
    new.data = {"spec": {}}
    assert len(wrong(new, old)) == 1


@pytest.mark.parametrize(
    ("spec", "first"),
    [
        ("{minAvailable: 1, maxUnavailable: 1}", "spec"),
        ("{minAvailable: 101%}", "spec.minAvailable"),
        ("{maxUnavailable: -1}", "spec.maxUnavailable"),
        ("{unhealthyPodEvictionPolicy: Never}", "spec.unhealthyPodEvictionPolicy"),
    ],
)
def test_a_budget_is_said_in_one_way(spec: str, first: str) -> None:
    errors = wrong(made(f"{{apiVersion: policy/v1, kind: PodDisruptionBudget, spec: {spec}}}"))
    assert [error.partition(":")[0] for error in errors] == [first]


def test_an_ingress_leads_somewhere() -> None:
    text = """
apiVersion: networking.k8s.io/v1
kind: Ingress
spec: {rules: [{host: a.com, http: {paths: [{path: x, pathType: Prefix, backend: {service: {name: s}}}]}}]}
"""
    assert wrong(made(text)) == [
        'spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path',
        "spec.rules[0].http.paths[0].backend: Required value: port name or number is required",
    ]
    assert wrong(made("{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: {}}")) == [
        "spec: Invalid value: []networking.IngressRule(nil): either `defaultBackend` or `rules` must be specified"
    ]
    assert cells(made(text))["Hosts"] == "a.com"


def test_an_ingress_says_once_or_twice_the_same_class_and_names_whole_backends() -> None:
    def ingress(backend: str, old_class: str = "c") -> list[str]:
        spec = "{ingressClassName: c, defaultBackend: {" + backend + "}}"
        text = "{apiVersion: networking.k8s.io/v1, kind: Ingress, spec: " + spec + "}"
        value = made(text, annotations={"kubernetes.io/ingress.class": old_class})
        return [error.partition(": ")[0] for error in wrong(value)]

    assert ingress("service: {name: s, port: {number: 80}}") == []
    assert ingress("service: {name: s, port: {number: 80}}", "d") == ["annotations.kubernetes.io/ingress.class"]
    assert ingress("service: {name: s, port: {number: 80, name: a}}") == ["spec.defaultBackend"]
    assert ingress("resource: {apiGroup: A, kind: a/b, name: ''}") == [
        f"spec.defaultBackend.resource.{field}" for field in ("apiGroup", "kind", "name")
    ]


def test_a_port_that_ends_a_range_begins_at_another() -> None:
    rule = "{ports: [{endPort: 3}]}"
    text = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {ingress: [" + rule + "]}}"
    assert wrong(made(text)) == [
        "spec.ingress[0].ports[0].endPort: Invalid value: 3: may not be specified when `port` is not specified"
    ]


def test_a_network_policy_is_about_what_it_has_rules_for() -> None:
    policy = made(
        """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
spec: {podSelector: {}, egress: [{ports: [{port: 53}], to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}
"""
    )
    assert policy.spec.policy_types == ["Ingress", "Egress"]
    assert policy.spec.egress[0].ports[0].protocol == "TCP"
    [error] = wrong(policy)
    assert error.endswith("must be a strict subset of `cidr`")


def test_the_default_storage_class_is_shown_as_such() -> None:
    one = made(
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: x/y}",
        annotations={"storageclass.kubernetes.io/is-default-class": "true"},
    )
    assert (one.reclaim_policy, one.volume_binding_mode) == ("Delete", "Immediate")
    assert cells(one)["Name"] == "a (default)"
    new = copy.deepcopy(one)
    new.parameters = {"a": "b"}
    assert wrong(new, one) == ["parameters: Forbidden: updates to parameters are forbidden."]


def test_users_classes_stay_below_the_systems() -> None:
    one = made("{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 1000000001}")
    assert [error.partition(":")[0] for error in wrong(one)] == ["value"]
    one = made("{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 5}", name="system-mine")
    assert [error.partition(":")[0] for error in wrong(one)] == ["metadata.name"]
    old = made("{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 5}")
    new = copy.deepcopy(old)
    new.value = 6
    assert wrong(new, old) == ["value: Forbidden: may not be changed in an update."]


def test_a_webhook_refuses_when_it_fails_and_has_ten_seconds() -> None:
    text = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
webhooks:
- name: a.b.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {service: {namespace: n, name: s}}
  rules: [{operations: [CREATE], apiGroups: ["*"], apiVersions: [v1], resources: [pods]}]
"""
    configuration = made(text)
    [webhook] = configuration.webhooks
    assert (webhook.failure_policy, webhook.timeout_seconds, webhook.reinvocation_policy) == ("Fail", 10, "Never")
    assert (webhook.rules[0].scope, webhook.client_config.service.port) == ("*", 443)
    assert wrong(configuration) == []
    webhook.client_config.url = "http://x"
    webhook.name = "short"
    assert [error.partition(":")[0] for error in wrong(configuration)] == [
        "webhooks[0].name",
        "webhooks[0].clientConfig",
    ]


def test_a_policy_has_rules_and_says_what_they_are_about() -> None:
    policy = made(
        "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, spec: {matchConstraints: {}}}"
    )
    assert policy.spec.failure_policy == "Fail"
    assert policy.spec.match_constraints.match_policy == "Equivalent"
    assert [error.partition(":")[0] for error in wrong(policy)] == [
        "spec.matchConstraints.resourceRules",
        "spec.validations",
        "spec.auditAnnotations",
    ]


def test_an_api_service_is_named_after_what_it_serves() -> None:
    text = """
apiVersion: apiregistration.k8s.io/v1
kind: APIService
spec: {group: g.example.com, version: v1, groupPriorityMinimum: 1, versionPriority: 1, service: {namespace: n, name: s}}
"""
    assert wrong(made(text, name="v1.g.example.com")) == []
    assert [error.partition(":")[0] for error in wrong(made(text))] == ["metadata.name"]


def test_a_limited_level_queues_in_64_queues() -> None:
    level = made(
        """
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}
"""
    )
    assert wrong(level) == []
    shown = cells(level)
    assert (shown["NominalConcurrencyShares"], shown["Queues"], shown["HandSize"]) == (30, 64, 8)


def test_a_flow_schema_says_whose_requests() -> None:
    schema = made(
        """
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
spec:
  priorityLevelConfiguration: {name: l}
  rules: [{subjects: [{kind: User}], nonResourceRules: [{verbs: [get], nonResourceURLs: [/x]}]}]
"""
    )
    assert schema.spec.matching_precedence == 1000
    assert wrong(schema) == [
        "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'"
    ]


def test_a_certificate_is_asked_for_by_somebody_known_to_the_server_alone() -> None:
    request = made(
        "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, spec: {signerName: x, usages: [fly]}}"
    )
    assert [error.partition(":")[0] for error in wrong(request)] == [
        "spec.request",
        "spec.usages[0]",
        "spec.signerName",
    ]
    assert cells(request)["Condition"] == "Pending"


@pytest.fixture(scope="module")
def signing_request() -> Any:
    """Return a request that nothing is wrong with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
    return made(
        f"{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, "
        f"spec: {{request: {pem}, signerName: a.b/c, usages: [any]}}}}"
    )


def decided(
    request: csrs.CertificateSigningRequest, *types: str, certificate: bytes = b"", reason: str = ""
) -> csrs.CertificateSigningRequest:
    conditions = [
        csrs.CertificateSigningRequestCondition(type=type, status="True", reason=reason or "x") for type in types
    ]
    new = copy.deepcopy(request)
    new.status = csrs.CertificateSigningRequestStatus(conditions=conditions, certificate=certificate)
    return new


def test_a_status_of_a_signing_request_keeps_the_decision_as_it_was_worded(
    signing_request: csrs.CertificateSigningRequest,
) -> None:
    old = decided(signing_request, "Seen", "Approved")
    new = decided(signing_request, "Approved", "Seen", "Failed", reason="y")
    csrs.prepare_for_status_update(new, old)
    assert [(each.type, each.reason) for each in new.status.conditions] == [
        ("Approved", "x"),
        ("Seen", "y"),
        ("Failed", "y"),
    ]
    assert list(csrs.validate_status(new, old)) == []


def test_only_approval_decides_on_a_signing_request(signing_request: csrs.CertificateSigningRequest) -> None:
    def on_status(new: csrs.CertificateSigningRequest, old: csrs.CertificateSigningRequest) -> list[str]:
        csrs.prepare_for_status_update(new, old)
        return [f"{error.path}: {error.message}" for error in csrs.validate_status(new, old)]

    open_, approved = decided(signing_request), decided(signing_request, "Approved")
    assert on_status(decided(signing_request, "Denied", "Seen"), open_) == [
        'status.conditions: Forbidden: updates may not add a condition of type "Denied"'
    ]
    assert on_status(decided(signing_request, "Seen"), approved) == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
    ]
    assert list(csrs.validate_approval(approved, open_)) == []
    both = decided(signing_request, "Approved", "Denied")
    assert [f"{error.path}: {error.message}" for error in csrs.validate_approval(both, approved)] == [
        'status.conditions[1].type: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'
    ]
    assert list(csrs.validate_approval(both, both)) == []
    assert csrs.RESOURCE.validate_subresource == {"approval": csrs.validate_approval}


def test_what_was_decided_of_a_request_and_issued_is_not_taken_back(
    signing_request: csrs.CertificateSigningRequest,
) -> None:
    def request(*types: str, certificate: bytes = b"") -> csrs.CertificateSigningRequest:
        return decided(signing_request, *types, certificate=certificate)

    def refused(new: csrs.CertificateSigningRequest, old: csrs.CertificateSigningRequest) -> list[str]:
        return [f"{error.path}: {error.message}" for error in csrs.validate_status(new, old)]

    assert refused(request("Approved", "Seen"), request("Approved")) == []
    assert refused(request("Approved"), request("Approved", "Failed", "Seen")) == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Failed"'
    ]
    key = b"-----BEGIN KEY-----\n-----END KEY-----\n"
    for content in (b"pem", key):
        assert [line.partition(":")[0] for line in refused(request(certificate=content), request())] == [
            "status.certificate"
        ]
    assert refused(request(), request(certificate=b"x")) == [
        "status.certificate: Forbidden: updates may not modify existing certificate content"
    ]
    assert [
        f"{error.path}: {error.message}"
        for error in csrs.validate_approval(request(certificate=b"y"), request(certificate=b"x"))
    ] == ["status.certificate: Forbidden: updates may not set certificate content"]


def test_what_was_wrong_with_a_signing_request_before_is_let_be(
    signing_request: csrs.CertificateSigningRequest,
) -> None:
    old = decided(signing_request, "", "Seen", "Seen")
    old.spec = msgspec.structs.replace(
        old.spec, usages=["fly", "any", "any"], signer_name="kubernetes.io/legacy-unknown"
    )
    assert wrong(old, old) == []
    assert [line.partition(": ")[0] for line in wrong(old)] == [
        "spec.usages[0]",
        "spec.usages[2]",
        "spec.signerName",
        "status.conditions[0].type",
        "status.conditions[2].type",
    ]


def test_conditions_of_a_request_for_a_certificate_get_their_times() -> None:
    def request(**given: str) -> csrs.CertificateSigningRequest:
        condition = csrs.CertificateSigningRequestCondition(type="Approved", status="True", **given)
        return csrs.CertificateSigningRequest(status=csrs.CertificateSigningRequestStatus(conditions=[condition]))

    def times(new: csrs.CertificateSigningRequest) -> tuple[str, str]:
        (condition,) = new.status.conditions
        return condition.last_update_time, condition.last_transition_time

    new = request()
    csrs.note_times(new, csrs.CertificateSigningRequest(), 0.0)
    assert times(new) == ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z")
    again = request()
    csrs.note_times(again, new, 60.0)
    assert times(again) == ("1970-01-01T00:01:00Z", "1970-01-01T00:00:00Z")
    told = request(last_update_time="2024-01-01T00:00:00Z", last_transition_time="2023-01-01T00:00:00Z")
    csrs.note_times(told, new, 60.0)
    assert times(told) == ("2024-01-01T00:00:00Z", "2023-01-01T00:00:00Z")


def test_kinds_of_storage_say_what_never_changes_in_upstreams_words() -> None:
    old = made("{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: x/y}")
    new = copy.deepcopy(old)
    new.reclaim_policy = "Retain"
    assert wrong(new, old) == ["reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."]
    node = made(
        "{apiVersion: storage.k8s.io/v1, kind: CSINode, spec: {drivers: [{name: d, nodeID: n, topologyKeys: [a, a]}]}}"
    )
    assert wrong(node) == ['spec.drivers[0]: Duplicate value: "a"']


def test_what_an_attacher_tells_has_its_limits() -> None:
    spec = "{attacher: d, nodeName: n, source: {persistentVolumeName: v}}"
    old = made(f"{{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, spec: {spec}}}")
    new = copy.deepcopy(old)
    new.status.attachment_metadata = {"k": "v" * 256 * 1024}
    new.status.detach_error = VolumeError(message="m" * 1025)
    assert [error.path for error in kind_of(new).validate_status(new, old)] == [
        "status.attachmentMetadata",
        "status.detachError.message",
    ]


def test_a_request_signed_with_sha_1_by_its_own_key_is_taken_and_one_signed_by_another_is_not():
    def der(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content

    own, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(own, hashes.SHA256())
    sha1_with_rsa = bytes.fromhex("300d06092a864886f70d0101050500")
    for key, is_signed in ((own, True), (other, False)):
        signature = key.sign(asked.tbs_certrequest_bytes, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
        whole = der(0x30, asked.tbs_certrequest_bytes + sha1_with_rsa + der(0x03, b"\0" + signature))
        assert csrs.is_signed(x509.load_der_x509_csr(whole)) is is_signed
    assert csrs.is_signed(asked)

"""What is in the JSON of an object that says nothing: each field that upstream declares without omitempty."""

import json
from typing import Final

from api import serde
from api.schema import Struct, fields_of
from tests.unit.api.test_reference import structs

NEVER_EMPTY: Final = {
    "CephFSPersistentVolumeSource": {"monitors"},
    "CephFSVolume": {"monitors"},
    "CephFSVolumeSource": {"monitors"},
    "CertificateSigningRequestSpec": {"request"},
    "CustomResourceDefinitionSpec": {"versions"},
    "Endpoint": {"addresses"},
    "HTTPIngressRuleValue": {"paths"},
    "MutatingWebhook": {"admissionReviewVersions"},
    "NodeSelector": {"nodeSelectorTerms"},
    "NonResourcePolicyRule": {"nonResourceURLs", "verbs"},
    "PodFailurePolicyOnExitCodesRequirement": {"values"},
    "PodSpec": {"containers"},
    "PolicyRule": {"verbs"},
    "PolicyRulesWithSubjects": {"subjects"},
    "RBDImage": {"monitors"},
    "RBDPersistentVolumeSource": {"monitors"},
    "RBDVolumeSource": {"monitors"},
    "ResourcePolicyRule": {"apiGroups", "resources", "verbs"},
    "SuccessPolicy": {"rules"},
    "TokenRequestSpec": {"audiences"},
    "TopologySelectorLabelRequirement": {"values"},
    "ValidatingWebhook": {"admissionReviewVersions"},
    "Webhook": {"admissionReviewVersions"},
    "WebhookConversion": {"conversionReviewVersions"},
}
"""Required lists that validation refuses empty, so that no stored object lacks them."""
TIMES: Final = ("date-time", "micro-time")
"""Left out where unset, as are pointers: null means the same to every client."""


def test_required_fields_are_written_even_when_they_are_empty() -> None:
    found: dict[str, set[str]] = {}
    for struct in structs():
        shown = _shown(struct)
        for name, field in fields_of(struct).items():
            is_needed = field.wire is not None and field.wire.required and not field.nullable
            if is_needed and field.type.form not in TIMES and name not in shown:
                found.setdefault(struct.__name__, set()).add(name)
    assert found == NEVER_EMPTY


def test_an_object_within_an_object_is_written_even_when_it_is_empty() -> None:
    missing = [
        f"{struct.__name__}.{name}"
        for struct in structs()
        for name, field in fields_of(struct).items()
        if field.type.kind == "struct" and not field.nullable and name != "metadata" and name not in _shown(struct)
    ]
    assert missing == []


def _shown(struct: type[Struct]) -> set[str]:
    return set(json.loads(serde.encode(struct())))

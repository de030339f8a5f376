"""Certificates on request: who asks, who may decide, who may sign.

The server writes into a CertificateSigningRequest who asks. To approve or deny takes the right to `approve` for its
signer, to issue the right to `sign`; and nobody gets a client certificate of the group that may do anything.
After upstream's plugins CertificateApproval, CertificateSigning and CertificateSubjectRestriction.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from api import timestamps
from api.certificates import certificatesigningrequest
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.rbac import SUPERUSERS
from apiserver.request import AdmissionRequest, Authorizer, RequestInfo
from component.clock import Clock

_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


class Certificates:
    """Guards the three steps of a certificate on request."""

    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._clock = clock

    async def admit(self, request: AdmissionRequest) -> None:
        """Write into a new request who asks, whatever it says itself; into a decision, when it was made."""
        if request.resource is not certificatesigningrequest.RESOURCE:
            return
        if request.operation == "UPDATE" and request.subresource in ("approval", "status"):
            _date(request.object, request.old, timestamps.render(self._clock.now()))
        if request.operation != "CREATE":
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        user = request.user
        spec.username, spec.uid, spec.groups = user.name, user.uid, list(user.groups)
        spec.extra = {key: list(values) for key, values in user.extra.items()}

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge who does what.

        Raises:
            Forbidden: the user may not decide or sign for this signer, or asks for too much.
        """
        if request.resource is not certificatesigningrequest.RESOURCE:
            return
        new: Any = request.object
        old: Any = request.old
        match request.operation, request.subresource:
            case "CREATE", _:
                if new.spec.signer_name == _CLIENT_SIGNER and SUPERUSERS in _organizations(new.spec.request):
                    why = f'use of {_CLIENT_SIGNER} signer with organization "{SUPERUSERS}" is not allowed'
                    raise refusal(request, why)
            case "UPDATE", "approval":
                self._require(request, "approve", old.spec.signer_name)
            case "UPDATE", "status":
                if new.status.certificate != old.status.certificate or _has_failed(new) != _has_failed(old):
                    self._require(request, "sign", old.spec.signer_name)

    def _require(self, request: AdmissionRequest, verb: str, signer: str) -> None:
        """Require a right to a signer, by its name or by its whole domain."""
        for name in (signer, f"{signer.partition('/')[0]}/*"):
            asked = RequestInfo(verb, "", "certificates.k8s.io", "*", "signers", "", "", name)
            if self._authorizer.authorize(request.user, asked).allowed:
                return
        raise refusal(request, f'user not permitted to {verb} requests with signerName "{signer}"')


def _date(new: Any, old: Any, now: str) -> None:
    """Give conditions the times that their writers left out; one that says what it said before changed when it did."""
    since = {(one.type, one.status): one.last_transition_time for one in old.status.conditions}
    for condition in new.status.conditions:
        condition.last_update_time = condition.last_update_time or now
        before = since.get((condition.type, condition.status))
        condition.last_transition_time = condition.last_transition_time or before or now


def _has_failed(request: Any) -> bool:
    return any(condition.type == "Failed" for condition in request.status.conditions)


def _organizations(pem: bytes) -> list[str]:
    subject = x509.load_pem_x509_csr(pem).subject
    return [str(name.value) for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]

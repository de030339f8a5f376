"""CertificateSubjectRestriction: nobody gets a client certificate of the group that may do anything."""

from __future__ import annotations

from typing import Any, Final

from cryptography.x509.oid import NameOID

from api.certificates import certificatesigningrequest
from api.certificates.reading import read_request
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.rbac import SUPERUSERS
from apiserver.request import AdmissionRequest

_CLIENT_SIGNER: Final = "kubernetes.io/kube-apiserver-client"


class CertificateSubjectRestriction:
    """The plugin."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge what is asked for; raises Forbidden."""
        if request.resource is not certificatesigningrequest.RESOURCE or request.operation != "CREATE":
            return
        new: Any = request.object
        if new.spec.signer_name == _CLIENT_SIGNER and SUPERUSERS in _organizations(new.spec.request):
            raise refusal(request, f'use of {_CLIENT_SIGNER} signer with organization "{SUPERUSERS}" is not allowed')


def _organizations(pem: bytes) -> list[str]:
    subject = read_request(pem).subject
    return [str(name.value) for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]

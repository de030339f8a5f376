"""CertificateApproval: to approve or deny a certificate takes the right to `approve` for its signer."""

from __future__ import annotations

from typing import Any

from api.certificates import certificatesigningrequest
from apiserver.admission.certificate_rights import require
from apiserver.request import AdmissionRequest, Authorizer


class CertificateApproval:
    """The plugin."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge who decides; raises Forbidden."""
        if request.resource is not certificatesigningrequest.RESOURCE:
            return
        if (request.operation, request.subresource) == ("UPDATE", "approval"):
            old: Any = request.old
            await require(self._authorizer, request, "approve", old.spec.signer_name)

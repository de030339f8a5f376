"""CertificateSigning: to issue a certificate, or to say that it failed, takes the right to `sign` for its signer."""

from __future__ import annotations

from typing import Any

from api.certificates import certificatesigningrequest
from apiserver.admission.certificate_rights import require
from apiserver.request import AdmissionRequest, Authorizer


class CertificateSigning:
    """The plugin."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge who issues; raises Forbidden."""
        if request.resource is not certificatesigningrequest.RESOURCE:
            return
        if (request.operation, request.subresource) != ("UPDATE", "status"):
            return
        new: Any = request.object
        old: Any = request.old
        if new.status.certificate != old.status.certificate or _has_failed(new) != _has_failed(old):
            await require(self._authorizer, request, "sign", old.spec.signer_name)


def _has_failed(request: Any) -> bool:
    return any(condition.type == "Failed" for condition in request.status.conditions)

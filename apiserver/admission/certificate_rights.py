"""What rights to a signer of certificates are called: shared by the plugins that guard approval and signing."""

from __future__ import annotations

from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest, Authorizer, RequestInfo, decided


async def require(authorizer: Authorizer, request: AdmissionRequest, verb: str, signer: str) -> None:
    """Require a right to a signer, by its name or by its whole domain.

    Raises:
        Forbidden: the user has neither.
    """
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        asked = RequestInfo(verb, "", "certificates.k8s.io", "*", "signers", "", "", name)
        if (await decided(authorizer.authorize(request.user, asked))).allowed:
            return
    raise refusal(request, f'user not permitted to {verb} requests with signerName "{signer}"')

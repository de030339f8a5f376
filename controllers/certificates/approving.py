"""Approves kubelets' requests for client certificates, of those who have the right to ask for one.

A bootstrapping node needs `create` on certificatesigningrequests/nodeclient; a node that renews its own certificate,
whose name is already the one asked for, `create` on certificatesigningrequests/selfnodeclient. Everything else waits
for a person. A dialogue with the server, which says who has which right.
"""

from __future__ import annotations

from api.authorization import subjectaccessreview
from api.authorization.selfsubjectaccessreview import ResourceAttributes
from api.authorization.subjectaccessreview import SubjectAccessReview, SubjectAccessReviewSpec
from api.certificates import certificatesigningrequest as requests_kind
from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.errors import NotFound
from api.resource import ObjectKey
from controllers.certificates.requests import KUBELET_CLIENT, approval, asked_in, check_kubelet_client, has_condition
from controllers.runner import Context, Dialogue


def rights_for(request: CertificateSigningRequest) -> list[tuple[str, str]]:
    """Return the subresources of which one right is enough, and what is said on approval; none for other requests."""
    if request.spec.signer_name != KUBELET_CLIENT:
        return []
    try:
        asked = asked_in(request)
    except ValueError:
        return []
    if check_kubelet_client(asked):
        return []
    rights = [("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if asked.common_name == request.spec.username:
        why = "Auto approving self kubelet client certificate after SubjectAccessReview."
        rights.insert(0, ("selfnodeclient", why))
    return rights


async def reconcile(key: ObjectKey, context: Context) -> float | None:
    """Approve, or leave it to somebody else."""
    request = context.listers[requests_kind.RESOURCE].get(key)
    if request is None or request.status.certificate or has_condition(request, "Approved", "Denied"):
        return None
    for subresource, why in rights_for(request):
        if not await _may(request, subresource, context):
            continue
        change = approval(request, why, context.clock.now())
        try:
            await context.client.patch(requests_kind.RESOURCE, key, change, subresource="approval")
        except NotFound:
            return None
        return None
    return None


async def _may(request: CertificateSigningRequest, subresource: str, context: Context) -> bool:
    spec = request.spec
    attributes = ResourceAttributes(
        verb="create",
        group="certificates.k8s.io",
        resource="certificatesigningrequests",
        subresource=subresource,
        version="*",
    )
    asked = SubjectAccessReviewSpec(
        resource_attributes=attributes, user=spec.username, groups=spec.groups, extra=spec.extra, uid=spec.uid
    )
    answer = await context.client.create(subjectaccessreview.RESOURCE, SubjectAccessReview(spec=asked))
    return answer.status.allowed


CONTROLLER: Dialogue[CertificateSigningRequest] = Dialogue(
    name="csrapproving", resource=requests_kind.RESOURCE, reconcile=reconcile, workers=2
)

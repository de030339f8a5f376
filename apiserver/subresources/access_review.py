"""SelfSubjectAccessReview: what `kubectl auth can-i` asks. A question with an answer; nothing is stored."""

from __future__ import annotations

import msgspec

from api.authorization import selfsubjectaccessreview
from api.authorization.selfsubjectaccessreview import SelfSubjectAccessReview, SubjectAccessReviewStatus
from api.errors import Cause, Invalid
from apiserver.request import Answer, Authorizer, Call, RequestInfo
from apiserver.verbs import writing


class AccessReviewHandler:
    """Asks the authorizer on behalf of whoever calls."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def __call__(self, call: Call) -> Answer:
        """Answer the review in the call's body.

        Raises:
            Invalid: it asks about neither a resource nor a path, or about both.
        """
        review: SelfSubjectAccessReview = writing.decode_body(call, selfsubjectaccessreview.RESOURCE)
        decision = self._authorizer.authorize(call.user, _asked(review))
        review.status = SubjectAccessReviewStatus(allowed=decision.allowed, reason=decision.reason)
        return Answer(msgspec.json.encode(review), code=201)


def _asked(review: SelfSubjectAccessReview) -> RequestInfo:
    of_resource, of_path = review.spec.resource_attributes, review.spec.non_resource_attributes
    if of_resource is not None and of_path is None:
        return RequestInfo(
            verb=of_resource.verb,
            group=of_resource.group,
            version=of_resource.version,
            plural=of_resource.resource,
            subresource=of_resource.subresource,
            namespace=of_resource.namespace,
            name=of_resource.name,
        )
    if of_path is not None and of_resource is None:
        return RequestInfo(verb=of_path.verb, path=of_path.path)
    resource = selfsubjectaccessreview.RESOURCE
    why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    raise Invalid(
        f'{resource.kind}.{resource.group} "" is invalid: spec.resourceAttributes: Invalid value: {why}',
        group=resource.group,
        kind=resource.kind,
        causes=[Cause("FieldValueInvalid", f"Invalid value: {why}", "spec.resourceAttributes")],
    )

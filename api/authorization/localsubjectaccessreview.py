"""LocalSubjectAccessReview: may somebody do this in that namespace? A question, never stored."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from api import validation as v
from api.authorization.selfsubjectaccessreview import SubjectAccessReviewStatus
from api.authorization.subjectaccessreview import SubjectAccessReviewSpec, check_subject
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class LocalSubjectAccessReview(Struct):
    """Asks whether somebody may do something in one namespace.

    Attributes:
        spec: Who, and what; its namespace must be that of the URL.
        status: The answer, filled in by the server.
    """

    api_version: str = always("authorization.k8s.io/v1")
    kind: str = always("LocalSubjectAccessReview")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[SubjectAccessReviewSpec, wire(2, required=True)] = field(default_factory=SubjectAccessReviewSpec)
    status: Annotated[SubjectAccessReviewStatus, wire(3)] = field(default_factory=SubjectAccessReviewStatus)


def validate(new: LocalSubjectAccessReview, old: LocalSubjectAccessReview | None) -> v.Errors:
    """Check the question, which is about a resource of the namespace it is asked in."""
    yield from check_subject(new.spec)
    asked = new.spec.resource_attributes
    if msgspec.structs.replace(new.metadata, namespace="", managed_fields=[]) != ObjectMeta():
        yield v.invalid("metadata", new.metadata, "must be empty except for namespace")
    if asked is not None and asked.namespace != new.metadata.namespace:
        yield v.invalid("spec.resourceAttributes.namespace", asked.namespace, "must match metadata.namespace")
    if new.spec.non_resource_attributes is not None:
        yield v.invalid(
            "spec.nonResourceAttributes", new.spec.non_resource_attributes, "disallowed on this kind of request"
        )


RESOURCE: Final[Resource[LocalSubjectAccessReview]] = Resource(
    type=LocalSubjectAccessReview,
    group="authorization.k8s.io",
    version="v1",
    kind="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    namespaced=True,
    verbs=("create",),
    validate=validate,
)

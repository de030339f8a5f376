"""SubjectAccessReview: may somebody do this? A question, never stored."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from api import validation as v
from api.authorization.selfsubjectaccessreview import (
    NonResourceAttributes,
    ResourceAttributes,
    SubjectAccessReviewStatus,
    check_question,
)
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class SubjectAccessReviewSpec(Struct):
    """Who would do what; a resource or a path is set.

    Attributes:
        resource_attributes: The question, where it is about a resource.
        non_resource_attributes: The question, where it is about another path.
        user: The user's name; may be empty if there are groups.
        groups: What the user is a member of; rights of these count too.
        extra: What else the authenticator knows of the user, by name.
        uid: The user's uid, if there is one.
    """

    resource_attributes: Annotated[ResourceAttributes | None, wire(1)] = None
    non_resource_attributes: Annotated[NonResourceAttributes | None, wire(2)] = None
    user: Annotated[str, wire(3)] = ""
    groups: Annotated[list[str], wire(4, list_type="atomic")] = []
    extra: Annotated[dict[str, list[str]], wire(5)] = {}
    uid: Annotated[str, wire(6)] = ""


class SubjectAccessReview(Struct):
    """Asks whether somebody may do something.

    Attributes:
        spec: The question: who would do what.
        status: The answer, filled in by the server.
    """

    api_version: str = always("authorization.k8s.io/v1")
    kind: str = always("SubjectAccessReview")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[SubjectAccessReviewSpec, wire(2, required=True)] = field(default_factory=SubjectAccessReviewSpec)
    status: Annotated[SubjectAccessReviewStatus, wire(3)] = field(default_factory=SubjectAccessReviewStatus)


def validate(new: SubjectAccessReview, old: SubjectAccessReview | None) -> v.Errors:
    """Check that the question is about somebody, and about a resource or a path, not both."""
    if msgspec.structs.replace(new.metadata, managed_fields=[]) != ObjectMeta():
        yield v.invalid("metadata", new.metadata, "must be empty")
    yield from check_subject(new.spec)


def check_subject(spec: SubjectAccessReviewSpec) -> v.Errors:
    """Check what is asked, and about whom."""
    yield from check_question(spec)
    if not spec.user and not spec.groups:
        yield v.invalid("spec.user", spec.user, "at least one of user or group must be specified")


RESOURCE: Final[Resource[SubjectAccessReview]] = Resource(
    type=SubjectAccessReview,
    group="authorization.k8s.io",
    version="v1",
    kind="SubjectAccessReview",
    plural="subjectaccessreviews",
    namespaced=False,
    verbs=("create",),
    validate=validate,
)

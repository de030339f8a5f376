"""SelfSubjectAccessReview: may I do this? A question, never stored: `kubectl auth can-i`."""

from __future__ import annotations

from typing import Annotated, Final, Protocol

import msgspec

from api import validation as v
from api.meta import FieldSelectorRequirement, LabelSelectorRequirement, ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class SubjectAccessReviewStatus(Struct):
    """Whether it is allowed, and why.

    Attributes:
        allowed: Whether it is allowed.
        denied: Whether it is forbidden outright; with both false nobody had an opinion, which is no too.
        reason: Why, for people; may be empty.
        evaluation_error: What went wrong while it was decided; the answer holds nevertheless.
    """

    allowed: Annotated[bool, wire(1, required=True)] = always(False)
    denied: Annotated[bool, wire(4)] = False
    reason: Annotated[str, wire(2)] = ""
    evaluation_error: Annotated[str, wire(3)] = ""


class NonResourceAttributes(Struct):
    """What would be done to a path that is no resource.

    Attributes:
        path: The path, such as /healthz.
        verb: The HTTP method in lower case, such as get.
    """

    path: Annotated[str, wire(1)] = ""
    verb: Annotated[str, wire(2)] = ""


class LabelSelectorAttributes(Struct):
    """Which objects a request would be restricted to by a label selector; one of both is set.

    Attributes:
        raw_selector: The selector as text; only what was understood of it counts.
        requirements: The selector in parts, all of which hold; those not understood are ignored.
    """

    raw_selector: Annotated[str, wire(1)] = ""
    requirements: Annotated[list[LabelSelectorRequirement], wire(2, list_type="atomic")] = []


class FieldSelectorAttributes(Struct):
    """Which objects a request would be restricted to by a field selector; one of both is set.

    Attributes:
        raw_selector: The selector as text; only what was understood of it counts.
        requirements: The selector in parts, all of which hold; those not understood are ignored.
    """

    raw_selector: Annotated[str, wire(1)] = ""
    requirements: Annotated[list[FieldSelectorRequirement], wire(2, list_type="atomic")] = []


class ResourceAttributes(Struct):
    """What would be done to a resource.

    Attributes:
        namespace: In which namespace; empty is all of them, or a kind without.
        verb: What would be done: get, list, watch, create, update, patch, delete, deletecollection, proxy or another; *
            is all.
        group: The API group; empty is the core group, * all.
        version: Of which version of the group the resource is, such as v1; * is all.
        resource: The resource in plural, such as pods; * is all.
        subresource: The subresource, such as log; empty for none.
        name: The object, by name; empty is any.
        field_selector: Only objects whose fields match (beta).
        label_selector: Only objects whose labels match (beta).
    """

    namespace: Annotated[str, wire(1)] = ""
    verb: Annotated[str, wire(2)] = ""
    group: Annotated[str, wire(3)] = ""
    version: Annotated[str, wire(4)] = ""
    resource: Annotated[str, wire(5)] = ""
    subresource: Annotated[str, wire(6)] = ""
    name: Annotated[str, wire(7)] = ""
    field_selector: Annotated[FieldSelectorAttributes | None, wire(8)] = None
    label_selector: Annotated[LabelSelectorAttributes | None, wire(9)] = None


class SelfSubjectAccessReviewSpec(Struct):
    """What would be done; one of both is set.

    Attributes:
        resource_attributes: The question, where it is about a resource.
        non_resource_attributes: The question, where it is about another path.
    """

    resource_attributes: Annotated[ResourceAttributes | None, wire(1)] = None
    non_resource_attributes: Annotated[NonResourceAttributes | None, wire(2)] = None


class SelfSubjectAccessReview(Struct):
    """Asks whether the one who asks may do something (`kubectl auth can-i`).

    Attributes:
        spec: The question: what would be done.
        status: The answer, filled in by the server.
    """

    api_version: str = always("authorization.k8s.io/v1")
    kind: str = always("SelfSubjectAccessReview")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[SelfSubjectAccessReviewSpec, wire(2, required=True)] = field(
        default_factory=SelfSubjectAccessReviewSpec
    )
    status: Annotated[SubjectAccessReviewStatus, wire(3)] = field(default_factory=SubjectAccessReviewStatus)


def validate(new: SelfSubjectAccessReview, old: SelfSubjectAccessReview | None) -> v.Errors:
    """Check that the question is about a resource or about a path, not both."""
    if msgspec.structs.replace(new.metadata, managed_fields=[]) != ObjectMeta():
        yield v.invalid("metadata", new.metadata, "must be empty")
    yield from check_question(new.spec)


class Question(Protocol):
    """What every review of access asks."""

    @property
    def resource_attributes(self) -> ResourceAttributes | None: ...
    @property
    def non_resource_attributes(self) -> NonResourceAttributes | None: ...


def check_question(asked: Question) -> v.Errors:
    """Check that a question is about a resource or about a path, not both."""
    if asked.resource_attributes is not None and asked.non_resource_attributes is not None:
        yield v.invalid(
            "spec.nonResourceAttributes",
            asked.non_resource_attributes,
            "cannot be specified in combination with resourceAttributes",
        )
    if asked.resource_attributes is not None:
        path, attributes = "spec.resourceAttributes", asked.resource_attributes
        yield from _check_selector(f"{path}.fieldSelector", attributes.field_selector)
        yield from _check_selector(f"{path}.labelSelector", attributes.label_selector)
    if asked.resource_attributes is None and asked.non_resource_attributes is None:
        yield v.invalid(
            "spec.resourceAttributes",
            None,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )


def _check_selector(path: str, selector: FieldSelectorAttributes | LabelSelectorAttributes | None) -> v.Errors:
    if selector is None:
        return
    if selector.raw_selector and selector.requirements:
        yield v.invalid(
            f"{path}.rawSelector", selector.raw_selector, "may not specified at the same time as requirements"
        )
    if not selector.raw_selector and not selector.requirements:
        yield v.required(f"{path}.requirements", f"when {path} is specified, requirements or rawSelector is required")


RESOURCE: Final[Resource[SelfSubjectAccessReview]] = Resource(
    type=SelfSubjectAccessReview,
    group="authorization.k8s.io",
    version="v1",
    kind="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    namespaced=False,
    verbs=("create",),
    validate=validate,
)

"""SelfSubjectRulesReview: what may I do in a namespace? A question, never stored: `kubectl auth can-i --list`."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, shown_empty, wire


class NonResourceRule(Struct):
    """What may be done to paths that are no resources.

    Attributes:
        verbs: HTTP methods in lower case; * is all.
        non_resource_urls: The paths; * at the end stands for all below.
    """

    verbs: Annotated[list[str], wire(1, required=True, list_type="atomic")] = shown_empty()
    non_resource_urls: Annotated[list[str], wire(2, list_type="atomic")] = field(
        name="nonResourceURLs", default_factory=list
    )


class ResourceRule(Struct):
    """What may be done to resources.

    Attributes:
        verbs: What may be done, such as get; * is everything.
        api_groups: API groups; empty text is the core group, * all.
        resources: Resources such as pods or pods/log; * is all.
        resource_names: Only objects of these names; empty is any.
    """

    verbs: Annotated[list[str], wire(1, required=True, list_type="atomic")] = shown_empty()
    api_groups: Annotated[list[str], wire(2, list_type="atomic")] = []
    resources: Annotated[list[str], wire(3, list_type="atomic")] = []
    resource_names: Annotated[list[str], wire(4, list_type="atomic")] = []


class SubjectRulesReviewStatus(Struct):
    """What may be done, as far as it is known.

    Attributes:
        resource_rules: Rules about resources, in no order; some may say the same.
        non_resource_rules: Rules about paths, in no order; some may say the same.
        incomplete: Whether there may be more that is allowed, as not every authorizer can tell.
        evaluation_error: What went wrong while it was found out.
    """

    resource_rules: Annotated[list[ResourceRule], wire(1, required=True, list_type="atomic")] = shown_empty()
    non_resource_rules: Annotated[list[NonResourceRule], wire(2, required=True, list_type="atomic")] = shown_empty()
    incomplete: Annotated[bool, wire(3, required=True)] = always(False)
    evaluation_error: Annotated[str, wire(4)] = ""


class SelfSubjectRulesReviewSpec(Struct):
    """Where it would be done.

    Attributes:
        namespace: Where rights are looked for; required, as rules depend on it.
    """

    namespace: Annotated[str, wire(1)] = ""


class SelfSubjectRulesReview(Struct):
    """Asks what the one who asks may do in a namespace. For display: to decide, ask about one thing.

    Attributes:
        spec: The question: in which namespace.
        status: The answer, filled in by the server.
    """

    api_version: str = always("authorization.k8s.io/v1")
    kind: str = always("SelfSubjectRulesReview")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[SelfSubjectRulesReviewSpec, wire(2, required=True)] = field(
        default_factory=SelfSubjectRulesReviewSpec
    )
    status: Annotated[SubjectRulesReviewStatus, wire(3)] = field(default_factory=SubjectRulesReviewStatus)


def validate(new: SelfSubjectRulesReview, old: SelfSubjectRulesReview | None) -> v.Errors:
    """Check that there is a namespace."""
    if not new.spec.namespace:
        yield v.required("spec.namespace", "no namespace on request")


RESOURCE: Final[Resource[SelfSubjectRulesReview]] = Resource(
    type=SelfSubjectRulesReview,
    group="authorization.k8s.io",
    version="v1",
    kind="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    namespaced=False,
    verbs=("create",),
    validate=validate,
)

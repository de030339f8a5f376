"""TokenReview: whose token is this? A question, never stored."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class UserInfo(Struct):
    """Who somebody is."""

    username: Annotated[str, wire(1)] = ""
    uid: Annotated[str, wire(2)] = ""
    groups: Annotated[list[str], wire(3, list_type="atomic")] = []
    extra: Annotated[dict[str, list[str]], wire(4)] = {}


class TokenReviewStatus(Struct):
    """The answer."""

    authenticated: Annotated[bool, wire(1)] = False
    user: Annotated[UserInfo, wire(2)] = field(default_factory=UserInfo)
    audiences: Annotated[list[str], wire(4, list_type="atomic")] = []
    error: Annotated[str, wire(3)] = ""


class TokenReviewSpec(Struct):
    """The token, and for whom it should be."""

    token: Annotated[str, wire(1)] = ""
    audiences: Annotated[list[str], wire(2, list_type="atomic")] = []


class TokenReview(Struct):
    """Asks whose token this is."""

    api_version: str = always("authentication.k8s.io/v1")
    kind: str = always("TokenReview")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[TokenReviewSpec, wire(2, required=True)] = field(default_factory=TokenReviewSpec)
    status: Annotated[TokenReviewStatus, wire(3)] = field(default_factory=TokenReviewStatus)


def validate(new: TokenReview, old: TokenReview | None) -> v.Errors:
    """Check that there is a token."""
    if not new.spec.token:
        yield v.required("spec.token")


RESOURCE: Final[Resource[TokenReview]] = Resource(
    type=TokenReview,
    group="authentication.k8s.io",
    version="v1",
    kind="TokenReview",
    plural="tokenreviews",
    namespaced=False,
    verbs=("create",),
    validate=validate,
)

"""TokenReview: whose token is this? A question, never stored."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class UserInfo(Struct):
    """A user, as authentication found it.

    Attributes:
        username: The name, unique among users.
        uid: Tells the user from an earlier one of the same name; may be empty.
        groups: What the user is a member of, such as system:authenticated; roles can be bound to it.
        extra: What else the authenticator knows, by name.
    """

    username: Annotated[str, wire(1)] = ""
    uid: Annotated[str, wire(2)] = ""
    groups: Annotated[list[str], wire(3, list_type="atomic")] = []
    extra: Annotated[dict[str, list[str]], wire(4)] = {}


class TokenReviewStatus(Struct):
    """Whose token it is, if it is good.

    Attributes:
        authenticated: Whether the token is good.
        user: Whose it is.
        audiences: Which of the audiences asked for it is meant for; empty, the API server's own.
        error: Why it could not be checked.
    """

    authenticated: Annotated[bool, wire(1)] = False
    user: Annotated[UserInfo, wire(2)] = field(default_factory=UserInfo)
    audiences: Annotated[list[str], wire(4, list_type="atomic")] = []
    error: Annotated[str, wire(3)] = ""


class TokenReviewSpec(Struct):
    """The token, and for whom it should be.

    Attributes:
        token: What was presented as proof: the opaque text of a bearer token.
        audiences: Who takes it as proof: it must be meant for one of these. By default the API server.
    """

    token: Annotated[str, wire(1)] = ""
    audiences: Annotated[list[str], wire(2, list_type="atomic")] = []


class TokenReview(Struct):
    """Asks whose token this is, and whether it is good.

    Attributes:
        spec: The question: the token to check.
        status: The answer, filled in by the server.
    """

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

"""TokenRequest: a signed token for a service account; the body of its `token` subresource."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int64, Struct, Time, always, field, wire


class TokenRequestStatus(Struct):
    """The token that was made.

    Attributes:
        token: The token itself; keep it secret.
        expiration_timestamp: When it expires.
    """

    token: Annotated[str, wire(1, required=True)] = always("")
    expiration_timestamp: Annotated[Time, wire(2, required=True)] = always("")


class BoundObjectReference(Struct):
    """An object that a token does not outlive: a Pod, Secret or Node.

    Attributes:
        kind: What sort of object it is: Pod, Secret or Node.
        api_version: Its group and version; v1.
        name: The metadata.name of the object; for a Pod or Secret in the account's namespace.
        uid: Its uid; filled in if it is left out.
    """

    kind: Annotated[str, wire(1)] = ""
    api_version: Annotated[str, wire(2)] = ""
    name: Annotated[str, wire(3)] = ""
    uid: Annotated[str, wire(4)] = ""


class TokenRequestSpec(Struct):
    """For whom a token shall be, and for how long.

    Attributes:
        audiences: Who may take it as proof; each checks that it is named. Empty is the API server itself.
        expiration_seconds: For how many seconds, 600 at least; 3600 by default. The server may choose otherwise: look
            at the answer.
        bound_object_ref: An object that the token does not outlive; unset, only its account.
    """

    audiences: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    expiration_seconds: Annotated[Int64 | None, wire(4)] = None
    bound_object_ref: Annotated[BoundObjectReference | None, wire(3)] = None


class TokenRequest(Struct):
    """Asks for a signed token of a service account, through its subresource token.

    Attributes:
        spec: What sort of token is wanted.
        status: The answer: the token, filled in by the server.
    """

    api_version: str = always("authentication.k8s.io/v1")
    kind: str = always("TokenRequest")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[TokenRequestSpec, wire(2, required=True)] = field(default_factory=TokenRequestSpec)
    status: Annotated[TokenRequestStatus, wire(3)] = field(default_factory=TokenRequestStatus)


_LIFETIME_S_MIN = 600
_LIFETIME_S_MAX = 2**32


def default(request: TokenRequest) -> None:
    """An hour, if nobody says."""
    if request.spec.expiration_seconds is None:
        request.spec.expiration_seconds = 3600


def validate(new: TokenRequest, old: TokenRequest | None) -> v.Errors:
    """Check how long the token shall live."""
    seconds = new.spec.expiration_seconds
    if seconds is not None and seconds < _LIFETIME_S_MIN:
        yield v.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds is not None and seconds > _LIFETIME_S_MAX:
        yield v.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


RESOURCE: Final[Resource[TokenRequest]] = Resource(
    type=TokenRequest,
    group="authentication.k8s.io",
    version="v1",
    kind="TokenRequest",
    plural="",
    namespaced=True,
    verbs=(),
    default=default,
    validate=validate,
)

"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int64, Struct, Time, always, field, wire


class TokenRequestStatus(Struct):
    token: Annotated[str, wire(1, required=True)] = always("")
    expiration_timestamp: Annotated[Time, wire(2, required=True)] = always("")


class BoundObjectReference(Struct):
    kind: str = ""
    api_version: str = ""
    name: Annotated[str, wire(3)] = ""
    uid: Annotated[str, wire(4)] = ""


class TokenRequestSpec(Struct):
    audiences: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    expiration_seconds: Annotated[Int64 | None, wire(4)] = None
    bound_object_ref: Annotated[BoundObjectReference | None, wire(3)] = None


class TokenRequest(Struct):
    api_version: str = always("authentication.k8s.io/v1")
    kind: str = always("TokenRequest")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[TokenRequestSpec, wire(2, required=True)] = field(default_factory=TokenRequestSpec)
    status: Annotated[TokenRequestStatus, wire(3)] = field(default_factory=TokenRequestStatus)


RESOURCE: Final[Resource[TokenRequest]] = Resource(
    type=TokenRequest,
    group="authentication.k8s.io",
    version="v1",
    kind="TokenRequest",
    plural="",
    namespaced=True,
    verbs=(),
)

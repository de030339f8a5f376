"""SelfSubjectReview: who am I? A question, never stored: `kubectl auth whoami` (KEP-3325)."""

from __future__ import annotations

from typing import Annotated, Final

from api.authentication.tokenreview import UserInfo
from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class SelfSubjectReviewStatus(Struct):
    """As whom the one who asks is known.

    Attributes:
        user_info: Name, uid, groups and extras of the one who asks.
    """

    user_info: Annotated[UserInfo, wire(1)] = field(default_factory=UserInfo)


class SelfSubjectReview(Struct):
    """Asks as whom the server knows the one who asks (`kubectl auth whoami`).

    Attributes:
        status: The answer, filled in by the server.
    """

    api_version: str = always("authentication.k8s.io/v1")
    kind: str = always("SelfSubjectReview")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    status: Annotated[SelfSubjectReviewStatus, wire(2)] = field(default_factory=SelfSubjectReviewStatus)


RESOURCE: Final[Resource[SelfSubjectReview]] = Resource(
    type=SelfSubjectReview,
    group="authentication.k8s.io",
    version="v1",
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    namespaced=False,
    verbs=("create",),
)

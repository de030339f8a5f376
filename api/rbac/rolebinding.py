"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.rbac.rules import RoleRef, Subject
from api.resource import Resource
from api.schema import Struct, always, field, wire


class RoleBinding(Struct):
    api_version: str = always("rbac.authorization.k8s.io/v1")
    kind: str = always("RoleBinding")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    subjects: Annotated[list[Subject], wire(2, list_type="atomic")] = []
    role_ref: Annotated[RoleRef, wire(3, required=True)] = field(default_factory=RoleRef)


RESOURCE: Final[Resource[RoleBinding]] = Resource(
    type=RoleBinding,
    group="rbac.authorization.k8s.io",
    version="v1",
    kind="RoleBinding",
    plural="rolebindings",
    namespaced=True,
)

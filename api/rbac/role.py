"""Role: what may be done in one namespace."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import CREATED_AT
from api.meta import ObjectMeta
from api.rbac.rules import PolicyRule, check_rules
from api.resource import Resource
from api.schema import Struct, always, field, shown_empty, wire


class Role(Struct):
    """Rights in one namespace.

    Attributes:
        rules: What may be done.
    """

    api_version: str = always("rbac.authorization.k8s.io/v1")
    kind: str = always("Role")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    rules: Annotated[list[PolicyRule], wire(2, list_type="atomic")] = shown_empty()


def validate(new: Role, old: Role | None) -> v.Errors:
    """Check the rules."""
    yield from check_rules(new.rules, is_namespaced=True)


RESOURCE: Final[Resource[Role]] = Resource(
    type=Role,
    group="rbac.authorization.k8s.io",
    version="v1",
    kind="Role",
    plural="roles",
    namespaced=True,
    check_name=names.check_path_segment,
    validate=validate,
    columns=(CREATED_AT,),
)

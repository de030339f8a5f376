"""RoleBinding: who has a role's rights in one namespace."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.meta import ObjectMeta
from api.rbac.rules import RoleRef, Subject, binding_columns, check_role_and_subjects, default_role_and_subjects
from api.resource import Resource
from api.schema import Struct, always, field, wire


class RoleBinding(Struct):
    """Gives a role's rights, in one namespace, to its subjects.

    Attributes:
        subjects: Who gets the rights.
        role_ref: Which Role of the namespace, or which ClusterRole.
    """

    api_version: str = always("rbac.authorization.k8s.io/v1")
    kind: str = always("RoleBinding")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    subjects: Annotated[list[Subject], wire(2, list_type="atomic")] = []
    role_ref: Annotated[RoleRef, wire(3, required=True)] = field(default_factory=RoleRef)


def default(binding: RoleBinding) -> None:
    """Fill in the API groups of role and subjects."""
    default_role_and_subjects(binding.role_ref, binding.subjects)


def validate(new: RoleBinding, old: RoleBinding | None) -> v.Errors:
    """Check role and subjects; the role never changes, because a binding is a promise to whoever reads its name."""
    yield from check_role_and_subjects(new.role_ref, new.subjects, is_namespaced=True)
    if old is not None and new.role_ref != old.role_ref:
        yield v.invalid("roleRef", new.role_ref, "cannot change roleRef")


RESOURCE: Final[Resource[RoleBinding]] = Resource(
    type=RoleBinding,
    group="rbac.authorization.k8s.io",
    version="v1",
    kind="RoleBinding",
    plural="rolebindings",
    namespaced=True,
    check_name=names.check_path_segment,
    default=default,
    validate=validate,
    columns=binding_columns(),
)

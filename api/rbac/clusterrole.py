"""ClusterRole: what may be done anywhere, or to what has no namespace.

One with an aggregation rule has its rules filled in from other roles.
"""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import CREATED_AT
from api.meta import LabelSelector, ObjectMeta
from api.rbac.rules import PolicyRule, check_rules
from api.resource import Resource
from api.schema import Struct, always, field, shown_empty, wire


class AggregationRule(Struct):
    """Whose rules a ClusterRole is made of.

    Attributes:
        cluster_role_selectors: ClusterRoles whose labels match any of these give their rules.
    """

    cluster_role_selectors: Annotated[list[LabelSelector], wire(1, list_type="atomic")] = []


class ClusterRole(Struct):
    """Rights anywhere in the cluster, or to what has no namespace.

    Attributes:
        rules: What may be done. With an aggregationRule a controller writes them.
        aggregation_rule: Fill the rules from other ClusterRoles, by label; unset, they stand as written.
    """

    api_version: str = always("rbac.authorization.k8s.io/v1")
    kind: str = always("ClusterRole")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    rules: Annotated[list[PolicyRule], wire(2, list_type="atomic")] = shown_empty()
    aggregation_rule: Annotated[AggregationRule | None, wire(3)] = None


def validate(new: ClusterRole, old: ClusterRole | None) -> v.Errors:
    """Check the rules."""
    yield from check_rules(new.rules, is_namespaced=False)
    if new.aggregation_rule is not None:
        where = "aggregationRule.clusterRoleSelectors"
        if not new.aggregation_rule.cluster_role_selectors:
            yield v.required(where, "at least one clusterRoleSelector required if aggregationRule is non-nil")
        for i, selector in enumerate(new.aggregation_rule.cluster_role_selectors):
            if wrong := list(v.check_label_selector(f"{where}[{i}]", selector)):
                yield from wrong
                yield v.invalid(f"{where}[{i}]", selector, "invalid label selector.")


RESOURCE: Final[Resource[ClusterRole]] = Resource(
    type=ClusterRole,
    group="rbac.authorization.k8s.io",
    version="v1",
    kind="ClusterRole",
    plural="clusterroles",
    namespaced=False,
    check_name=names.check_path_segment,
    validate=validate,
    columns=(CREATED_AT,),
)

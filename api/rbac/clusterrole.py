"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import LabelSelector, ObjectMeta
from api.rbac.rules import PolicyRule
from api.resource import Resource
from api.schema import Struct, always, field, wire


class AggregationRule(Struct):
    cluster_role_selectors: Annotated[list[LabelSelector], wire(1, list_type="atomic")] = []


class ClusterRole(Struct):
    api_version: str = always("rbac.authorization.k8s.io/v1")
    kind: str = always("ClusterRole")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    rules: Annotated[list[PolicyRule], wire(2, list_type="atomic")] = []
    aggregation_rule: Annotated[AggregationRule | None, wire(3)] = None


RESOURCE: Final[Resource[ClusterRole]] = Resource(
    type=ClusterRole,
    group="rbac.authorization.k8s.io",
    version="v1",
    kind="ClusterRole",
    plural="clusterroles",
    namespaced=False,
)

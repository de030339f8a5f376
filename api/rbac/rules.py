"""TODO."""

from __future__ import annotations

from typing import Annotated

from api.schema import Struct, always, field, wire


class Subject(Struct):
    kind: Annotated[str, wire(1, required=True)] = always("")
    api_group: Annotated[str, wire(2)] = ""
    name: Annotated[str, wire(3, required=True)] = always("")
    namespace: Annotated[str, wire(4)] = ""


class RoleRef(Struct):
    api_group: Annotated[str, wire(1, required=True)] = always("")
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")


class PolicyRule(Struct):
    verbs: Annotated[list[str], wire(1, required=True, list_type="atomic")] = []
    api_groups: Annotated[list[str], wire(2, list_type="atomic")] = []
    resources: Annotated[list[str], wire(3, list_type="atomic")] = []
    resource_names: Annotated[list[str], wire(4, list_type="atomic")] = []
    non_resource_urls: Annotated[list[str], wire(5, list_type="atomic")] = field(
        name="nonResourceURLs", default_factory=list
    )

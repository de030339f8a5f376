"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class Secret(Struct):
    api_version: str = always("v1")
    kind: str = always("Secret")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    immutable: Annotated[bool | None, wire(5)] = None
    data: Annotated[dict[str, bytes], wire(2)] = {}
    string_data: Annotated[dict[str, str], wire(4)] = {}
    type: Annotated[str, wire(3)] = ""


RESOURCE: Final[Resource[Secret]] = Resource(
    type=Secret,
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    namespaced=True,
)

"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, always, field, wire


class ConfigMap(Struct):
    api_version: str = always("v1")
    kind: str = always("ConfigMap")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    immutable: Annotated[bool | None, wire(4)] = None
    data: Annotated[dict[str, str], wire(2)] = {}
    binary_data: Annotated[dict[str, bytes], wire(3)] = {}


RESOURCE: Final[Resource[ConfigMap]] = Resource(
    type=ConfigMap,
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    namespaced=True,
    short_names=("cm",),
)

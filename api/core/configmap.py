"""ConfigMap: settings by name, as text or as bytes; the smallest resource, and the model to copy.

A file of a resource holds its types, its defaults, its rules, what create and update do to it, its columns, and at the
end its `RESOURCE`, from which everything else follows.
"""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class ConfigMap(Struct):
    """Settings by name, as text or bytes, for pods to read as variables or files. At most 1 MiB in all.

    Attributes:
        immutable: Whether data can never be changed again, so that nodes need not watch; false by default, and never
            taken back.
        data: Text by name; names are of letters, digits, -, _ and . up to 253 characters.
        binary_data: Bytes by name, in base64; no name may be in data too.
    """

    api_version: str = always("v1")
    kind: str = always("ConfigMap")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    immutable: Annotated[bool | None, wire(4)] = None
    data: Annotated[dict[str, str], wire(2)] = {}
    binary_data: Annotated[dict[str, bytes], wire(3)] = {}


_BYTES_MAX = 2**20


def validate(new: ConfigMap, old: ConfigMap | None) -> v.Errors:
    """Check keys and total size, and that what is immutable stays."""
    size = 0
    for key, text in new.data.items():
        yield from v.check_name(f"data[{key}]", key, names.check_config_key)
        if key in new.binary_data:
            yield v.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        size += len(text.encode())
    for key, content in new.binary_data.items():
        yield from v.check_name(f"binaryData[{key}]", key, names.check_config_key)
        size += len(content)
    if size > _BYTES_MAX:
        yield v.too_long("[]", _BYTES_MAX)
    if old is not None and old.immutable:
        why = "field is immutable when `immutable` is set"
        if not new.immutable:
            yield v.forbidden("immutable", why)
        if new.data != old.data:
            yield v.forbidden("data", why)
        if new.binary_data != old.binary_data:
            yield v.forbidden("binaryData", why)


RESOURCE: Final[Resource[ConfigMap]] = Resource(
    type=ConfigMap,
    group="",
    version="v1",
    kind="ConfigMap",
    plural="configmaps",
    namespaced=True,
    short_names=("cm",),
    validate=validate,
    columns=(
        Column(
            "Data", "string", lambda config, now: len(config.data) + len(config.binary_data), "How many keys it has."
        ),
        AGE,
    ),
)

"""A custom object as plain values: what schemas, rules and paths look at. Who owns its fields is left out."""

from __future__ import annotations

from typing import Any

import msgspec

from api.custom import CustomObject


def plain(obj: CustomObject) -> dict[str, Any]:
    """Return the object as plain JSON values; below the first level its content is shared, so change nothing."""
    metadata = msgspec.to_builtins(msgspec.structs.replace(obj.metadata, managed_fields=[]))
    return {"apiVersion": obj.api_version, "kind": obj.kind, "metadata": metadata, **obj.content}

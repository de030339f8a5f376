"""Reading any kind by its metadata alone, as the garbage collector and namespace deletion do.

Decoding skips everything else, so that following every kind costs little memory. Such an object must never be
written back.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Struct, field


class MetadataOnly(Struct):
    """Any object, without what makes it of its kind."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)


@functools.cache
def metadata_only(resource: Resource[Any]) -> Resource[MetadataOnly]:
    """Return the handle of a kind whose objects decode to `MetadataOnly`."""
    return dataclasses.replace(resource, type=MetadataOnly)

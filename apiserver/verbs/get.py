"""get: one object."""

from __future__ import annotations

from api.errors import BadRequest
from apiserver.registry.failures import bad_resource_version
from apiserver.registry.storage import Registry
from apiserver.request import Answer, Call
from apiserver.verbs.context import Context, namespace_of, registry_of


async def get(context: Context, call: Call) -> Answer:
    """Return the object, as it is at present unless `resourceVersion` lets it be older ("0": whatever is cached)."""
    return await read(registry_of(context, call), call)


async def read(registry: Registry, call: Call) -> Answer:
    """Return the object of `registry` that the call names."""
    oldest = parse_resource_version(call.options.get("resourceVersion", ""))
    stored = await registry.get(namespace_of(call), call.info.name, oldest=oldest)
    return Answer(stored.json, str(stored.revision))


def parse_resource_version(text: str) -> int | None:
    """Return a resourceVersion as a revision, None where it is not given; raises BadRequest."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        error: BadRequest = bad_resource_version(text)
        raise error
    return int(text)

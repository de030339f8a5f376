"""deletecollection: every object that matches, deleted one by one."""

from __future__ import annotations

import contextlib

from api.errors import NotFound
from apiserver.request import Call
from apiserver.verbs.context import Context, registry_of, resource_of
from apiserver.verbs.delete import decode_options, delete_one, warn_of_orphans
from apiserver.verbs.list import ListAnswer, list_objects


async def delete_collection(context: Context, call: Call) -> ListAnswer:
    """Delete what a list with the same options shows, one page of it where they set a limit; return that list.

    Objects that others delete meanwhile are passed over. Not a transaction: an error stops it, and what is deleted by
    then stays so.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    options = decode_options(call)
    warn_of_orphans(call, resource, options)
    listed = await list_objects(context, call)
    for stored in listed.items:
        with contextlib.suppress(NotFound):
            await delete_one(context, call, registry, options, stored.name, stored.namespace)
    return listed

"""watch: every change of what matches, after a revision, once and in order."""

from __future__ import annotations

from apiserver.parameters import flag, integer
from apiserver.registry.fanout import Watcher
from apiserver.request import Call
from apiserver.verbs.context import Context, registry_of, resource_of
from apiserver.verbs.get import parse_resource_version
from apiserver.verbs.list import check_options, selection_of


async def watch(context: Context, call: Call) -> Watcher:
    """Start a watch; the door that carries it owns it and must close it.

    Without a resourceVersion, or with "0", what is there comes first as ADDED. `sendInitialEvents` asks for that, or
    for its absence, whatever the version, and ends it with a bookmark, where those are wanted (KEP-3157).

    Raises:
        BadRequest: a selector or version can't be understood. Invalid: options contradict each other.
        Expired: the version is too old: list again, and watch from there.
    """
    resource, registry = resource_of(call), registry_of(context, call)
    integer(call.options, "limit")  # A watch has none, but what is sent is to be a number.
    version = parse_resource_version(call.options.get("resourceVersion", ""))
    with_bookmarks = flag(call.options, "allowWatchBookmarks")
    check_options(call.options, is_watch=True)
    initial: bool | None = None
    if "sendInitialEvents" in call.options:
        initial = flag(call.options, "sendInitialEvents")
    return await registry.cache.watch(
        selection_of(call, resource), revision=version, initial=initial, with_bookmarks=with_bookmarks
    )

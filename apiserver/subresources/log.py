"""pods/log: what a container wrote, read from its node's kubelet and passed on as it comes.

The apiserver decides which container of which node is meant and whether the options make sense; the kubelet does
the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Final

import aiohttp

from api import timestamps
from api import validation as v
from api.core import pod
from api.errors import ApiError, BadRequest, InternalError, NotFound
from api.resource import ObjectKey
from apiserver import parameters
from apiserver.auth.tokens import Read
from apiserver.request import Call
from apiserver.subresources import node_proxy
from apiserver.subresources.node_proxy import Kubelets

_CHUNK_BYTES: Final = 64 * 1024
_SAYS_BYTES_MAX: Final = 8 * 1024
"""Most that is passed on of what a kubelet says is wrong."""
_FLAGS: Final = ("follow", "previous", "timestamps")


@dataclass(slots=True)
class ByteStream:
    """An answer that is plain bytes, for as long as they flow. Iterate once, then or instead `close`."""

    chunks: AsyncIterator[bytes]
    _resources: AsyncExitStack
    content_type: str = "text/plain"

    async def close(self) -> None:
        """Let go of the connection behind it; safe to call twice."""
        await self._resources.aclose()


class LogHandler:
    """Answers GET on pods/log with a `ByteStream`."""

    def __init__(self, kubelets: Kubelets, read: Read) -> None:
        self._kubelets = kubelets
        self._read = read

    async def __call__(self, call: Call) -> ByteStream:
        """Start reading a log.

        Raises:
            NotFound: no such pod. BadRequest: no such container, or it has no log yet (the kubelet says why).
            Invalid: options that contradict each other or are out of range.
            InternalError: the kubelet does not answer.
        """
        key = ObjectKey(call.info.namespace, call.info.name)
        options = log_options(key.name, call.options)
        found: pod.Pod = await self._read(pod.RESOURCE, key)
        container = node_proxy.choose_container(found, call.options.get("container", ""))
        address = await self._kubelets.locate(found)
        path = node_proxy.target(["containerLogs", key.namespace, key.name, container], options)
        stack = AsyncExitStack()
        try:
            opening: AbstractAsyncContextManager[aiohttp.ClientResponse] = self._kubelets.get(address, path)
            response = await stack.enter_async_context(opening)
            if response.status != 200:
                raise await _refused(response)
        except BaseException:
            await stack.aclose()
            raise
        return ByteStream(response.content.iter_chunked(_CHUNK_BYTES), stack)


def log_options(name: str, asked: Mapping[str, str]) -> dict[str, str]:
    """Return the options to pass to the kubelet.

    Raises:
        BadRequest: no number, or no time. Invalid: out of range, sinceSeconds beside sinceTime, or a stream of its own,
            which 1.32 has behind a feature gate that is off.
    """
    numbers = {option: parameters.integer(asked, option) for option in ("tailLines", "limitBytes", "sinceSeconds")}
    since = asked.get("sinceTime", "")
    if since:
        try:
            timestamps.parse(since)
        except ValueError as error:
            raise BadRequest(f"sinceTime: {error}") from None
    errors = list(_wrong(numbers, since, asked))
    if errors:
        raise v.refuse_named("", "PodLogOptions", name, errors)
    options = {option: "true" for option in _FLAGS if parameters.flag(asked, option)}
    options |= {option: str(number) for option, number in numbers.items() if number is not None}
    return options | ({"sinceTime": since} if since else {})


def _wrong(numbers: Mapping[str, int | None], since: str, asked: Mapping[str, str]) -> v.Errors:
    tail, limit, seconds = numbers["tailLines"], numbers["limitBytes"], numbers["sinceSeconds"]
    if tail is not None and tail < 0:
        yield v.invalid("tailLines", tail, "must be greater than or equal to 0")
    if limit is not None and limit < 1:
        yield v.invalid("limitBytes", limit, "must be greater than 0")
    if seconds is not None and since:
        yield v.forbidden("[]", "at most one of `sinceTime` or `sinceSeconds` may be specified")
    elif seconds is not None and seconds < 1:
        yield v.invalid("sinceSeconds", seconds, "must be greater than 0")
    if "stream" in asked:
        yield v.forbidden("stream", "may not be specified")


async def _refused(response: aiohttp.ClientResponse) -> ApiError:
    said = (await response.content.read(_SAYS_BYTES_MAX)).decode(errors="replace").strip()
    match response.status:
        case 400:
            return BadRequest(said)
        case 404:
            return NotFound(said or "the server could not find the requested resource")
        case _:
            return InternalError(f"the kubelet answered {response.status}: {said}")

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
from api.core import pod
from api.errors import ApiError, BadRequest, Cause, InternalError, Invalid, NotFound
from api.resource import ObjectKey
from apiserver.auth.tokens import Read
from apiserver.request import Call
from apiserver.subresources import node_proxy
from apiserver.subresources.node_proxy import Kubelets

_CHUNK_BYTES: Final = 64 * 1024
_SAYS_BYTES_MAX: Final = 8 * 1024
"""Most that is passed on of what a kubelet says is wrong."""
_BOOLEANS: Final = ("follow", "previous", "timestamps")
_INTEGERS: Final = (("sinceSeconds", 1), ("tailLines", 0), ("limitBytes", 1))


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
        found: pod.Pod = await self._read(pod.RESOURCE, key)
        options = log_options(key.name, call.options)
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
        BadRequest: not a boolean or integer. Invalid: out of range, or sinceSeconds beside sinceTime.
    """
    options: dict[str, str] = {}
    for option in _BOOLEANS:
        value = asked.get(option, "").lower()
        if value in ("true", "1", "t"):
            options[option] = "true"
        elif value not in ("", "false", "0", "f"):
            raise BadRequest(f'{option}: "{asked[option]}" is neither true nor false')
    for option, least in _INTEGERS:
        text = asked.get(option, "")
        if not text:
            continue
        try:
            number = int(text)
        except ValueError:
            raise BadRequest(f'{option}: "{text}" is not a whole number') from None
        if number < least:
            raise _invalid(name, option, f"Invalid value: {number}: must be greater than or equal to {least}")
        options[option] = str(number)
    if since := asked.get("sinceTime", ""):
        if "sinceSeconds" in options:
            raise _invalid(
                name, "sinceSeconds", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
            )
        try:
            timestamps.parse(since)
        except ValueError as error:
            raise BadRequest(f"sinceTime: {error}") from None
        options["sinceTime"] = since
    return options


def _invalid(name: str, field: str, message: str) -> Invalid:
    kind = "PodLogOptions"
    cause = Cause("FieldValueInvalid", message, field)
    return Invalid(f'{kind} "{name}" is invalid: {field}: {message}', kind=kind, name=name, causes=[cause])


async def _refused(response: aiohttp.ClientResponse) -> ApiError:
    said = (await response.content.read(_SAYS_BYTES_MAX)).decode(errors="replace").strip()
    match response.status:
        case 400:
            return BadRequest(said)
        case 404:
            return NotFound(said or "the server could not find the requested resource")
        case _:
            return InternalError(f"the kubelet answered {response.status}: {said}")

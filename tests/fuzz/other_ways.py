"""Other ways in and out of the server: protobuf both ways, other forms of an answer, HTTP/2, and many at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from random import Random
from typing import Any, Final

from api import protobuf, serde
from api.errors import ApiError
from api.resource import Resource
from component.http2 import frames
from component.http2.hpack import literal
from tests.fuzz import oracle
from tests.fuzz.arena import Arena
from tests.fuzz.session import Session
from tests.fuzz.wire import Request

PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
_FORMS: Final = (
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    f"{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json",
    f"{PROTOBUF},application/json",
    "application/yaml",
    PROTOBUF,
)
_LIST_FORMS: Final = tuple(
    form.replace("PartialObjectMetadata", "PartialObjectMetadataList") if "Partial" in form else form for form in _FORMS
)
BYTES_READ_MAX: Final = 1 << 16


async def read_otherwise(session: Session, random: Random, path: str, resource: Resource[Any] | None) -> None:
    """Read an object in another form, and what is like it; in protobuf it must say the same as in JSON."""
    where, accept = path, random.choice(_FORMS)
    if random.random() < 0.3:
        where, accept = path.rpartition("/")[0], random.choice(_LIST_FORMS)
        where += random.choice(("", "?limit=2", "?resourceVersion=0", "?labelSelector=app"))
    response = await session.send(Request("GET", where, headers={"Accept": accept}), "read otherwise")
    is_plain = accept in (PROTOBUF, f"{PROTOBUF},application/json") and where == path and resource is not None
    if not is_plain or response.status != 200 or resource is None:
        return
    asked = Request("GET", path)
    plain = await session.get(path)
    if plain is None or not response.body.startswith(protobuf.MAGIC):
        return
    read = serde.decode(response.body, resource, content_type=PROTOBUF).object
    shown = serde.decode(json.dumps(plain).encode(), resource).object
    if plain["metadata"]["resourceVersion"] == read.metadata.resource_version:  # type: ignore[attr-defined]
        session.note(_differs("protobuf-differs", resource, serde.encode(shown), serde.encode(read)), asked)


async def write_back(session: Session, path: str, resource: Resource[Any]) -> None:
    """Write an object in protobuf as it stands: nothing may change by it."""
    read = await session.send(Request("GET", path), "protobuf put")
    if read.status != 200 or read.value["metadata"].get("deletionTimestamp"):
        return
    try:
        obj = serde.decode(read.body, resource).object
        body = protobuf.encode(obj, resource.api_version, resource.kind)
    except (ApiError, ValueError, OverflowError):
        return
    request = Request("PUT", f"{path}?dryRun=All&fieldManager=again", body, {"Content-Type": PROTOBUF})
    again = await session.send(request, "protobuf put")
    if again.status == 200:
        session.note(_differs("protobuf-changes", resource, read.body, again.body), request)


def _differs(what: str, resource: Resource[Any], left: bytes, right: bytes) -> str | None:
    # Maps have no order in protobuf.
    told = oracle.same(left, right) if json.loads(left) != json.loads(right) else None
    return f"{what}: {resource.plural}: {told}" if told else None


async def at_once(session: Session, arena: Arena, random: Random, requests: list[Request]) -> None:
    """Send requests all at once, each on a connection of its own."""

    async def ask(request: Request) -> None:
        connection = arena.connect()
        try:
            async with asyncio.timeout(oracle.HUNG_S):
                response = await connection.ask(request)
            session.note(oracle.judge(request, response), request)
        except TimeoutError:
            session.note(f"hang: no answer within {oracle.HUNG_S:.0f} s to one of several", request)
        finally:
            connection.close()

    random.shuffle(requests)
    session.tally["at once"] += len(requests)
    session.sent += requests
    await asyncio.gather(*map(ask, requests))
    session.take_log(requests[-1])


def frames_at_random(random: Random, paths: list[str]) -> bytes:
    """Return a connection's bytes: HTTP/2 as it should be, to a degree."""
    sent = bytearray(frames.PREFACE + frames.settings({}))
    stream = 1
    for _ in range(random.choice((1, 2, 5, 12))):
        kind = random.choice((*range(10), frames.HEADERS, frames.HEADERS, frames.DATA, 11, 255))
        flags = random.choice((0, 1, 4, 5, 5, 5, 8, 0x20, 0x25, 0x2D, 0xFF))
        at = random.choice((0, stream, stream, stream, stream, 1, 2, 2**31 - 1))
        payload = random.randbytes(random.choice((0, 1, 4, 5, 6, 8, 8, 40)))
        if kind == frames.HEADERS and random.random() < 0.8:
            payload, at, flags = _headers(random, paths), stream, random.choice((4, 5, 5, 5, 0))
            stream += 2
        elif kind in (frames.RST_STREAM, frames.WINDOW_UPDATE) and random.random() < 0.7:
            payload = random.choice((0, 1, 8, 2**31 - 1, 2**31)).to_bytes(4, "big")
        elif kind == frames.SETTINGS and random.random() < 0.7:
            at, flags = 0, random.choice((0, 0, 1))
            pairs = ((random.randrange(8), random.choice((0, 1, 16384, 2**31 - 1, 2**31, 2**32 - 1))) for _ in range(3))
            payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)
        elif kind == frames.DATA and random.random() < 0.7:
            payload = random.choice((b"{}", b'{"metadata":{"name":"h2"}}', b"x" * 16384))
        sent += frames.frame(kind, flags, at, payload)
    if random.random() < 0.3:
        place = random.randrange(len(frames.PREFACE), len(sent))
        sent[place] ^= 1 << random.randrange(8)
    if random.random() < 0.2:
        del sent[random.randrange(len(sent)) :]
    return bytes(sent)


def _headers(random: Random, paths: list[str]) -> bytes:
    method = random.choice((b"GET", b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"CONNECT", b"HEAD", b"FOO", b""))
    fields = [
        (b":method", method),
        (b":scheme", random.choice((b"https", b"http", b""))),
        (b":authority", b"localhost"),
        (b":path", random.choice((*paths, "/version", "/api/v1/pods?watch=1&timeoutSeconds=1", "*", "")).encode()),
        (b"content-type", b"application/json"),
        (b"accept", random.choice((b"application/json", PROTOBUF.encode(), b"\xff"))),
    ]
    more = ((b":protocol", b"websocket"), (b"connection", b"x"), (b"te", b"x"), (b"content-length", b"5"),
            (b"content-length", b"-1"), (b"A", b"b"), (b"", b""), (b"x", b"\r\n"), (b"cookie", b"a=b"),
            (b"expect", b"100-continue"), (b"authorization", b"x"), (b"transfer-encoding", b"chunked"))  # fmt: skip
    fields += random.sample(more, random.choice((0, 0, 1, 2)))
    if random.random() < 0.2:
        random.shuffle(fields)
    if random.random() < 0.2:
        fields.pop(random.randrange(len(fields)))
    return b"".join(literal(name, value) for name, value in fields)


async def speak_http2(session: Session, arena: Arena, random: Random, paths: list[str]) -> None:
    """Speak HTTP/2 of a kind; the server may close, and must not stumble."""
    sent = frames_at_random(random, paths)
    request = Request("HTTP2", "", raw=sent)
    session.tally["http2"] += 1
    context = arena.tls
    context.set_alpn_protocols(["h2"])
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", arena.port, ssl=context, server_hostname="localhost"
        )
    finally:
        context.set_alpn_protocols(["http/1.1"])
    with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
        for at in range(0, len(sent), 7000):
            writer.write(sent[at : at + 7000])
            await writer.drain()
        async with asyncio.timeout(0.15):
            while await reader.read(BYTES_READ_MAX):
                pass
    writer.transport.abort()
    await asyncio.sleep(0)
    session.take_log(request)

"""Requests that no client sends by accident: broken bodies, paths, queries, headers, and bytes that are no HTTP."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final
from urllib.parse import quote

from api import protobuf, serde
from api.errors import ApiError
from api.resource import Resource
from tests.fuzz.objects import Plain
from tests.fuzz.wire import Request

_CONFIGMAPS: Final = "/api/v1/namespaces/fuzz/configmaps"
_MEDIA: Final = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
    "",
    "application/json;charset=utf-16",
    "application/json; stream=watch",
    "multipart/form-data; boundary=x",
    ";;;",
    "application/cbor",
    "a" * 3000,
    "APPLICATION/JSON",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_ACCEPT: Final = (
    "*/*",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=Table;v=v9;g=meta.k8s.io",
    "application/yaml",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf",
    "text/html",
    ";",
    "application/json;q=x",
    "application/json;q=0",
    ",,,,",
    "a/b/c",
    "*",
    "application/json;as=;v=;g=",
    "application/vnd.kubernetes.protobuf,application/json",
    "application/json;stream=watch",
)
_YAML_HEAD: Final = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\n"
_HEAD: Final = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"h%d"},"data":'
_QUERY_VALUES: Final = (
    "",
    "0",
    "1",
    "-1",
    "99999999999999999999999",
    "1.5",
    "x",
    "true",
    "false",
    "null",
    "%00",
    "%ff%fe",
    "a=b",
    "a,b,c",
    "a in (b,c)",
    "a in (",
    "!a",
    "a!=b",
    "metadata.name=x",
    "metadata.name!=x,metadata.namespace=fuzz",
    "spec.nodeName=",
    "\\,=\\=",
    "%F0%9F%98%80",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0",
    "eyJ2Ijoi",
    "NotOlderThan",
    "Exact",
    "All",
    "Strict",
    "Foreground",
    "Orphan",
    "1s",
    "-5s",
    "1e9h",
    "٣",
    "²",
    "1_000",
    "+1",
    " 1",
    "0x10",
    "x" * 9000,
)
_QUERY_NAMES: Final = (
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "labelSelector",
    "fieldSelector",
    "timeoutSeconds",
    "timeout",
    "watch",
    "sendInitialEvents",
    "allowWatchBookmarks",
    "dryRun",
    "fieldManager",
    "force",
    "fieldValidation",
    "pretty",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
    "includeObject",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "",
    "unknown",
    "as",
    "name",
)
_PATHS: Final = (
    "/",
    "//",
    "/api",
    "/api/",
    "/api/v1/",
    "/apis",
    "/apis/",
    "/apis/apps",
    "/apis/apps/v1",
    "/apis/apps/v2",
    "/apis/none/v1",
    "/api/v1//pods",
    "/api/v1/namespaces//pods",
    "/api/v1/namespaces/fuzz/",
    "/api/v1/namespaces/fuzz/pods/",
    "/api/v1/namespaces/..%2fkube-system/secrets",
    "/api/v1/namespaces/fuzz/pods/%00",
    "/api/v1/namespaces/fuzz/pods/a%2Fb",
    "/api/v1/namespaces/fuzz/configmaps/../secrets",
    "/api/v1/namespaces/fuzz/configmaps/%2e%2e/secrets",
    "/api/v1/namespaces/fuzz/configmaps/.",
    "/api/v1/namespaces/fuzz/configmaps/%ff",
    "/api/v1/namespaces/fuzz/configmaps/" + "a" * 5000,
    "/api/v1/namespaces/%E4%B8%AD/configmaps",
    "/api/v1/namespaces/fuzz/nothings",
    "/api/v1/namespaces/fuzz/pods/x/nothing",
    "/api/v1/namespaces/fuzz/pods/x/status/more",
    "/api/v1/namespaces/fuzz/pods/x/proxy/a/b",
    "/api/v1/namespaces/fuzz/services/https:x:443/proxy/",
    "/api/v1/namespaces/fuzz/services/x::::/proxy",
    "/api/v1/nodes/x:99999/proxy/",
    "/api/v1/watch/pods",
    "/api/v1/watch/namespaces/fuzz/pods/x",
    "/api/v1/proxy/x",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/api/v1",
    "/openapi/v3/apis/none/v1",
    "/version",
    "/healthz/nothing",
    "/livez?verbose&exclude=etcd",
    "/readyz/etcd",
    "/metrics",
    "/metrics/x",
    "/debug/pprof",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
    "/logs",
    "/swagger.json",
    "*",
    "http://localhost/api/v1",
    "localhost:443",
    "/api/v1/pods#x",
    "/api/v1?%",
    "/%",
    "/api/v1/namespaces/fuzz/serviceaccounts/default/token",
    "/debug/api_priority_and_fairness/dump_queues",
    "/api/v1/namespaces/fuzz/pods/x/log?tailLines=-1&sinceTime=x",
    "/api/v1/namespaces/fuzz/pods/x/exec?command=%00",
    "/api/v1/namespaces/fuzz/pods/x/portforward?ports=x",
    "/api/v1/namespaces/fuzz/pods/x/attach",
    "/api/v1/componentstatuses",
    "/apis/metrics.k8s.io/v1beta1/pods",
    "/api/v1/namespaces/kube-system/finalize",
)
_HEADERS: Final = (
    ("Impersonate-User", "x"),
    ("Impersonate-User", ""),
    ("Impersonate-Group", "system:masters"),
    ("Impersonate-Uid", "1"),
    ("Impersonate-Extra-%ff", "x"),
    ("Impersonate-Extra-a%2fb", "\x80"),
    ("Authorization", "Bearer"),
    ("Authorization", "Bearer x.y.z"),
    ("Authorization", "Bearer " + "a" * 20000),
    ("Authorization", "Basic eDp5"),
    ("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
    ("X-Remote-User", "x"),
    ("Accept-Encoding", "gzip;q=x, br"),
    ("Accept-Encoding", "gzip"),
    ("If-None-Match", '"x'),
    ("Range", "bytes=0-1"),
    ("Audit-Id", "x" * 500),
    ("User-Agent", "\x80\xff/" + "u" * 300),
    ("Expect", "100-continue"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "deflate"),
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Host", "evil"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Traceparent", "00-x"),
    ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
    ("Cookie", "a=b" * 2000),
    ("X-Stream-Protocol-Version", "v4"),
)
_RAW: Final = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /api/v1 HTTP/1.0\r\n\r\n",
    b"POST %(path)s HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST %(path)s HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    b"POST %(path)s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST %(path)s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST %(path)s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST %(path)s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{}",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api HTTP/1.1\r\nA\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70000 + b"\r\n\r\n",
    b"G" * 9000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 400 + b"\r\n",
    b"GET /api HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"\r\n\r\n\r\n\r\nGET /api HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET  /api HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //[/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT [ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://x:99999/api HTTP/1.1\r\nHost: x\r\n\r\n",
)
_METHODS: Final = ("GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO", "get")


TEXTS: Final = ("application/json", "application/json", "application/yaml")
_GARBLE: Final = (
    b"",
    b"\x00",
    b"\xff",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud83d",
    b"null",
    b"1e999",
    b"-",
    b"0",
    b"&a ",
    b"*a",
    b"!!int ",
    b"<<: ",
    b"\n",
    b"\t",
    b"# ",
    b"| ",
    b"'",
    b"%",
    b"? ",
    b"- ",
    b"1.0",
    b"true",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
)


def body(random: Random, size: int = 20_000) -> tuple[str, bytes]:
    """Return a hostile body, and what it says it is."""
    head = _HEAD % random.randrange(100)
    deep = random.choice((10, 100, 1000, size))
    tails: tuple[bytes, ...] = (
        b'{"a":"\\ud800"}}',
        b'{"a":"\xff\xfe"}}',
        b'{"a":"\x00"}}',
        b'{"a":"b","a":"c"}}',
        b'{"a":1e400}}',
        b'{"a":NaN}}',
        b"{}} trailing",
        b"{}}\n{}",
        b'{"a":' + b"[" * deep + b"]" * deep + b"}}",
        b'{"a":' + b'{"a":' * deep + b"1" + b"}" * deep + b"}}",
        b"[" * deep,
        b'{"a":' + b"9" * deep + b"}}",
        b'{"' + b"k" * size + b'":"v"}}',
        b'{"a":"' + b"v" * (size * 20) + b'"}}',
        b"{" + b",".join(b'"k%d":"v"' % i for i in range(size)) + b"}}",
        b'{"a":-}}',
        b'{"a":01}}',
        b"{\"a\":'b'}}",
        b"{a:b}}",
        b"/* c */{}}",
        b"\xef\xbb\xbf{}}",
        b'{"a":"b"},"metadata":{"name":"z"}}',
        b'{},"binaryData":{"a":"=="}}',
        b'{},"immutable":"yes"}',
        b'{},"metadata":null}',
        b'{},"metadata":[]}',
        b'{},"apiVersion":null,"kind":7}',
        b'{},"metadata":{"name":"h","managedFields":[{"fieldsV1":{"f:x":'
        + b'{"f:x":' * deep
        + b"1"
        + b"}" * deep
        + b"}}]}}",
        b'{},"metadata":{"name":"h","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"v9","fieldsType":"FieldsV1","fieldsV1":{"k:{":{},"v:x":{},"i:-1":{},"":{}}}]}}',
    )
    yaml_bodies: tuple[bytes, ...] = (
        b"a: &a [*a]",
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"b%d: &b%d [*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s]\n" % (i, i, *[b"a" if i == 0 else b"b%d" % (i - 1)] * 8)
            for i in range(12)
        ),
        _YAML_HEAD + b"data: {<<: {a: b}, c: !!python/object/apply:os.system [x]}",
        b"--- 1\n--- 2\n",
        b"%YAML 9.9\n---\na: b",
        b"a: \t b",
        b"? [a, b]\n: c",
        _YAML_HEAD + b"data: {a: 2024-01-01, b: .inf, c: 0o17, d: 1_000, e: yes, f: ~, g: 1:30}",
        b"a: !!binary x",
        b"!!set {a}",
        b"- " * deep,
        b"[" * deep,
        b"{a: " * deep,
        b"a: " + b"9" * deep,
        b"&a " * deep,
        b"\xff\xfea\x00",
        b"a: 'x",
        b"%\n",
        b"a: *nothing",
        b"? " * deep,
        b"a: |\n" + b" x\n" * size,
        b"!<" + b"x" * deep + b"> a",
        b"a: !!float x",
        b"a: !!int ''",
        b"a: !!timestamp 2024-99-99",
        b"a: 2024-99-99",
        _YAML_HEAD + b"data:\n  a: !!int 0x\n  b: !!bool x\n  c: !!null x",
    )
    way = random.random()
    if way < 0.5:
        return "application/json", head + random.choice(tails)
    if way < 0.85:
        return "application/yaml", random.choice(yaml_bodies)
    if way < 0.9:
        return random.choice(_MEDIA), random.randbytes(random.choice((0, 1, 10, 1000)))
    return random.choice(_MEDIA), head + b'{"a":"b"}}'


def garbled(random: Random, text: bytes) -> bytes:
    """Return JSON with some bytes that do not belong there."""
    data = bytearray(text)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(data))
        end = at + random.choice((0, 1, 1, 3))
        data[at:end] = random.choice(_GARBLE)
    return bytes(data)


def request(random: Random, known: list[str]) -> Request:
    """Return a hostile request; `known` are paths of things that are there."""
    way = random.random()
    if way < 0.12:
        return Request("RAW", "", raw=random.choice(_RAW).replace(b"%(path)s", _CONFIGMAPS.encode()))
    target = random.choice((*_PATHS, *known, *known)) if known else random.choice(_PATHS)
    headers: dict[str, str] = {}
    if random.random() < 0.3:
        headers["Accept"] = random.choice(_ACCEPT)
    for _ in range(random.choice((0, 0, 1, 2))):
        name, text = random.choice(_HEADERS)
        headers[name] = text
    if way < 0.5:
        method = random.choice(("POST", "POST", "PUT", "PATCH", "DELETE"))
        media, data = body(random)
        if method == "POST":
            target = random.choice((_CONFIGMAPS, target))
        if method == "PATCH":
            media = random.choice(_MEDIA[-4:])
        headers["Content-Type"] = media
        return Request(method, target, data, headers)
    query = "&".join(f"{random.choice(_QUERY_NAMES)}={_value(random)}" for _ in range(random.choice((0, 1, 1, 2, 3))))
    if "watch" in query or "/watch/" in target:
        query += "&timeoutSeconds=1"
    method = "GET" if random.random() < 0.6 else random.choice(_METHODS)
    data = b"{}" if method in ("POST", "PUT", "PATCH", "DELETE") else b""
    if data:
        headers.setdefault("Content-Type", random.choice(_MEDIA))
    return Request(method, f"{target}{'&' if '?' in target else '?'}{query}" if query else target, data, headers)


def _value(random: Random) -> str:
    chosen = random.choice(_QUERY_VALUES)
    return chosen if "%" in chosen else quote(chosen, safe="")


def protobuf_body(random: Random, resource: Resource[Any], value: Plain) -> bytes:
    """Return an object's protobuf body, changed at random or not at all."""
    try:
        decoded = serde.decode(json.dumps(value).encode(), resource)
        data = bytearray(protobuf.encode(decoded.object, resource.api_version, resource.kind))
    except (ApiError, ValueError, TypeError, OverflowError):
        data = bytearray(b"k8s\x00" + random.randbytes(20))
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        _mutate(random, data)
    return bytes(data)


def _mutate(random: Random, data: bytearray) -> None:
    at = random.randrange(4 if random.random() < 0.95 else 0, max(len(data), 5))
    end = max(at, min(len(data), at + random.choice((1, 2, 8, 40))))
    match random.randrange(8):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 if at < len(data):
            data[at] = random.choice((0, 0x7F, 0x80, 0xFF, 0x0A, 0x12))
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end] * random.choice((1, 2, 50))
        case 4:
            data[at:at] = random.choice(
                (b"\xff" * 9 + b"\x01", b"\x80" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b\x0c", b"\x00\x00")
            )
        case 5:
            del data[at:]
        case 6:
            data[at:end] = random.randbytes(end - at)
        case _:
            nested = b""
            for _ in range(random.choice((10, 60))):
                size = len(nested)
                nested = b"\x12" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + nested
            data[at:at] = nested

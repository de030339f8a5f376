"""Objects and lists as bytes: JSON, YAML or protobuf (`in_protobuf`), as they are, as Tables or as bare metadata.

Pretty or not, and compressed when large.
"""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import yaml
from aiohttp import web

from api import protobuf, serde
from api.custom import is_custom
from api.errors import NotAcceptable
from api.resource import Resource
from api.schema import Struct
from apiserver import table
from apiserver.registry.codec import Stored
from apiserver.request import Answer
from apiserver.rest import in_protobuf
from apiserver.verbs.list import ListAnswer

GZIP_BYTES_MIN: Final = 128 * 1024
"""Smaller answers are not compressed: that would cost more than it saves (KEP-156)."""
_GZIP_LEVEL: Final = 1
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_YAML_AT_ONCE_BYTES: Final = 16_384
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_STATUS: Final = b'{"kind":"Status"'


@dataclass(frozen=True, slots=True)
class Form:
    """How a client wants its answer."""

    rendering: table.Rendering
    is_yaml: bool = False
    is_pretty: bool = False
    include: table.IncludeObject = "Metadata"

    @property
    def is_protobuf(self) -> bool:
        """Whether the answer is in protobuf."""
        return self.rendering.is_protobuf

    @property
    def content_type(self) -> str:
        """The Content-Type of the answer; that it is a Table, it says itself."""
        if self.is_protobuf:
            return protobuf.MEDIA
        return _YAML if self.is_yaml else _JSON


PLAIN: Final = Form(table.PLAIN)


def form_of(
    request: web.BaseRequest, resource: Resource[Any] | None, subresource: str = "", *, may_be_tables: bool = True
) -> Form:
    """Return what the Accept header and the query ask for; raises NotAcceptable, BadRequest."""
    accept, query = request.headers.get("Accept", ""), request.query
    rendering = table.negotiate(
        accept,
        has_tables=may_be_tables and (resource is None or resource.verbs != ("create",)),
        has_messages=resource is None or not is_custom(resource.type) or subresource == "scale",
    )
    include = table.include_object(query.get("includeObject", "")) if rendering.form == "Table" else "Metadata"
    return Form(rendering, rendering.is_yaml, wants_pretty(request), include)


def is_plain(request: web.BaseRequest) -> bool:
    """Return whether an answer is taken in the form in which there is one of everything."""
    return request.headers.get("Accept", "") in ("", "*/*", _JSON)


def wants_pretty(request: web.BaseRequest) -> bool:
    """Return whether JSON is to be indented: by the query, or since a person looks at it."""
    pretty = request.query.get("pretty")
    if pretty is None:
        return request.headers.get("User-Agent", "").startswith(("curl", "Wget", "Mozilla/5.0"))
    return pretty.lower() not in ("false", "0")


def form_of_refusal(accept: str, is_pretty: bool = False) -> Form:
    """Return what a refusal comes in: what an Accept header likes best; JSON, if that is nothing there is."""
    try:
        rendering = table.negotiate(accept, has_forms=False)
    except NotAcceptable:
        return PLAIN
    return Form(rendering, rendering.is_yaml, is_pretty)


def object_body(resource: Resource[Any] | None, answer: Answer, form: Form, now: float) -> tuple[bytes, str]:
    """Return one object's body, not `styled` yet, and Content-Type; raises NotAcceptable for an object as a list."""
    rendering = form.rendering
    if rendering.form == "" or resource is None or answer.json.startswith(_STATUS):
        return in_protobuf.object_body(answer.json) if form.is_protobuf else answer.json, form.content_type
    if rendering.form == "PartialObjectMetadataList":
        why = f"you requested {rendering.form}, but the requested object is not a list (*{_shown(resource)})"
        raise NotAcceptable(why)
    type_: type[Struct] = resource.type
    obj: Any = serde.decoder_of(type_).decode(answer.json)
    if rendering.form == "PartialObjectMetadata" and form.is_protobuf:
        return in_protobuf.partial_body(obj.metadata, rendering.version), form.content_type
    if rendering.form == "PartialObjectMetadata":
        return table.partial_metadata(obj, rendering.version), form.content_type
    row = table.row(resource, obj, answer.json, now, form.include, rendering.version)
    metadata = {"resourceVersion": answer.resource_version}
    return table.table(resource, [row], metadata, version=rendering.version), form.content_type


async def prepare(answer: ListAnswer, form: Form) -> None:
    """Do what would keep others waiting, were it done by `list_body`."""
    if form.is_protobuf and not form.rendering.form:
        await in_protobuf.prepare(answer.items)


def list_body(answer: ListAnswer, form: Form, now: float) -> tuple[bytes, str]:
    """Return a list's body, not `styled` yet, and Content-Type. Plain JSON is the stored bytes, joined.

    Raises:
        NotAcceptable: it is wanted as if it were one object.
    """
    metadata: dict[str, Any] = {"resourceVersion": str(answer.revision)}
    if answer.continue_token:
        metadata["continue"] = answer.continue_token
        if answer.remaining is not None:
            metadata["remainingItemCount"] = answer.remaining
    rendering, resource = form.rendering, answer.resource
    match rendering.form:
        case "Table":
            rows = [_row(resource, stored, form, now) for stored in answer.items]
            body = table.table(resource, rows, metadata, version=rendering.version)
        case "PartialObjectMetadata":
            shown = "unstructured.Unstructured" if is_custom(resource.type) else _shown(resource)
            why = f"you requested {rendering.form}, but the requested object is a list (*{shown}List)"
            raise NotAcceptable(why)
        case "PartialObjectMetadataList":
            objects = [stored.codec.decode(stored.json) for stored in answer.items]
            write_list = in_protobuf.partial_list_body if form.is_protobuf else table.partial_metadata_list
            body = write_list(objects, metadata, rendering.version)
        case _ if form.is_protobuf:
            body = in_protobuf.list_body(resource, answer.items, metadata)
        case _:
            if is_custom(resource.type):
                metadata = {"continue": "", **metadata}  # As in upstream's lists of objects that it knows no type of.
            head = {"kind": resource.lists, "apiVersion": resource.api_version, "metadata": metadata}
            opening = msgspec.json.encode(head)[:-1] + b',"items":['
            items: list[Any] = [stored.json for stored in answer.items]
            separator = b","
            if items and not is_custom(resource.type):
                # Items are what the list is of, and don't say so again; upstream's custom objects do.
                told = len(f'{{"apiVersion":"{resource.api_version}","kind":"{resource.kind}",')
                opening, separator = opening + b"{", b",{"
                items = [memoryview(item)[told:] for item in items]
            body = b"".join([opening, separator.join(items), b"]}\n"])
    return body, form.content_type


def _shown(resource: Resource[Any]) -> str:
    return f"{resource.group.partition('.')[0] or 'core'}.{resource.kind}"


def _row(resource: Resource[Any], stored: Stored, form: Form, now: float) -> msgspec.Raw:
    obj = stored.codec.decode(stored.json)
    return table.row(resource, obj, stored.json, now, form.include, form.rendering.version)


async def styled(body: bytes, form: Form) -> bytes:
    """Return JSON as it is, indented, or as YAML; on lines that end, which some clients compare. Protobuf stays.

    Much YAML is written in a thread, since it takes long.
    """
    if form.is_protobuf:
        return body
    if form.is_yaml:
        return as_yaml(body) if len(body) < _YAML_AT_ONCE_BYTES else await asyncio.to_thread(as_yaml, body)
    if form.is_pretty:
        body = msgspec.json.format(body, indent=2)
    return body if body.endswith(b"\n") else body + b"\n"


class _Yaml(_Dumper):  # type: ignore[misc]
    """Puts texts that would be read as something else in double quotes, and lines on lines, as Go's writer does."""

    def represent_str(self, text: str) -> Any:
        """Return the node of a text."""
        style = None
        if "\n" in text:
            style = "|"
        elif (
            not text
            or _GO_YAML_READS_OTHERWISE.fullmatch(text)
            or self.resolve(yaml.ScalarNode, text, (True, False)) != _YAML_TEXT
        ):
            style = '"'
        return self.represent_scalar(_YAML_TEXT, text, style=style)


_YAML_TEXT: Final = "tag:yaml.org,2002:str"
_GO_YAML_READS_OTHERWISE: Final = re.compile(
    r"[yYnN]|[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?0[bo][0-7_]+"
)
"""What is a truth value or a number to Go's reader (YAML 1.1), and a text to Python's."""
_Yaml.add_representer(str, _Yaml.represent_str)


def as_yaml(body: bytes) -> bytes:
    """Return JSON as YAML, fields by their names as upstream's."""
    text: str = yaml.dump(json.loads(body), Dumper=_Yaml, default_flow_style=False, sort_keys=True)
    return text.encode()


async def compressed(request: web.BaseRequest, body: bytes, headers: dict[str, str]) -> bytes:
    """Return the body, compressed if it is large and the client takes that; says so in `headers`.

    As upstream's answers, by who names gzip and says nothing of how much it is liked: `gzip;q=0` would refuse it.
    """
    asked = request.headers.get("Accept-Encoding", "")
    if len(body) < GZIP_BYTES_MIN or "gzip" not in [coding.strip() for coding in asked.split(",")]:
        return body
    headers["Content-Encoding"] = "gzip"
    # What depends on `Accept` as well still does: a cache that forgot it would give one form for another.
    headers["Vary"] = ", ".join(filter(None, [headers.get("Vary"), "Accept-Encoding"]))
    # In a thread, because zlib takes 10 ms a megabyte, without the interpreter's lock.
    return await asyncio.to_thread(_gzip, body)


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()

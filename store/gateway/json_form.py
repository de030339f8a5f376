"""Messages as JSON and back: names as in the protocol, bytes as base64, 64-bit numbers as strings, zeroes left out."""

from __future__ import annotations

import json
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_decoder = json.JSONDecoder()
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
DEPTH_MAX = 100
"""Messages within messages."""


class BadJson(Exception):
    """What came is not JSON, or not of the message's form."""


def encode(message: Message) -> bytes:
    """Return a message as JSON, on one line."""
    return dump(json_format.MessageToDict(message, preserving_proto_field_name=True))


def dump(value: Any) -> bytes:
    """Return JSON on one line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode(raw: bytes, message_class: type[Message]) -> Message:
    """Return the message that one JSON value says; nothing says an empty one.

    Raises:
        BadJson: it can't be read.
    """
    messages = decode_all(raw, message_class)
    return messages[0] if messages else message_class()


def decode_all(raw: bytes, message_class: type[Message]) -> list[Message]:
    """Return the messages that JSON values say, one after the other. Fields that are not known are left out.

    Raises:
        BadJson: one can't be read.
    """
    try:
        text = raw.decode()
        values, at = [], _skip(text, 0)
        while at < len(text):
            value, at = _decoder.raw_decode(text, at)
            values.append(value)
            at = _skip(text, at)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadJson(str(error)) from None
    return [_message(value, message_class) for value in values]


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _message(value: Any, message_class: type[Message]) -> Message:
    if not isinstance(value, dict):
        raise BadJson(f"an object is wanted, and here is {type(value).__name__}")
    _check(value, message_class.DESCRIPTOR, 0)
    try:
        return json_format.ParseDict(value, message_class(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise BadJson(str(error)) from None


def _check(value: dict[str, Any], descriptor: Any, depth: int) -> None:
    """Refuse what would be read with a part of it left out: bytes that are not base64, and choices there are not."""
    if depth > DEPTH_MAX:
        raise BadJson(f"more than {DEPTH_MAX} messages within each other")
    for name, given in value.items():
        field = descriptor.fields_by_camelcase_name.get(name) or descriptor.fields_by_name.get(name)
        for each in given if isinstance(given, list) else [given]:
            if field is None:
                continue
            if field.type == FieldDescriptor.TYPE_BYTES and isinstance(each, str) and not _BASE64.fullmatch(each):
                raise BadJson(f"illegal base64 data in {name}")
            if field.enum_type is not None and isinstance(each, str) and each not in field.enum_type.values_by_name:
                raise BadJson(f"unknown value {each!r} for {name}")
            if field.message_type is not None and isinstance(each, dict):
                _check(each, field.message_type, depth + 1)

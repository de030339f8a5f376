"""A file that says how the server is to behave: one document in YAML or JSON, of a known kind and version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import yaml

T = TypeVar("T")


class BadFile(ValueError):
    """It is none, or another kind's; never quotes a line of it, which might be secret."""


class _Head(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""


def read(text: bytes, type_: type[T], versions: Sequence[str], kind: str) -> T:
    """Return what a file says, as `type_`, a Struct with the fields of that kind.

    Args:
        text: the file.
        type_: what it should say.
        versions: that it may be of, group and version, the best first.
        kind: that it has to be of.

    Raises:
        BadFile: it cannot be used.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise BadFile(f"it is not YAML{where}") from None
    try:
        head = msgspec.convert(document, _Head)
        if head.api_version not in versions or head.kind != kind:
            is_ = f"{head.api_version or '-'}, {head.kind or '-'}"
            raise BadFile(f"it should be apiVersion {versions[0]}, kind {kind}, and is {is_}")
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise BadFile(str(error)) from None

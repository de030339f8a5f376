"""`additionalPrinterColumns` as columns of a Table. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from api import timestamps
from api.resource import Column
from apiserver.crd import jsonpath
from apiserver.crd.objects import plain

_AGE: Final = {
    "name": "Age",
    "type": "date",
    "description": "How long ago the object was created.",
    "jsonPath": ".metadata.creationTimestamp",
}


def columns_of(declared: Iterable[dict[str, Any]]) -> tuple[Column[Any], ...]:
    """Return the columns that a version declares, Age alone where it declares none."""
    return tuple(_column(each) for each in declared) or (_column(_AGE),)


def _column(declared: dict[str, Any]) -> Column[Any]:
    return Column(
        declared.get("name", ""),
        declared.get("type", ""),
        _cell(declared.get("type", ""), declared.get("jsonPath", "")),
        declared.get("description")
        or f"Custom resource definition column (in JSONPath format): {declared['jsonPath']}",
        format=declared.get("format") or "",
        priority=declared.get("priority") or 0,
    )


def _cell(type_: str, path: str) -> Callable[[Any, float], Any]:
    try:
        find = jsonpath.compile_(path)
    except jsonpath.BadPath:
        return lambda obj, now: None

    def cell(obj: Any, now: float) -> Any:
        found = find(plain(obj))
        return _shown(type_, found[0], now) if found else None

    return cell


def _shown(type_: str, value: Any, now: float) -> Any:
    match type_:
        case "string":
            if isinstance(value, (dict, list)):
                return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            if isinstance(value, bool):
                return "true" if value else "false"
            return "<nil>" if value is None else str(value)
        case "integer" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
        case "number" if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "date" if isinstance(value, str):
            try:
                timestamps.parse(value)
            except ValueError:
                return "<invalid>"
            return timestamps.age(value, now)
    return None

"""OpenAPI v3 of a server that has v2 only: its paths and types, put in the newer form. Pure.

What clients look up there are types (`kubectl explain`) and the parameters of paths. Facts of the two forms: OpenAPI
Specification 3.0.0, and Swagger 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

Plain = dict[str, Any]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_OF_SCHEMA: Final = (
    "type", "format", "items", "default", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "enum", "multipleOf",
)  # fmt: skip
_OLD, _NEW = "#/definitions/", "#/components/schemas/"
_ANY_MEDIA: Final = ("*/*",)


def convert(document: Mapping[str, Any], prefix: str) -> Plain:
    """Return what an OpenAPI v2 document says of the paths at and below `prefix`, as a v3 document."""
    media = tuple(document.get("consumes") or ()), tuple(document.get("produces") or ())
    paths = {
        path: _path(item, media)
        for path, item in (document.get("paths") or {}).items()
        if f"{path}/".startswith(f"{prefix}/") and isinstance(item, dict)
    }
    return {
        "openapi": "3.0.0",
        "info": document.get("info") or {"title": "", "version": ""},
        "paths": paths,
        "components": {"schemas": _schema(document.get("definitions") or {})},
    }


def _path(item: Plain, media: tuple[Sequence[str], Sequence[str]]) -> Plain:
    made: Plain = {name: value for name, value in item.items() if name.startswith("x-")}
    if item.get("parameters"):
        made["parameters"] = [_parameter(each) for each in item["parameters"] if each.get("in") != "body"]
    for method in _METHODS:
        if isinstance(item.get(method), dict):
            made[method] = _operation(item[method], media)
    return made


def _operation(given: Plain, media: tuple[Sequence[str], Sequence[str]]) -> Plain:
    consumes, produces = given.get("consumes") or media[0], given.get("produces") or media[1]
    kept = ("tags", "description", "summary", "operationId", "deprecated")
    made: Plain = {name: value for name, value in given.items() if name in kept or name.startswith("x-")}
    parameters = given.get("parameters") or ()
    made["parameters"] = [_parameter(each) for each in parameters if each.get("in") != "body"]
    for body in (each for each in parameters if each.get("in") == "body"):
        content = _content(body.get("schema") or {}, consumes)
        made["requestBody"] = {"content": content, "required": bool(body.get("required"))}
    made["responses"] = {code: _response(each, produces) for code, each in (given.get("responses") or {}).items()}
    return made


def _parameter(given: Plain) -> Plain:
    made = {name: value for name, value in given.items() if name not in (*_OF_SCHEMA, "collectionFormat")}
    return {**made, "schema": _schema({name: value for name, value in given.items() if name in _OF_SCHEMA})}


def _response(given: Plain, produces: Sequence[str]) -> Plain:
    made: Plain = {"description": given.get("description") or ""}
    if given.get("schema"):
        made["content"] = _content(given["schema"], produces)
    return made


def _content(schema: Plain, media: Sequence[str]) -> Plain:
    return {each: {"schema": _schema(schema)} for each in media or _ANY_MEDIA}


def _schema(value: Any) -> Any:
    """Return a schema, or anything with schemas in it, whose references lead to where types are in the newer form."""
    if isinstance(value, list):
        return [_schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: _schema(each) for name, each in value.items()}
    ref = made.get("$ref")
    if isinstance(ref, str) and ref.startswith(_OLD):
        made["$ref"] = _NEW + ref.removeprefix(_OLD)
        beside = {name: each for name, each in made.items() if name != "$ref"}
        if beside:  # Nothing may stand beside a reference in the newer form.
            return {**beside, "allOf": [{"$ref": made["$ref"]}]}
    return made

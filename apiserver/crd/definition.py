"""What a CustomResourceDefinition may hold: names, versions, structural schemas, paths, rules. Pure.

A schema that is not structural could not be pruned or defaulted; a default that breaks its own schema would make
objects that nobody can store; a rule that cannot be compiled would judge nothing. All of it is refused when the
definition is written, so that what is served afterwards can be trusted to work.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from api import names, serde
from api import validation as v
from api.apiextensions import customresourcedefinition as crds
from api.apiextensions.customresourcedefinition import CustomResourceDefinition
from api.custom import is_custom
from api.errors import MethodNotAllowed
from api.resource import FieldError
from apiserver.cel.program import BadProgram, compile_
from apiserver.crd import jsonpath, naming, patterns, rule_types, values
from apiserver.crd.rules import VARIABLES
from apiserver.crd.structural import Node, Plain, apply_defaults, prune
from apiserver.request import AdmissionRequest

Errors = Iterator[FieldError]

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
_LIST_TYPES: Final = ("atomic", "map", "set")
_MAP_TYPES: Final = ("atomic", "granular")
_REASONS: Final = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_SELECTABLE_MAX: Final = 8
_CATEGORIES_FORM: Final = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?").fullmatch
_DEPTH_MAX: Final = 128


class DefinitionRules:
    """Admission plugin: refuses definitions that could not be served, and objects of those that are going."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Let nothing be made of a kind that is going, or deleting it would never end; raises MethodNotAllowed."""
        if request.operation != "CREATE" or not is_custom(request.resource.type):
            return
        if request.resource.type.shape.is_terminating:
            raise MethodNotAllowed(
                "create not allowed while custom resource definition is terminating is not supported on resources of "
                f'kind "{request.resource}"',
                group=request.resource.group,
                kind=request.resource.plural,
            )

    async def validate(self, request: AdmissionRequest) -> None:
        """Check the definition; raises Invalid."""
        if request.resource is not crds.RESOURCE or request.operation == "DELETE" or request.object is None:
            return
        new: Any = request.object
        old: Any = request.old
        if request.subresource == "status":
            return
        if old is not None and new.spec == old.spec and new.metadata.annotations == old.metadata.annotations:
            return  # It was fit to be stored before; only finalizers and labels change.
        errors = list(find_errors(new, old))
        if errors:
            raise v.refuse(crds.RESOURCE, new, errors)


def find_errors(new: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Errors:
    """Yield what is wrong with a definition."""
    spec = new.spec
    wanted = f"{spec.names.plural}.{spec.group}"
    if new.metadata.name != wanted:
        yield v.invalid("metadata.name", new.metadata.name, 'must be spec.names.plural+"."+spec.group')
    if naming.is_protected(spec.group):
        yield from _check_approval(new, old)
    yield from _check_group(spec.group)
    yield from v.check_supported("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    if spec.preserve_unknown_fields and (old is None or not old.spec.preserve_unknown_fields):
        yield v.invalid("spec.preserveUnknownFields", True, "must be false in order to use defaults in the schema")
    yield from _check_names(spec.names)
    yield from _check_versions(new)
    yield from _check_conversion(spec)
    if old is not None and crds.is_condition(old, "Established"):
        yield from v.check_immutable("spec.scope", spec.scope, old.spec.scope)
        yield from v.check_immutable("spec.names.kind", spec.names.kind, old.spec.names.kind)
    if old is not None:
        yield from v.check_immutable("spec.group", spec.group, old.spec.group)
        yield from v.check_immutable("spec.names.plural", spec.names.plural, old.spec.names.plural)
    declared = {version.name for version in spec.versions}
    for i, name in enumerate(new.status.stored_versions):
        if name not in declared:
            why = "must appear in spec.versions"
            yield v.invalid(f"status.storedVersions[{i}]", name, why)


def _check_approval(new: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Errors:
    path = f"metadata.annotations[{naming.APPROVED}]"
    text = new.metadata.annotations.get(naming.APPROVED, "")
    if old is not None and old.metadata.annotations.get(naming.APPROVED, "") == text:
        return
    if not text:
        yield v.required(
            path,
            f'protected groups must have approval annotation "{naming.APPROVED}", see '
            "https://github.com/kubernetes/enhancements/pull/1111",
        )
    elif not text.startswith(("https://", "http://", "unapproved")):
        why = 'protected groups must have approval annotation with either a URL or a reason starting with "unapproved"'
        yield v.invalid(path, text, f"{why}, see https://github.com/kubernetes/enhancements/pull/1111")


def _check_group(group: str) -> Errors:
    if not group:
        yield v.required("spec.group")
        return
    for message in names.check_subdomain(group):
        yield v.invalid("spec.group", group, message)
    if len(group.split(".")) < 2:
        yield v.invalid("spec.group", group, "should be a domain with at least one dot")


def _check_names(given: crds.CustomResourceDefinitionNames) -> Errors:
    path = "spec.names"
    yield from v.check_name(f"{path}.plural", given.plural, names.check_label_1035)
    yield from v.check_name(f"{path}.singular", given.singular, names.check_label_1035)
    for field, value in (("kind", given.kind), ("listKind", given.list_kind)):
        if not value:
            yield v.required(f"{path}.{field}")
            continue
        for message in names.check_label_1035(value.lower()):
            text = f"may have mixed case, but should otherwise match: {message}"
            yield v.invalid(f"{path}.{field}", value, text)
    for field, listed in (("shortNames", given.short_names), ("categories", given.categories)):
        for i, value in enumerate(listed):
            for message in names.check_label_1035(value):
                yield v.invalid(f"{path}.{field}[{i}]", value, message)
    if given.kind and given.kind == given.list_kind:
        yield v.invalid(f"{path}.listKind", given.list_kind, "kind and listKind may not be the same")


def _check_versions(new: CustomResourceDefinition) -> Errors:
    path = "spec.versions"
    versions = new.spec.versions
    if not versions:
        yield v.required(path, "must have at least one version")
        return
    if sum(version.storage for version in versions) != 1:
        yield v.invalid(path, versions, "must have exactly one version marked as storage version")
    if len({version.name for version in versions}) < len(versions):
        yield v.invalid(path, versions, "must contain unique version names")
    for i, version in enumerate(versions):
        where = f"{path}[{i}]"
        if not version.name:
            yield v.required(f"{where}.name")
        for message in names.check_label_1035(version.name) if version.name else ():
            yield v.invalid(f"{where}.name", version.name, message)
        if version.deprecation_warning is not None:
            yield from _check_warning(version, f"{where}.deprecationWarning")
        schema = version.schema.open_api_v3_schema if version.schema is not None else None
        if schema is None:
            if not new.spec.preserve_unknown_fields:
                yield v.required(f"{where}.schema.openAPIV3Schema", "schemas are required")
        else:
            yield from check_schema(serde.to_value(schema), f"{where}.schema.openAPIV3Schema")
        yield from _check_columns(version, where)
        yield from _check_subresources(version, where)
        yield from _check_selectable(version, where)


def _check_warning(version: crds.CustomResourceDefinitionVersion, path: str) -> Errors:
    text = version.deprecation_warning or ""
    if not version.deprecated:
        yield v.invalid(path, text, "can only be set for deprecated versions")
    if len(text) > 256:
        yield v.too_long(path, 256)
    if not text:
        yield v.invalid(path, text, "must not be an empty string")
    if any(not letter.isprintable() for letter in text):
        yield v.invalid(path, text, "must only contain printable UTF-8 characters; non-printable character found")


def _check_columns(version: crds.CustomResourceDefinitionVersion, where: str) -> Errors:
    for i, column in enumerate(version.additional_printer_columns):
        path = f"{where}.additionalPrinterColumns[{i}]"
        if not column.name:
            yield v.required(f"{path}.name")
        yield from v.check_supported(f"{path}.type", column.type, _COLUMN_TYPES)
        if column.format and column.format not in _COLUMN_FORMATS:
            yield v.invalid(f"{path}.format", column.format, f"must be one of {','.join(_COLUMN_FORMATS)}")
        if not column.json_path:
            yield v.required(f"{path}.jsonPath")
            continue
        try:
            jsonpath.compile_(column.json_path)
        except jsonpath.BadPath as error:
            yield v.invalid(f"{path}.jsonPath", column.json_path, f"is an invalid path: {error}")
        else:
            if not column.json_path.startswith((".", "[", "{", "$")):
                yield v.invalid(f"{path}.jsonPath", column.json_path, "must be a simple json path starting with .")


def _check_subresources(version: crds.CustomResourceDefinitionVersion, where: str) -> Errors:
    scale = version.subresources.scale if version.subresources is not None else None
    if scale is None:
        return
    path = f"{where}.subresources.scale"
    for field, value, roots in (
        ("specReplicasPath", scale.spec_replicas_path, (".spec.",)),
        ("statusReplicasPath", scale.status_replicas_path, (".status.",)),
        ("labelSelectorPath", scale.label_selector_path, (".spec.", ".status.")),
    ):
        if not value:
            if field != "labelSelectorPath":
                yield v.required(f"{path}.{field}")
            continue
        if jsonpath.simple_path(value) is None:
            yield v.invalid(f"{path}.{field}", value, "is an invalid path: only simple paths of fields are allowed")
        elif not value.startswith(roots):
            yield v.invalid(f"{path}.{field}", value, f"should be a json path under {' or '.join(roots)}")


def _check_selectable(version: crds.CustomResourceDefinitionVersion, where: str) -> Errors:
    if len(version.selectable_fields) > _SELECTABLE_MAX:
        yield v.too_many(f"{where}.selectableFields", len(version.selectable_fields), _SELECTABLE_MAX)
    schema = version.schema.open_api_v3_schema if version.schema is not None else None
    node = Node(serde.to_value(schema)) if schema is not None else None
    seen: set[str] = set()
    for i, selectable in enumerate(version.selectable_fields):
        path, value = f"{where}.selectableFields[{i}].jsonPath", selectable.json_path
        if not value:
            yield v.required(path)
            continue
        steps = jsonpath.simple_path(value)
        if steps is None:
            yield v.invalid(path, value, "is an invalid path: does not refer to a valid field")
            continue
        if steps[0] == "metadata":
            yield v.invalid(path, value, "must not point to fields in metadata")
        if value in seen:
            yield v.duplicate(path, value)
        seen.add(value)
        found: Node | None = node
        for step in steps:
            found = found.properties.get(step) if found is not None else None
        if found is None:
            yield v.invalid(path, value, "is an invalid path: does not refer to a valid field")
        elif found.type not in ("string", "boolean", "integer"):
            why = "must point to a field of type string, boolean or integer"
            yield v.invalid(path, value, why)


def _check_conversion(spec: crds.CustomResourceDefinitionSpec) -> Errors:
    path = "spec.conversion"
    conversion = spec.conversion
    if conversion is None:
        return
    yield from v.check_supported(f"{path}.strategy", conversion.strategy, ("None", "Webhook"))
    webhook = conversion.webhook
    if conversion.strategy != "Webhook":
        if webhook is not None:
            yield v.forbidden(f"{path}.webhook", "should not be set when strategy is not set to Webhook")
        return
    if spec.preserve_unknown_fields:
        yield v.invalid(f"{path}.strategy", conversion.strategy, "must be None if spec.preserveUnknownFields is true")
    if webhook is None or webhook.client_config is None:
        yield v.required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook")
        return
    yield from _check_client(webhook.client_config, f"{path}.webhook.clientConfig")
    reviews = webhook.conversion_review_versions
    where = f"{path}.webhook.conversionReviewVersions"
    if not reviews:
        yield v.required(where)
    elif not {"v1", "v1beta1"} & set(reviews):
        yield v.invalid(where, reviews, "must include at least one of v1, v1beta1")


def _check_client(config: crds.WebhookClientConfig, path: str) -> Errors:
    if (config.url is None) is (config.service is None):
        yield v.required(path, "exactly one of url or service is required")
        return
    if config.url is not None:
        parts = urlsplit(config.url)
        if parts.scheme != "https":
            yield v.invalid(
                f"{path}.url",
                parts.scheme,
                "'https' is the only allowed URL scheme; desired format: https://host[/path]",
            )
        if not parts.hostname:
            yield v.invalid(f"{path}.url", config.url, "host must be specified; desired format: https://host[/path]")
        for what, value in (
            ("user information", parts.username),
            ("query parameters", parts.query),
            ("fragments", parts.fragment),
        ):
            if value:
                yield v.invalid(f"{path}.url", value, f"{what} are not permitted in the URL")
        return
    service = config.service
    assert service is not None
    if not service.name:
        yield v.required(f"{path}.service.name", "service name is required")
    if not service.namespace:
        yield v.required(f"{path}.service.namespace", "service namespace is required")
    if service.port is not None:
        yield from v.check_port(f"{path}.service.port", service.port)


# --- schemas --------------------------------------------------------------------------------------------------------

_FORBIDDEN: Final = ("$ref", "definitions", "dependencies", "id", "$schema", "patternProperties", "additionalItems")
_NOT_IN_LOGIC: Final = (
    "additionalProperties", "default", "description", "nullable", "title", "type",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-validations",
)  # fmt: skip


def check_schema(schema: Plain, path: str) -> Errors:
    """Yield what is wrong with the schema of a version."""
    if _depth(schema) > _DEPTH_MAX:
        yield v.invalid(path, "", f"must nest at most {_DEPTH_MAX} levels deep")
        return
    if schema.get("type") != "object":
        if schema.get("type"):
            yield v.invalid(f"{path}.type", schema["type"], "must be object at the root")
        else:
            yield v.required(f"{path}.type", "must be object at the root")
    if schema.get("nullable"):
        yield v.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    metadata = (schema.get("properties") or {}).get("metadata") or {}
    restricted = set(metadata) - {"type", "description", "properties"}
    if restricted or set(metadata.get("properties") or {}) - {"name", "generateName"}:
        yield v.forbidden(
            f"{path}.properties[metadata]",
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        )
    yield from _check_node(schema, path, is_root=True)
    yield from _check_defaults(schema, path)


def _depth(schema: Any) -> int:
    deepest, waiting = 0, [(schema, 1)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, dict):
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)
    return deepest


def _check_node(schema: Plain, path: str, *, is_root: bool = False, places: int = 1) -> Errors:
    type_ = schema.get("type") or ""
    is_free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if type_ and type_ not in _TYPES:
        yield v.not_supported(f"{path}.type", type_, _TYPES)
    if not type_ and not is_free:
        yield v.required(
            f"{path}.type", "must not be empty for specified object fields" if not is_root else "must not be empty"
        )
    for key in _FORBIDDEN:
        if schema.get(key):
            yield v.forbidden(f"{path}.{key}", f"{key} is not supported")
    if schema.get("uniqueItems"):
        yield v.forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    yield from _check_bounds(schema, path)
    yield from _check_extensions(schema, path, type_)
    yield from _check_rules(schema, path, is_root=is_root, places=places)
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    if properties and additional is not None and additional is not False:
        yield v.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    if additional is False:
        yield v.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if is_root and additional:
        yield v.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    items = schema.get("items")
    if type_ == "array" and items is None:
        yield v.required(f"{path}.items", "must be specified")
    if isinstance(items, list):
        yield v.forbidden(f"{path}.items", "items must be a schema object and not an array")
    for name, child in properties.items():
        if is_root and name in ("apiVersion", "kind", "metadata"):
            wanted = "object" if name == "metadata" else "string"
            if child.get("type") != wanted:
                yield v.invalid(f"{path}.properties[{name}].type", child.get("type", ""), f"must be {wanted}")
            continue
        yield from _check_node(child, f"{path}.properties[{name}]", places=places)
    below = places * rule_types.size_max(Node(schema)) if isinstance(items, dict) or isinstance(additional, dict) else 1
    if isinstance(items, dict):
        yield from _check_node(items, f"{path}.items", places=below)
    if isinstance(additional, dict):
        yield from _check_node(additional, f"{path}.additionalProperties", places=below)
    yield from _check_logic(schema, path)


def _check_bounds(schema: Plain, path: str) -> Errors:
    if schema.get("pattern"):
        try:
            patterns.compile_(schema["pattern"])
        except patterns.BadPattern as error:
            yield v.invalid(
                f"{path}.pattern", schema["pattern"], f"must be a valid regular expression, but isn't: {error}"
            )
    for key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        if (schema.get(key) or 0) < 0:
            yield v.invalid(f"{path}.{key}", schema[key], "must be greater than or equal to 0")


def _check_extensions(schema: Plain, path: str, type_: str) -> Errors:
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield v.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    if schema.get("x-kubernetes-embedded-resource"):
        if type_ != "object":
            yield v.invalid(f"{path}.type", type_, "must be object if x-kubernetes-embedded-resource is true")
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield v.required(
                f"{path}.properties",
                "must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields",
            )
    if schema.get("x-kubernetes-int-or-string") and type_:
        yield v.forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true")
    if schema.get("x-kubernetes-preserve-unknown-fields") and type_ not in ("", "object"):
        yield v.invalid(f"{path}.type", type_, "must be object if x-kubernetes-preserve-unknown-fields is true")
    list_type = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    if list_type is not None:
        if type_ != "array":
            yield v.invalid(f"{path}.type", type_, "must be array if x-kubernetes-list-type is specified")
        if list_type not in _LIST_TYPES:
            yield v.not_supported(f"{path}.x-kubernetes-list-type", list_type, _LIST_TYPES)
    if keys and list_type != "map":
        yield v.invalid(
            f"{path}.x-kubernetes-list-type", list_type or "", "must be map if x-kubernetes-list-map-keys is non-empty"
        )
    if list_type == "map":
        yield from _check_map_list(schema, path, keys)
    if list_type == "set" and isinstance(schema.get("items"), dict):
        items = schema["items"]
        if items.get("nullable"):
            yield v.forbidden(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set")
        if items.get("type") == "array" and items.get("x-kubernetes-list-type") != "atomic":
            yield v.invalid(
                f"{path}.items.x-kubernetes-list-type",
                items.get("x-kubernetes-list-type") or "",
                "must be atomic as item of a list with x-kubernetes-list-type=set",
            )
        if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            yield v.invalid(
                f"{path}.items.x-kubernetes-map-type",
                items.get("x-kubernetes-map-type") or "",
                "must be atomic as item of a list with x-kubernetes-list-type=set",
            )
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if type_ != "object":
            yield v.invalid(f"{path}.type", type_, "must be object if x-kubernetes-map-type is specified")
        if map_type not in _MAP_TYPES:
            yield v.not_supported(f"{path}.x-kubernetes-map-type", map_type, _MAP_TYPES)


def _check_map_list(schema: Plain, path: str, keys: list[str]) -> Errors:
    if not keys:
        yield v.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    items = schema.get("items")
    if not isinstance(items, dict):
        return
    if items.get("type") != "object":
        yield v.invalid(
            f"{path}.items.type",
            items.get("type") or "",
            "must be object if parent array's x-kubernetes-list-type is map",
        )
    properties, required = items.get("properties") or {}, items.get("required") or []
    seen: set[str] = set()
    for i, key in enumerate(keys):
        where = f"{path}.x-kubernetes-list-map-keys[{i}]"
        if key in seen:
            yield v.duplicate(where, key)
        seen.add(key)
        child = properties.get(key)
        if child is None:
            yield v.invalid(where, key, "entries must all be names of item properties")
            continue
        if child.get("type") in ("array", "object"):
            yield v.invalid(
                f"{path}.items.properties[{key}].type",
                child["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )
        if key not in required and child.get("default") is None:
            yield v.required(
                f"{path}.items.properties[{key}].default",
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            )


def _check_rules(schema: Plain, path: str, *, is_root: bool, places: int) -> Errors:
    """Check the rules at a place of the schema, of which an object has at most so many."""
    for i, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{i}]"
        text = (rule.get("rule") or "").strip()
        if not text:
            yield v.required(f"{where}.rule", "rule is not specified")
            continue
        if "message" in rule and not rule["message"].strip():
            yield v.invalid(f"{where}.message", rule["message"], "message must be non-empty if specified")
        if "\n" in (rule.get("message") or "").strip():
            yield v.invalid(f"{where}.message", rule["message"], "message must not contain line breaks")
        if "\n" in text and not rule.get("message"):
            yield v.required(f"{where}.message", "message must be specified if rule contains line breaks")
        reason = rule.get("reason")
        if reason is not None and reason not in _REASONS:
            yield v.not_supported(f"{where}.reason", reason, _REASONS)
        try:
            program = compile_(text, VARIABLES)
            cost = rule_types.check(text, Node(schema), is_root=is_root) * places
        except BadProgram as error:
            yield v.invalid(f"{where}.rule", text, f"compilation failed: {error}")
        else:
            if rule.get("optionalOldSelf") is not None and "oldSelf" not in program.names:
                why = "may not be set if oldSelf is not used in rule"
                yield v.invalid(f"{where}.optionalOldSelf", rule["optionalOldSelf"], why)
            if cost > rule_types.COST_MAX:
                factor = cost / rule_types.COST_MAX
                times = "more than 100x" if factor > 100 else f"{factor:.1f}x"
                yield v.forbidden(
                    f"{where}.rule",
                    f"estimated rule cost exceeds budget by factor of {times} (try simplifying the rule, or adding "
                    "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
                )
        expression = rule.get("messageExpression")
        if expression:
            try:
                compile_(expression, VARIABLES)
            except BadProgram as error:
                yield v.invalid(
                    f"{where}.messageExpression", expression, f"messageExpression compilation failed: {error}"
                )
        if rule.get("fieldPath"):
            yield from _check_field_path(schema, rule["fieldPath"], f"{where}.fieldPath")


def _check_field_path(schema: Plain, field_path: str, where: str) -> Errors:
    node: Any = Node(schema)
    for step in re.findall(r"\.([^.\[\]]+)|\['([^']+)'\]|(\[[^\]]*\])", field_path):
        name = step[0] or step[1]
        node = node.child(name) if node is not None and name else None
    if not field_path.startswith((".", "['")) or node is None:
        yield v.invalid(where, field_path, "fieldPath must be a valid path: does not refer to a valid field")


def _check_logic(schema: Plain, path: str) -> Errors:
    """Check what stands below allOf, anyOf, oneOf and not: it judges values, and says nothing about their structure."""
    parts = [
        (f"{path}.{key}[{i}]", part)
        for key in ("allOf", "anyOf", "oneOf")
        for i, part in enumerate(schema.get(key) or ())
    ]
    if isinstance(schema.get("not"), dict):
        parts.append((f"{path}.not", schema["not"]))
    allows_types = bool(schema.get("x-kubernetes-int-or-string"))
    for where, part in parts:
        yield from _check_logic_part(part, schema, where, allows_types=allows_types)


def _check_logic_part(part: Plain, structure: Plain, path: str, *, allows_types: bool = False) -> Errors:
    for key in _NOT_IN_LOGIC:
        value = part.get(key)
        if value in (None, False, "") or (key == "type" and allows_types):
            continue
        if key == "additionalProperties":
            yield v.forbidden(f"{path}.{key}", "must be undefined to be structural")
        elif key not in ("description", "title"):
            yield v.forbidden(
                f"{path}.{key}",
                "must be empty to be structural" if key == "type" else "must be undefined to be structural",
            )
    known = structure.get("properties") or {}
    for name, child in (part.get("properties") or {}).items():
        additional = structure.get("additionalProperties")
        below = known.get(name) or (additional if isinstance(additional, dict) else None)
        if below is None:
            if name == "metadata":
                continue
            yield v.required(
                f"{path.split('.allOf')[0].split('.anyOf')[0].split('.oneOf')[0].split('.not')[0]}.properties[{name}]",
                f"because it is defined in {path}.properties[{name}]",
            )
            continue
        yield from _check_logic_part(child, below, f"{path}.properties[{name}]")
    if isinstance(part.get("items"), dict):
        yield from _check_logic_part(part["items"], structure.get("items") or {}, f"{path}.items")
    for key in ("allOf", "anyOf", "oneOf"):
        for i, each in enumerate(part.get(key) or ()):
            yield from _check_logic_part(each, structure, f"{path}.{key}[{i}]", allows_types=allows_types)
    if isinstance(part.get("not"), dict):
        yield from _check_logic_part(part["not"], structure, f"{path}.not")


def _check_defaults(schema: Plain, path: str) -> Errors:
    default = schema.get("default")
    if default is not None:
        node = Node(schema)
        value = copy.deepcopy(default)
        unknown: list[str] = []
        prune(value, node, unknown)
        if unknown:
            yield v.invalid(f"{path}.default", default, f"must not have unknown fields: {', '.join(unknown)}")
        apply_defaults(value, node)
        for error in values.check(value, node):
            where = f"{path}.default{'.' if error.path not in ('', '<nil>') else ''}{error.path.removeprefix('<nil>')}"
            yield FieldError(where, error.reason, error.message)
    for name, child in (schema.get("properties") or {}).items():
        yield from _check_defaults(child, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from _check_defaults(schema[key], f"{path}.{key}")

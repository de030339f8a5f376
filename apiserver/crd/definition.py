"""What a CustomResourceDefinition may hold: names, versions, paths, conversion; schemas: see `schema_check`. Pure.

A schema that is not structural could not be pruned or defaulted; a default that breaks its own schema would make
objects that nobody can store; a rule that cannot be compiled would judge nothing. All of it is refused when the
definition is written, so that what is served afterwards can be trusted to work.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from api import names, serde
from api import validation as v
from api.apiextensions import customresourcedefinition as crds
from api.apiextensions.customresourcedefinition import CustomResourceDefinition
from api.custom import is_custom
from api.errors import MethodNotAllowed
from api.resource import FieldError
from apiserver.crd import jsonpath, naming
from apiserver.crd.schema_check import check_schema
from apiserver.crd.structural import Node
from apiserver.request import AdmissionRequest

Errors = Iterator[FieldError]

_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
_SELECTABLE_MAX: Final = 8
_NO_UNKNOWN: Final = (
    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
)
_CATEGORIES_FORM: Final = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?").fullmatch


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
        yield v.invalid("spec.preserveUnknownFields", True, _NO_UNKNOWN)
    yield from _check_names(spec.names)
    yield from _check_versions(new, old)
    yield from _check_conversion(spec)
    fault = naming.trust_fault(spec.conversion)
    if (
        fault
        and old is not None
        and crds.is_condition(old, "Established")
        and not naming.trust_fault(old.spec.conversion)
    ):
        # What is served would be served no more; before, it just does not begin.
        yield v.invalid("spec.conversion.webhook.clientConfig.caBundle", _bundle_of(spec), fault)
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


def _check_versions(new: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Errors:
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
        if _schema_of(version) is None and not new.spec.preserve_unknown_fields:
            yield v.required(f"{where}.schema.openAPIV3Schema", "schemas are required")
    before = {version.name: _schema_of(version) for version in old.spec.versions} if old is not None else {}
    for where, version in _told_apart(versions, _schema_of, "validation", "schema"):
        schema = _schema_of(version)
        if schema is not None:
            alike = versions if where == "spec.validation" else [version]
            yield from check_schema(
                serde.to_value(schema),
                f"{where}.openAPIV3Schema",
                has_status=any(
                    each.subresources is not None and each.subresources.status is not None for each in alike
                ),
                is_known=all(before.get(each.name) == schema for each in alike),
            )
    for where, version in _told_apart(versions, lambda each: each.subresources, "subresources"):
        yield from _check_subresources(version, where)
    for where, version in _told_apart(
        versions, lambda each: each.additional_printer_columns, "additionalPrinterColumns"
    ):
        yield from _check_columns(version, where)
    for where, version in _told_apart(versions, lambda each: each.selectable_fields, "selectableFields"):
        yield from _check_selectable(version, where)


def _schema_of(version: crds.CustomResourceDefinitionVersion) -> Any:
    return version.schema.open_api_v3_schema if version.schema is not None else None


def _told_apart(
    versions: Sequence[crds.CustomResourceDefinitionVersion],
    part_of: Callable[[crds.CustomResourceDefinitionVersion], Any],
    of_all: str,
    of_one: str = "",
) -> Iterator[tuple[str, crds.CustomResourceDefinitionVersion]]:
    """Yield where a part of each version stands in messages, and the version; once where it is the same in all.

    What all versions have alike is told of under the names that it had in v1beta1, as upstream does.
    """
    if all(part_of(version) == part_of(versions[0]) for version in versions):
        yield f"spec.{of_all}", versions[0]
        return
    for i, version in enumerate(versions):
        yield f"spec.versions[{i}].{of_one or of_all}", version


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
        path = f"{where}[{i}]"
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
    path = f"{where}.scale"
    for field, value, roots, under in (
        ("specReplicasPath", scale.spec_replicas_path, (".spec.",), ".spec"),
        ("statusReplicasPath", scale.status_replicas_path, (".status.",), ".status"),
        ("labelSelectorPath", scale.label_selector_path, (".spec.", ".status."), "either .spec or .status"),
    ):
        if not value:
            if field != "labelSelectorPath":
                yield v.required(f"{path}.{field}")
            continue
        if jsonpath.simple_path(value) is None:
            yield v.invalid(f"{path}.{field}", value, "is an invalid path: only simple paths of fields are allowed")
        elif not value.startswith(roots):
            yield v.invalid(f"{path}.{field}", value, f"should be a json path under {under}")


def _check_selectable(version: crds.CustomResourceDefinitionVersion, where: str) -> Errors:
    if len(version.selectable_fields) > _SELECTABLE_MAX:
        yield v.too_many(where, len(version.selectable_fields), _SELECTABLE_MAX)
    schema = _schema_of(version)
    node = Node(serde.to_value(schema)) if schema is not None else None
    seen: set[str] = set()
    for i, selectable in enumerate(version.selectable_fields):
        path, value = f"{where}[{i}].jsonPath", selectable.json_path
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
            why = "must point to a field of type string, boolean or integer. Enum string fields and strings with "
            why += "formats are allowed."
            yield v.invalid(path, value, why)


def _bundle_of(spec: crds.CustomResourceDefinitionSpec) -> str:
    client = spec.conversion.webhook.client_config if spec.conversion is not None and spec.conversion.webhook else None
    return base64.b64encode(client.ca_bundle).decode() if client is not None else ""


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

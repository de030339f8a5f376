"""What a CustomResourceDefinition may hold: names, versions, paths, conversion; schemas: see `schema_check`. Pure.

A schema that is not structural could not be pruned or defaulted; a default that breaks its own schema would make
objects that nobody can store; a rule that cannot be compiled would judge nothing. All of it is refused when the
definition is written, so that what is served afterwards can be trusted to work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from api import names, serde
from api import validation as v
from api.admissionregistration.webhooks import check_client_config
from api.apiextensions import customresourcedefinition as crds
from api.apiextensions.customresourcedefinition import CustomResourceDefinition
from api.custom import is_custom
from api.errors import MethodNotAllowed
from api.go_types import Verbatim, octets, quoted
from api.resource import FieldError
from apiserver.crd import field_paths, naming
from apiserver.crd.schema_check import check_schema, has_defaults, held_after, needs_structure
from apiserver.crd.structural import Node
from apiserver.request import AdmissionRequest

Errors = Iterator[FieldError]

_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
_SELECTABLE_MAX: Final = 8
_NO_UNKNOWN: Final = (
    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
)
_NAMES: Final = {"plural": "plural", "singular": "singular", "kind": "kind", "list_kind": "listKind"}
_REVIEW_VERSIONS: Final = ("v1", "v1beta1")
_STANDARD_FINALIZERS: Final = ("orphan", "foregroundDeletion", "kubernetes")


class DefinitionRules:
    """Admission plugin: refuses definitions that could not be served, and objects of those that are going."""

    async def admit(self, request: AdmissionRequest) -> None:
        """Let nothing be made of a kind that is going, or deleting it would never end; raises MethodNotAllowed."""
        if request.operation != "CREATE" or not is_custom(request.resource.type):
            return
        if request.resource.type.shape.is_terminating:
            raise MethodNotAllowed(
                "create not allowed while custom resource definition is terminating",
                group=request.resource.group,
                kind=request.resource.plural,
            )

    async def validate(self, request: AdmissionRequest) -> None:
        """Check the definition; raises Invalid. Of objects, tell of finalizers that others might call theirs too."""
        if is_custom(request.resource.type) and request.subresource == "" and request.operation != "DELETE":
            for text in finalizer_warnings(request.object, request.old):
                request.warn(text)
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


def finalizer_warnings(new: Any, old: Any) -> Iterator[str]:
    """Yield what a client is told of a custom object's new finalizers, by name, unless they are a domain's."""
    known = set(old.metadata.finalizers) if old is not None else set()
    for name in sorted(set(new.metadata.finalizers) - known):
        told = f"metadata.finalizers: {quoted(name)}"
        yield from (f"{told}: {fault}" for fault in names.check_qualified_name(name))
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            path = " including a path (/)" if "." in name else ""
            yield (
                f"{told}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other "
                "finalizer writers"
            )


def find_errors(new: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Errors:
    """Yield what is wrong with a definition."""
    spec = new.spec
    wanted = f"{spec.names.plural}.{spec.group}"
    if old is None and new.metadata.name != wanted:
        yield v.invalid("metadata.name", new.metadata.name, 'must be spec.names.plural+"."+spec.group')
    if naming.is_protected(spec.group):
        yield from _check_approval(new, old)
    yield from _check_group(spec.group)
    if spec.scope:
        yield from v.check_supported("spec.scope", spec.scope, ("Cluster", "Namespaced"))
    else:
        yield v.required("spec.scope")
    if spec.preserve_unknown_fields and (old is None or not old.spec.preserve_unknown_fields):
        yield v.invalid("spec.preserveUnknownFields", True, _NO_UNKNOWN)
    if spec.versions and (faults := names.check_label_1035(spec.versions[0].name)):
        yield v.invalid("spec.version", spec.versions[0].name, ",".join(faults))  # Where the first stood in v1beta1.
    for field in ("plural", "singular", "kind", "list_kind"):
        if not getattr(spec.names, field):
            yield v.required(f"spec.names.{_NAMES[field]}")
    yield from check_names(spec.names, "spec.names")
    yield from _check_versions(new, old)
    yield from _check_conversion(spec, old)
    if old is not None and crds.is_condition(old, "Established"):
        yield from v.check_immutable("spec.scope", spec.scope, old.spec.scope)
        yield from v.check_immutable("spec.names.kind", spec.names.kind, old.spec.names.kind)
    if old is not None:
        yield from v.check_immutable("spec.group", spec.group, old.spec.group)
        yield from v.check_immutable("spec.names.plural", spec.names.plural, old.spec.names.plural)
    yield from check_names(new.status.accepted_names, "status.acceptedNames")
    yield from _check_stored(new)


def _check_stored(crd: CustomResourceDefinition) -> Errors:
    path, stored = "status.storedVersions", crd.status.stored_versions
    if not stored:
        yield v.invalid(path, stored, "must have at least one stored version")
        return
    declared = {version.name for version in crd.spec.versions}
    for version in crd.spec.versions:
        if version.storage and version.name not in stored:
            yield v.invalid(path, stored, f"must have the storage version {version.name}")
    for i, name in enumerate(stored):
        if name not in declared:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions"
            )
            why += f" until a storage migration ensures no data remains persisted in {name} and removes {name} from"
            yield v.invalid(f"{path}[{i}]", name, f"{why} status.storedVersions")


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
    if faults := names.check_subdomain(group):
        yield v.invalid("spec.group", group, ",".join(faults))
    elif len(group.split(".")) < 2:
        yield v.invalid("spec.group", group, "should be a domain with at least one dot")


def check_names(given: crds.CustomResourceDefinitionNames, path: str) -> Errors:
    """Yield what is wrong with the names that a definition wants, or has got."""
    for field in ("plural", "singular"):
        value = getattr(given, field)
        if value and (faults := names.check_label_1035(value)):
            yield v.invalid(f"{path}.{field}", value, ",".join(faults))
    for field in ("kind", "list_kind"):
        value = getattr(given, field)
        if value and (faults := names.check_label_1035(value.lower())):
            text = f"may have mixed case, but should otherwise match: {','.join(faults)}"
            yield v.invalid(f"{path}.{_NAMES[field]}", value, text)
    for field, listed in (("shortNames", given.short_names), ("categories", given.categories)):
        for i, value in enumerate(listed):
            if faults := names.check_label_1035(value):
                yield v.invalid(f"{path}.{field}[{i}]", value, ",".join(faults))
    if given.kind and given.kind == given.list_kind:
        yield v.invalid(f"{path}.listKind", given.list_kind, "kind and listKind may not be the same")


def _check_versions(new: CustomResourceDefinition, old: CustomResourceDefinition | None) -> Errors:
    path = "spec.versions"
    versions = new.spec.versions
    yield from _check_schemas_are_there(new.spec, old)
    if sum(version.storage for version in versions) != 1:
        shown = versions or Verbatim("[]apiextensions.CustomResourceDefinitionVersion{}")
        yield v.invalid(path, shown, "must have exactly one version marked as storage version")
    if len({version.name for version in versions}) < len(versions):
        yield v.invalid(path, versions, "must contain unique version names")
    for i, version in enumerate(versions):
        where = f"{path}[{i}]"
        if faults := names.check_label_1035(version.name):
            yield v.invalid(f"{where}.name", version.name, ",".join(faults))
        if version.deprecation_warning is not None:
            yield from _check_warning(version, f"{where}.deprecationWarning")
    if not versions:
        return
    before = _former_schemas(old) if old is not None else {}
    schemas = _schemas(new)
    held = held_after(_schemas(old) if old is not None else [])
    if new.spec.preserve_unknown_fields and any(has_defaults(schema) for schema in schemas):
        yield v.invalid("spec.preserveUnknownFields", True, "must be false in order to use defaults in the schema")
    if not new.spec.preserve_unknown_fields or any(needs_structure(schema) for schema in schemas):
        held = replace(held, structure=True)
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
                held=replace(held, costs=any(before.get(each.name, before.get("")) != schema for each in alike)),
            )
    for where, version in _told_apart(versions, lambda each: each.subresources, "subresources"):
        yield from _check_subresources(version, where)
    for where, version in _told_apart(
        versions, lambda each: each.additional_printer_columns, "additionalPrinterColumns"
    ):
        yield from _check_columns(version, where)
    are_alike = all(_schema_of(version) == _schema_of(versions[0]) for version in versions)
    selected = {version.name: version.selectable_fields for version in old.spec.versions} if old is not None else {}
    for where, version in _told_apart(versions, lambda each: each.selectable_fields, "selectableFields"):
        if version.selectable_fields and where == "spec.selectableFields" and not are_alike:
            yield v.invalid(where, "", "may only be set when validations.schema is included")
        else:
            is_known = selected.get(version.name) == version.selectable_fields
            yield from _check_selectable(version, where, is_known=is_known)


def _check_schemas_are_there(spec: crds.CustomResourceDefinitionSpec, old: CustomResourceDefinition | None) -> Errors:
    was_loose = old is not None and any(_schema_of(version) is None for version in old.spec.versions)
    for i, version in enumerate(spec.versions):
        if _schema_of(version) is not None:
            continue
        where = f"spec.versions[{i}].schema.openAPIV3Schema"
        if not was_loose:
            yield v.required(where)
        elif version.served and not spec.preserve_unknown_fields:
            yield v.required(where, "because otherwise all fields are pruned")


def _former_schemas(old: CustomResourceDefinition) -> dict[str, Any]:
    """Return the schemas of a definition by version, and by no name the one that all have; new ones have it then."""
    schemas = {version.name: _schema_of(version) for version in old.spec.versions}
    first, *others = schemas.values()
    return schemas if any(schema != first for schema in others) else {**schemas, "": first}


def _schemas(crd: CustomResourceDefinition) -> list[Any]:
    return [serde.to_value(schema) for each in crd.spec.versions if (schema := _schema_of(each)) is not None]


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
        return
    if len(text.encode()) > 256:
        yield v.invalid(path, text, "must be <= 256 characters long")
    if not text:
        yield v.invalid(path, text, "must not be an empty string")
    for i, letter in enumerate(text):
        if not letter.isprintable():
            at = len(text[:i].encode())
            why = f"must only contain printable UTF-8 characters; non-printable character found at index {at}"
            yield v.invalid(path, text, why)
            break


def _check_columns(version: crds.CustomResourceDefinitionVersion, where: str) -> Errors:
    for i, column in enumerate(version.additional_printer_columns):
        path = f"{where}[{i}]"
        if not column.name:
            yield v.required(f"{path}.name")
        why = f"must be one of {','.join(_COLUMN_TYPES)}"
        if not column.type:
            yield v.required(f"{path}.type", why)
        elif column.type not in _COLUMN_TYPES:
            yield v.invalid(f"{path}.type", column.type, why)
        if column.format and column.format not in _COLUMN_FORMATS:
            yield v.invalid(f"{path}.format", column.format, f"must be one of {','.join(sorted(_COLUMN_FORMATS))}")
        if not column.json_path:
            yield v.required(f"{path}.JSONPath")
        else:
            yield from _check_path(column.json_path, f"{path}.JSONPath")


def _check_path(text: str, path: str) -> Errors:
    if not text.startswith("."):
        yield v.invalid(path, text, "must be a simple json path starting with .")


def _check_subresources(version: crds.CustomResourceDefinitionVersion, where: str) -> Errors:
    scale = version.subresources.scale if version.subresources is not None else None
    if scale is None:
        return
    for field, value, roots, under in (
        ("specReplicasPath", scale.spec_replicas_path, (".spec.",), ".spec"),
        ("statusReplicasPath", scale.status_replicas_path, (".status.",), ".status"),
        ("labelSelectorPath", scale.label_selector_path, (".spec.", ".status."), "either .spec or .status"),
    ):
        path = f"{where}.scale.{field}"
        if not value:
            if field != "labelSelectorPath":
                yield v.required(path)
        elif not value.startswith("."):
            yield from _check_path(value, path)
        elif not value.startswith(roots):
            yield v.invalid(path, value, f"should be a json path under {under}")


def _check_selectable(version: crds.CustomResourceDefinitionVersion, where: str, *, is_known: bool) -> Errors:
    if not version.selectable_fields:
        return
    schema = _schema_of(version)
    if schema is None:
        yield v.invalid(where, "", "may only be set when `version.schema.openAPIV3Schema` is not included")
        return
    node = Node(serde.to_value(schema))
    seen: set[str] = set()
    for i, selectable in enumerate(version.selectable_fields):
        path, value = f"{where}[{i}].jsonPath", selectable.json_path
        if not value:
            yield v.required(path)
            continue
        try:
            found = field_paths.find(value, node, takes_brackets=False)
        except field_paths.BadFieldPath as error:
            yield v.invalid(path, value, f"is an invalid path: {error}")
            continue
        if found.root == "metadata":
            yield v.invalid(path, value, "must not point to fields in metadata")
        if found.node.type not in ("string", "boolean", "integer"):
            why = "must point to a field of type string, boolean or integer. Enum string fields and strings with "
            why += "formats are allowed."
            yield v.invalid(path, value, why)
        if found.text in seen:
            yield v.duplicate(path, value)
        seen.add(found.text)
    if len(seen) > _SELECTABLE_MAX and not is_known:
        yield v.too_many(where, len(seen), _SELECTABLE_MAX)


def _check_conversion(spec: crds.CustomResourceDefinitionSpec, old: CustomResourceDefinition | None) -> Errors:
    path = "spec.conversion"
    conversion = spec.conversion
    if conversion is None:
        return
    if not conversion.strategy:
        yield v.required(f"{path}.strategy")
    else:
        yield from v.check_supported(f"{path}.strategy", conversion.strategy, ("None", "Webhook"))
    if conversion.strategy != "None" and spec.preserve_unknown_fields:
        yield v.invalid(f"{path}.strategy", conversion.strategy, "must be None if spec.preserveUnknownFields is true")
    webhook = conversion.webhook
    client = webhook.client_config if webhook is not None else None
    reviews = webhook.conversion_review_versions if webhook is not None else []
    if conversion.strategy != "Webhook":
        why = "should not be set when strategy is not set to Webhook"
        if client is not None:
            yield v.forbidden(f"{path}.webhookClientConfig", why)
        if reviews:
            yield v.forbidden(f"{path}.conversionReviewVersions", why)
        return
    if client is None:
        yield v.required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
    else:
        yield from check_client_config(f"{path}.webhookClientConfig", client.url, client.service)
        # Of what is served, nothing may be served no more; before, it just does not begin.
        is_held = old is not None and crds.is_condition(old, "Established")
        if is_held and old is not None and not naming.trust_fault(old.spec.conversion):
            fault = naming.trust_fault(conversion)
            if fault:
                yield v.invalid(f"{path}.webhookClientConfig.caBundle", octets(client.ca_bundle), fault)
    former = old.spec.conversion.webhook if old is not None and old.spec.conversion is not None else None
    known = former.conversion_review_versions if former is not None else []
    yield from _check_reviews(
        reviews, f"{path}.conversionReviewVersions", needs_known=not known or _is_any_known(known)
    )


def _is_any_known(versions: Sequence[str]) -> bool:
    return any(version in _REVIEW_VERSIONS for version in versions)


def _check_reviews(versions: Sequence[str], path: str, *, needs_known: bool) -> Errors:
    if not versions:
        yield v.required(path)
        return
    for i, version in enumerate(versions):
        if version in versions[:i]:
            yield v.invalid(f"{path}[{i}]", version, "duplicate version")
            continue
        for message in names.check_label_1035(version):
            yield v.invalid(f"{path}[{i}]", version, message)
    if needs_known and not _is_any_known(versions):
        yield v.invalid(path, versions, f"must include at least one of {', '.join(_REVIEW_VERSIONS)}")

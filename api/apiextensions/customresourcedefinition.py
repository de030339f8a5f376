"""CustomResourceDefinition: a kind that users bring, its names, its versions and their schemas.

What a definition may hold takes the machinery that serves it to tell (schemas are compiled, rules in CEL are
type-checked): the API server checks that in `apiserver.crd.definition`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from api.admissionregistration import webhooks
from api.columns import CREATED_AT
from api.meta import KindCondition, ObjectMeta
from api.resource import Resource, keep_all_but_status
from api.schema import Int32, Int64, JSONValue, Scalar, Struct, always, field, wire

CLEANUP_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
"""Put on a definition that is being deleted, until none of its objects is left."""


class ExternalDocumentation(Struct):
    """Where more is said."""

    description: Annotated[str, wire(1)] = ""
    url: Annotated[str, wire(2)] = ""


class ValidationRule(Struct):
    """A rule in CEL that values at this place of the schema must keep."""

    rule: Annotated[str, wire(1, required=True)] = always("")
    message: Annotated[str, wire(2)] = ""
    message_expression: Annotated[str, wire(3)] = ""
    reason: Annotated[str | None, wire(4)] = None
    field_path: Annotated[str, wire(5)] = ""
    optional_old_self: Annotated[bool | None, wire(6)] = None


SchemaOrBool = Annotated["JSONSchemaProps | bool", Scalar("schema-or-bool")]
SchemaOrArray = Annotated["JSONSchemaProps | list[JSONSchemaProps]", Scalar("schema-or-array")]
SchemaOrStrings = Annotated["JSONSchemaProps | list[str]", Scalar("schema-or-strings")]


class JSONSchemaProps(Struct):
    """A schema of OpenAPI 3.0, with what Kubernetes says beyond it."""

    id: Annotated[str, wire(1)] = ""
    schema: Annotated[str, wire(2)] = field(default="", name="$schema")
    ref: Annotated[str | None, wire(3)] = field(default=None, name="$ref")
    description: Annotated[str, wire(4)] = ""
    type: Annotated[str, wire(5)] = ""
    format: Annotated[str, wire(6)] = ""
    title: Annotated[str, wire(7)] = ""
    default: Annotated[JSONValue, wire(8)] = None
    maximum: Annotated[float | None, wire(9)] = None
    exclusive_maximum: Annotated[bool, wire(10)] = False
    minimum: Annotated[float | None, wire(11)] = None
    exclusive_minimum: Annotated[bool, wire(12)] = False
    max_length: Annotated[Int64 | None, wire(13)] = None
    min_length: Annotated[Int64 | None, wire(14)] = None
    pattern: Annotated[str, wire(15)] = ""
    max_items: Annotated[Int64 | None, wire(16)] = None
    min_items: Annotated[Int64 | None, wire(17)] = None
    unique_items: Annotated[bool, wire(18)] = False
    multiple_of: Annotated[float | None, wire(19)] = None
    enum: Annotated[list[JSONValue], wire(20, list_type="atomic")] = []
    max_properties: Annotated[Int64 | None, wire(21)] = None
    min_properties: Annotated[Int64 | None, wire(22)] = None
    required: Annotated[list[str], wire(23, list_type="atomic")] = []
    items: Annotated[SchemaOrArray | None, wire(24)] = None
    all_of: Annotated[list[JSONSchemaProps], wire(25, list_type="atomic")] = []
    one_of: Annotated[list[JSONSchemaProps], wire(26, list_type="atomic")] = []
    any_of: Annotated[list[JSONSchemaProps], wire(27, list_type="atomic")] = []
    not_: Annotated[JSONSchemaProps | None, wire(28)] = field(default=None, name="not")
    properties: Annotated[dict[str, JSONSchemaProps], wire(29)] = {}
    additional_properties: Annotated[SchemaOrBool | None, wire(30)] = None
    pattern_properties: Annotated[dict[str, JSONSchemaProps], wire(31)] = {}
    dependencies: Annotated[dict[str, SchemaOrStrings], wire(32)] = {}
    additional_items: Annotated[SchemaOrBool | None, wire(33)] = None
    definitions: Annotated[dict[str, JSONSchemaProps], wire(34)] = {}
    external_docs: Annotated[ExternalDocumentation | None, wire(35)] = None
    example: Annotated[JSONValue, wire(36)] = None
    nullable: Annotated[bool, wire(37)] = False
    preserve_unknown_fields: Annotated[bool | None, wire(38)] = field(
        default=None, name="x-kubernetes-preserve-unknown-fields"
    )
    embedded_resource: Annotated[bool, wire(39)] = field(default=False, name="x-kubernetes-embedded-resource")
    int_or_string: Annotated[bool, wire(40)] = field(default=False, name="x-kubernetes-int-or-string")
    list_map_keys: Annotated[list[str], wire(41, list_type="atomic")] = field(
        default_factory=list, name="x-kubernetes-list-map-keys"
    )
    list_type: Annotated[str | None, wire(42)] = field(default=None, name="x-kubernetes-list-type")
    map_type: Annotated[str | None, wire(43)] = field(default=None, name="x-kubernetes-map-type")
    validations: Annotated[list[ValidationRule], wire(44, merge_key="rule", list_type="map", list_keys=("rule",))] = (
        field(default_factory=list, name="x-kubernetes-validations")
    )


class CustomResourceValidation(Struct):
    """What objects of a version may hold."""

    open_api_v3_schema: Annotated[JSONSchemaProps | None, wire(1)] = field(default=None, name="openAPIV3Schema")


class CustomResourceSubresourceStatus(Struct):
    """The status is written on its own."""


class CustomResourceSubresourceScale(Struct):
    """Where the numbers of the scale subresource stand, as simple JSON paths such as `.spec.replicas`."""

    spec_replicas_path: Annotated[str, wire(1, required=True)] = always("")
    status_replicas_path: Annotated[str, wire(2, required=True)] = always("")
    label_selector_path: Annotated[str | None, wire(3)] = None


class CustomResourceSubresources(Struct):
    """What is served beside the objects."""

    status: Annotated[CustomResourceSubresourceStatus | None, wire(1)] = None
    scale: Annotated[CustomResourceSubresourceScale | None, wire(2)] = None


class CustomResourceColumnDefinition(Struct):
    """A column of `kubectl get`."""

    name: Annotated[str, wire(1, required=True)] = always("")
    type: Annotated[str, wire(2, required=True)] = always("")
    format: Annotated[str, wire(3)] = ""
    description: Annotated[str, wire(4)] = ""
    priority: Annotated[Int32, wire(5)] = 0
    json_path: Annotated[str, wire(6, required=True)] = field(default_factory=str, name="jsonPath")


class SelectableField(Struct):
    """A field by which objects can be selected."""

    json_path: Annotated[str, wire(1, required=True)] = field(default_factory=str, name="jsonPath")


class CustomResourceDefinitionVersion(Struct):
    """One version of the kind."""

    name: Annotated[str, wire(1, required=True)] = always("")
    served: Annotated[bool, wire(2, required=True)] = always(False)
    storage: Annotated[bool, wire(3, required=True)] = always(False)
    deprecated: Annotated[bool, wire(7)] = False
    deprecation_warning: Annotated[str | None, wire(8)] = None
    schema: Annotated[CustomResourceValidation | None, wire(4)] = None
    subresources: Annotated[CustomResourceSubresources | None, wire(5)] = None
    additional_printer_columns: Annotated[list[CustomResourceColumnDefinition], wire(6, list_type="atomic")] = []
    selectable_fields: Annotated[list[SelectableField], wire(9, list_type="atomic")] = []


class ServiceReference(webhooks.ServiceReference):
    """A Service of the cluster behind which a webhook listens."""


class WebhookClientConfig(webhooks.WebhookClientConfig):
    """Where a webhook is, and whom to trust there; either a URL or a Service is set."""

    service: Annotated[ServiceReference | None, wire(1)] = None


class WebhookConversion(Struct):
    """Who converts objects between versions, and how it wants to be asked."""

    client_config: Annotated[WebhookClientConfig | None, wire(2)] = None
    conversion_review_versions: Annotated[list[str], wire(3, required=True, list_type="atomic")] = field(
        default_factory=list
    )


class CustomResourceConversion(Struct):
    """How objects get from one version to another."""

    strategy: Annotated[str, wire(1, required=True)] = always("")
    webhook: Annotated[WebhookConversion | None, wire(2)] = None


class CustomResourceDefinitionNames(Struct):
    """What the kind is called."""

    plural: Annotated[str, wire(1, required=True)] = always("")
    singular: Annotated[str, wire(2)] = ""
    short_names: Annotated[list[str], wire(3, list_type="atomic")] = []
    kind: Annotated[str, wire(4, required=True)] = always("")
    list_kind: Annotated[str, wire(5)] = ""
    categories: Annotated[list[str], wire(6, list_type="atomic")] = []


class CustomResourceDefinitionSpec(Struct):
    """The kind that is wanted."""

    group: Annotated[str, wire(1, required=True)] = always("")
    names: Annotated[CustomResourceDefinitionNames, wire(3, required=True)] = field(
        default_factory=CustomResourceDefinitionNames
    )
    scope: Annotated[str, wire(4, required=True)] = always("")
    versions: Annotated[list[CustomResourceDefinitionVersion], wire(7, required=True, list_type="atomic")] = field(
        default_factory=list
    )
    conversion: Annotated[CustomResourceConversion | None, wire(9)] = None
    preserve_unknown_fields: Annotated[bool, wire(10)] = False


class CustomResourceDefinitionCondition(KindCondition):
    """Whether the names are free (NamesAccepted), and the kind is served (Established) or going (Terminating)."""


class CustomResourceDefinitionStatus(Struct):
    """How far the kind is served."""

    conditions: Annotated[list[CustomResourceDefinitionCondition], wire(1, list_type="map", list_keys=("type",))] = []
    accepted_names: Annotated[CustomResourceDefinitionNames, wire(2)] = field(
        default_factory=CustomResourceDefinitionNames
    )
    stored_versions: Annotated[list[str], wire(3, list_type="atomic")] = []


class CustomResourceDefinition(Struct):
    """A kind that users bring: once it is established, its objects can be stored."""

    api_version: str = always("apiextensions.k8s.io/v1")
    kind: str = always("CustomResourceDefinition")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[CustomResourceDefinitionSpec, wire(2, required=True)] = field(
        default_factory=CustomResourceDefinitionSpec
    )
    status: Annotated[CustomResourceDefinitionStatus, wire(3)] = field(default_factory=CustomResourceDefinitionStatus)


def default(crd: CustomResourceDefinition) -> None:
    """Derive the names that are left out, and convert by changing nothing but the version."""
    names = crd.spec.names
    names.singular = names.singular or names.kind.lower()
    if names.kind:
        names.list_kind = names.list_kind or f"{names.kind}List"
    if crd.spec.conversion is None:
        crd.spec.conversion = CustomResourceConversion(strategy="None")
    webhook = crd.spec.conversion.webhook
    service = webhook.client_config.service if webhook is not None and webhook.client_config is not None else None
    if service is not None and service.port is None:
        service.port = 443


def prepare_for_create(crd: CustomResourceDefinition) -> None:
    """Begin without a status, but for the version in which objects will be stored."""
    crd.status = CustomResourceDefinitionStatus()
    _note_storage(crd)


def prepare_for_update(new: CustomResourceDefinition, old: CustomResourceDefinition) -> None:
    """Keep the status; another storage version is noted in it, since objects may lie in either from now on."""
    new.status = old.status
    _note_storage(new)


def _note_storage(crd: CustomResourceDefinition) -> None:
    for version in crd.spec.versions:
        if version.storage and version.name not in crd.status.stored_versions:
            crd.status.stored_versions = [*crd.status.stored_versions, version.name]


def prepare_for_delete(crd: CustomResourceDefinition) -> None:
    """Stay until the objects are gone."""
    if not crd.metadata.deletion_timestamp and CLEANUP_FINALIZER not in crd.metadata.finalizers:
        crd.metadata.finalizers = [*crd.metadata.finalizers, CLEANUP_FINALIZER]


def is_condition(crd: Any, type: str) -> bool:
    """Whether a condition is True."""
    return any(each.type == type and each.status == "True" for each in crd.status.conditions)


RESOURCE: Final[Resource[CustomResourceDefinition]] = Resource(
    type=CustomResourceDefinition,
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
    short_names=("crd", "crds"),
    categories=("api-extensions",),
    subresources=("status",),
    default=default,
    prepare_for_create=prepare_for_create,
    prepare_for_update=prepare_for_update,
    prepare_for_delete=prepare_for_delete,
    prepare_for_status_update=keep_all_but_status,
    generation=True,
    columns=(CREATED_AT,),
)

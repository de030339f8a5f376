"""CustomResourceDefinition: a kind that users bring, its names, its versions and their schemas.

What a definition may hold takes the machinery that serves it to tell (schemas are compiled, rules in CEL are
type-checked): the API server checks that in `apiserver.crd.definition` and `apiserver.crd.schema_check`.
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
    """Where more is said.

    Attributes:
        description: What is to be found there.
        url: Where it is to be found, as a URL.
    """

    description: Annotated[str, wire(1)] = ""
    url: Annotated[str, wire(2)] = ""


class ValidationRule(Struct):
    """A rule in CEL that values at this place of the schema must keep.

    Attributes:
        rule: An expression that must be true, with self as the value, and oldSelf as the former one, which makes the
            rule hold for updates only.
        message: What is said if it is false; by default the rule itself. Required if the rule has line breaks.
        message_expression: An expression that makes the message; where it fails or gives nothing, message is used.
        reason: The cause that is reported: FieldValueInvalid (the default), FieldValueForbidden, FieldValueRequired or
            FieldValueDuplicate.
        field_path: The field below this one that is blamed, such as .spec.replicas; by default the one with the rule.
        optional_old_self: Whether a rule with oldSelf also holds at creation, with oldSelf as an optional value; false
            by default.
    """

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
    """A schema of OpenAPI 3.0, with what Kubernetes says beyond it. It must be structural: every field has a type.

    Attributes:
        id: Must be empty in a structural schema.
        schema: The JSON Schema dialect; without effect.
        ref: Not allowed: schemas cannot refer to others.
        description: What the field means; `kubectl explain` shows it.
        type: What the value is: object, array, string, integer, number or boolean. Required, but where intOrString or
            preserving unknown fields stands in its place.
        format: A format of a string or number that is checked, such as date-time, byte, int32, ipv4 or uuid; unknown
            ones are ignored.
        title: A short name of the field.
        default: The value that a missing field gets, on writes and when older objects are read; must itself be valid.
        maximum: The largest number allowed.
        exclusive_maximum: Whether maximum itself is excluded; false by default.
        minimum: The smallest number allowed.
        exclusive_minimum: Whether minimum itself is excluded; false by default.
        max_length: How many characters a string has at most.
        min_length: How many characters a string has at least.
        pattern: A regular expression (RE2) that a string must match somewhere.
        max_items: How many items a list has at most.
        min_items: How many items a list has at least.
        unique_items: Must not be true: list types say what has to be unique.
        multiple_of: The number must be a multiple of this one.
        enum: The values that are allowed.
        max_properties: How many fields an object has at most.
        min_properties: How many fields an object has at least.
        required: Fields that must be there.
        items: The schema of a list's items; one for all of them.
        all_of: Schemas that must all be met; they may not say types, defaults or descriptions.
        one_of: Schemas of which exactly one must be met.
        any_of: Schemas of which at least one must be met.
        not_: A schema that must not be met.
        properties: The fields of an object. Others are dropped when it is written.
        additional_properties: The schema of all values of a map; not together with properties.
        pattern_properties: Not allowed in a structural schema.
        dependencies: Not allowed in a structural schema.
        additional_items: Not allowed in a structural schema.
        definitions: Not allowed in a structural schema.
        external_docs: Where more is said.
        example: An example value; without effect.
        nullable: Whether null is allowed; false by default, and then null is dropped where there is a default.
        preserve_unknown_fields: Whether fields that the schema does not know are kept; true is the only value. By
            default they are dropped.
        embedded_resource: Whether the value is an object with apiVersion, kind and metadata, which are then checked as
            such; false by default.
        int_or_string: Whether an integer or a string is allowed, in place of a type; false by default.
        list_map_keys: The fields that together identify an item of a list of type map.
        list_type: How lists are merged by server-side apply: atomic (as a whole, the default), set (each value once) or
            map (by listMapKeys).
        map_type: How objects are merged by server-side apply: granular (field by field, the default) or atomic (as a
            whole).
        validations: Rules in CEL that the value must keep.
    """

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
    """What objects of a version may hold.

    Attributes:
        open_api_v3_schema: The schema; required, and structural.
    """

    open_api_v3_schema: Annotated[JSONSchemaProps | None, wire(1)] = field(default=None, name="openAPIV3Schema")


class CustomResourceSubresourceStatus(Struct):
    """The subresource status: writes to it change nothing but .status, and others leave that alone."""


class CustomResourceSubresourceScale(Struct):
    """The subresource scale: where its numbers stand in an object, as simple JSON paths such as `.spec.replicas`.

    Attributes:
        spec_replicas_path: Where the wanted number is; below .spec.
        status_replicas_path: Where the present number is; below .status. 0 where it is missing.
        label_selector_path: Where the pods' labels are, as a selector in text; below .status or .spec. An autoscaler
            needs it.
    """

    spec_replicas_path: Annotated[str, wire(1, required=True)] = always("")
    status_replicas_path: Annotated[str, wire(2, required=True)] = always("")
    label_selector_path: Annotated[str | None, wire(3)] = None


class CustomResourceSubresources(Struct):
    """What is served beside the objects themselves.

    Attributes:
        status: Serve the subresource status, by the mere presence of this; by default there is none.
        scale: Serve the subresource scale; by default there is none.
    """

    status: Annotated[CustomResourceSubresourceStatus | None, wire(1)] = None
    scale: Annotated[CustomResourceSubresourceScale | None, wire(2)] = None


class CustomResourceColumnDefinition(Struct):
    """A column of `kubectl get`.

    Attributes:
        name: The column's head.
        type: What it holds: integer, number, string, boolean or date (shown as an age).
        format: A format of the type that clients know, such as name, which marks the object's name.
        description: What the column says, for people.
        priority: When the column is shown: 0 (the default) always, anything above only with -o wide.
        json_path: Where the value is in an object, such as .spec.replicas.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    type: Annotated[str, wire(2, required=True)] = always("")
    format: Annotated[str, wire(3)] = ""
    description: Annotated[str, wire(4)] = ""
    priority: Annotated[Int32, wire(5)] = 0
    json_path: Annotated[str, wire(6, required=True)] = field(default_factory=str, name="jsonPath")


class SelectableField(Struct):
    """A field by which objects can be selected (--field-selector).

    Attributes:
        json_path: Where it is, such as .spec.color: a string, boolean or integer, in no list. Not in metadata.
    """

    json_path: Annotated[str, wire(1, required=True)] = field(default_factory=str, name="jsonPath")


class CustomResourceDefinitionVersion(Struct):
    """One version of a custom kind.

    Attributes:
        name: The version, such as v1 or v1beta1.
        served: Whether it can be used.
        storage: Whether objects are stored in it; exactly one version is.
        deprecated: Whether requests for it are answered with a warning; false by default.
        deprecation_warning: What that warning says; by default that the version is deprecated, and which is newer.
        schema: What objects may hold; required.
        subresources: What is served beside the objects; by default nothing.
        additional_printer_columns: Columns of `kubectl get` after the name; by default the age.
        selectable_fields: Fields to select by, besides metadata.name and metadata.namespace; at most 8.
    """

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
    """Where a webhook is, and whom to trust there; either a URL or a Service is set.

    Attributes:
        service: A Service of the cluster; its name NAME.NAMESPACE.svc must be in the certificate.
    """

    service: Annotated[ServiceReference | None, wire(1)] = None


class WebhookConversion(Struct):
    """Which webhook converts objects between versions.

    Attributes:
        client_config: Where it is, and whom to trust there.
        conversion_review_versions: Versions of ConversionReview that it understands, the preferred one first, such as
            v1. The first that the server knows is used.
    """

    client_config: Annotated[WebhookClientConfig | None, wire(2)] = None
    conversion_review_versions: Annotated[list[str], wire(3, required=True, list_type="atomic")] = field(
        default_factory=list
    )


class CustomResourceConversion(Struct):
    """How objects get from one version to another.

    Attributes:
        strategy: None changes only apiVersion; Webhook asks one.
        webhook: Which one; required with Webhook, and not allowed otherwise.
    """

    strategy: Annotated[str, wire(1, required=True)] = always("")
    webhook: Annotated[WebhookConversion | None, wire(2)] = None


class CustomResourceDefinitionNames(Struct):
    """What a custom kind is called.

    Attributes:
        plural: As it is in URLs: lower case, such as crontabs. The definition's name is PLURAL.GROUP.
        singular: In lower case; by default kind in lower case.
        short_names: Short forms for kubectl, such as ct.
        kind: In CamelCase and singular, such as CronTab.
        list_kind: The kind of lists; by default kind and List.
        categories: Groups of kinds that it belongs to, such as all, for `kubectl get all`.
    """

    plural: Annotated[str, wire(1, required=True)] = always("")
    singular: Annotated[str, wire(2)] = ""
    short_names: Annotated[list[str], wire(3, list_type="atomic")] = []
    kind: Annotated[str, wire(4, required=True)] = always("")
    list_kind: Annotated[str, wire(5)] = ""
    categories: Annotated[list[str], wire(6, list_type="atomic")] = []


class CustomResourceDefinitionSpec(Struct):
    """A custom kind: its group, names, scope and versions.

    Attributes:
        group: Its API group, such as stable.example.com; served at /apis/GROUP.
        names: What it is called.
        scope: Namespaced or Cluster: whether objects are in namespaces. Never changes.
        versions: Its versions, at least one.
        conversion: How objects get from one version to another; by default only apiVersion changes.
        preserve_unknown_fields: Must be false: fields are kept where the schema says so.
    """

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
    """How far a custom kind is served.

    Attributes:
        conditions: NamesAccepted (nobody else has the names), Established (it is served), Terminating,
            NonStructuralSchema and others.
        accepted_names: The names under which it is served.
        stored_versions: All versions in which objects may lie in the store; one that is here cannot be taken out of the
            spec.
    """

    conditions: Annotated[list[CustomResourceDefinitionCondition], wire(1, list_type="map", list_keys=("type",))] = []
    accepted_names: Annotated[CustomResourceDefinitionNames, wire(2)] = field(
        default_factory=CustomResourceDefinitionNames
    )
    stored_versions: Annotated[list[str], wire(3, list_type="atomic")] = []


class CustomResourceDefinition(Struct):
    """A kind of objects that users bring: once it is established, such objects can be stored."""

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

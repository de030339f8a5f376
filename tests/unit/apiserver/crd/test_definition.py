"""What a definition may hold besides its schemas, and what an update of it is still allowed."""

import base64
from typing import Any

import pytest

from api import serde
from api.apiextensions import customresourcedefinition as crds
from apiserver.crd import definition

LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string"},
        "n": {"type": "number"},
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
WEBHOOK = {"clientConfig": {"url": "https://w.example.com"}, "conversionReviewVersions": ["v1"]}


def version(name: str = "v1", **fields: Any) -> dict[str, Any]:
    made = {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": SCHEMA}}
    return {**made, **fields}


def crd(*, stored: tuple[str, ...] = ("v1",), established: bool = False, **spec: Any) -> crds.CustomResourceDefinition:
    names = {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList", **spec.pop("names", {})}
    conditions = [{"type": "Established", "status": "True"}] if established else []
    value = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "ships.sea.example.com"},
        "spec": {"group": "sea.example.com", "scope": "Cluster", "names": names, "versions": [version()], **spec},
        "status": {"storedVersions": list(stored), "conditions": conditions},
    }
    return serde.decode_value(value, crds.RESOURCE).object


def told(new: crds.CustomResourceDefinition, old: crds.CustomResourceDefinition | None = None) -> list[str]:
    return [f"{error.path}: {error.message}" for error in definition.find_errors(new, old)]


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"scope": ""}, ["spec.scope: Required value"]),
        ({"scope": "Ship"}, ['spec.scope: Unsupported value: "Ship": supported values: "Cluster", "Namespaced"']),
        ({"names": {"shortNames": ["S"]}}, [f'spec.names.shortNames[0]: Invalid value: "S": {LABEL}']),
        (
            {"names": {"listKind": "Ship"}},
            ['spec.names.listKind: Invalid value: "Ship": kind and listKind may not be the same'],
        ),
        (
            {"versions": [version(deprecationWarning="old")]},
            ['spec.versions[0].deprecationWarning: Invalid value: "old": can only be set for deprecated versions'],
        ),
        (
            {"versions": [version(deprecated=True, deprecationWarning="a\u0007")]},
            [
                'spec.versions[0].deprecationWarning: Invalid value: "a\\a": must only contain printable UTF-8 '
                "characters; non-printable character found at index 1"
            ],
        ),
        ({"versions": [version(schema={})]}, ["spec.versions[0].schema.openAPIV3Schema: Required value"]),
    ],
)
def test_names_and_versions_are_told_in_these_words(spec: dict[str, Any], wanted: list[str]) -> None:
    assert told(crd(**spec)) == wanted


@pytest.mark.parametrize(
    ("conversion", "wanted"),
    [
        ({"strategy": "None", "webhook": WEBHOOK}, ["webhookClientConfig: Forbidden: {}", "conversionReviewVersions: Forbidden: {}"]),  # noqa: E501
        (
            {"strategy": "Webhook"},
            [
                "webhookClientConfig: Required value: required when strategy is set to Webhook",
                "conversionReviewVersions: Required value",
            ],
        ),
        (
            {"strategy": "Webhook", "webhook": {**WEBHOOK, "conversionReviewVersions": ["v2", "v2", "0"]}},
            [
                'conversionReviewVersions[1]: Invalid value: "v2": duplicate version',
                f'conversionReviewVersions[2]: Invalid value: "0": {LABEL}',
                'conversionReviewVersions: Invalid value: []string{"v2", "v2", "0"}: '
                "must include at least one of v1, v1beta1",
            ],
        ),
        (
            {"strategy": "Webhook", "webhook": {**WEBHOOK, "clientConfig": {"service": {"name": "s", "namespace": "n", "port": 0}}}},  # noqa: E501
            [
                "webhookClientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, "
                "inclusive"
            ],
        ),
    ],
)  # fmt: skip
def test_conversion_is_told_of_under_the_names_of_its_first_version(conversion: Any, wanted: list[str]) -> None:
    why = "should not be set when strategy is not set to Webhook"
    assert told(crd(conversion=conversion)) == [f"spec.conversion.{each.replace('{}', why)}" for each in wanted]


def test_an_update_may_keep_review_versions_that_nobody_knows() -> None:
    def of(*versions: str) -> crds.CustomResourceDefinition:
        return crd(
            conversion={"strategy": "Webhook", "webhook": {**WEBHOOK, "conversionReviewVersions": list(versions)}}
        )  # noqa: E501

    assert told(of("v9"), of("v8")) == []
    assert len(told(of("v9"), of("v1"))) == 1


def test_certificates_that_are_none_are_only_refused_where_they_would_end_what_is_served() -> None:
    def of(bundle: bytes, *, established: bool = True) -> crds.CustomResourceDefinition:
        client = {**WEBHOOK["clientConfig"], "caBundle": base64.b64encode(bundle).decode()}  # type: ignore[dict-item]
        conversion = {"strategy": "Webhook", "webhook": {**WEBHOOK, "clientConfig": client}}
        return crd(conversion=conversion, established=established)

    assert told(of(b"none")) == told(of(b"none"), of(b"other")) == told(of(b"none"), of(b"", established=False)) == []
    (error,) = told(of(b"none"), of(b""))
    assert error.startswith("spec.conversion.webhookClientConfig.caBundle: Invalid value: ")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (".a", None),
        (".labels.x", None),
        (".n", "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."),  # noqa: E501
        ("a", "is an invalid path: expected [ or . but got: a"),
        (".b", "is an invalid path: does not refer to a valid field"),
        (".labels['x']", "is an invalid path: array notation is not allowed"),
        (".", "is an invalid path: unexpected end of JSON path"),
        (".metadata.name", "must not point to fields in metadata"),
    ],
)  # fmt: skip
def test_selectable_fields_are_fields_of_the_schema(path: str, wanted: str | None) -> None:
    found = told(crd(versions=[version(selectableFields=[{"jsonPath": path}])]))
    assert found == (
        [] if wanted is None else [f'spec.selectableFields[0].jsonPath: Invalid value: "{path}": {wanted}']
    )


def test_fields_that_all_versions_select_by_need_a_schema_that_all_have() -> None:
    fields = [{"jsonPath": ".a"}]
    other = {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    versions = [version(selectableFields=fields), version("v2", selectableFields=fields, schema=other)]
    why = "may only be set when validations.schema is included"
    assert told(crd(versions=versions)) == [f'spec.selectableFields: Invalid value: "": {why}']


def test_too_many_selectable_fields_may_stay() -> None:
    def of(count: int) -> crds.CustomResourceDefinition:
        schema = {"type": "object", "properties": {f"f{i}": {"type": "string"} for i in range(count)}}
        fields = [{"jsonPath": f".f{i}"} for i in range(count)]
        return crd(versions=[version(selectableFields=fields, schema={"openAPIV3Schema": schema})])

    assert told(of(9)) == ["spec.selectableFields: Too many: 9: must have at most 8 items"]
    assert told(of(9), of(9)) == []
    assert len(told(of(10), of(9))) == 1


def test_columns_and_paths_of_scale_begin_with_a_dot() -> None:
    column = {"name": "A", "type": "word", "jsonPath": "a"}
    scale = {"specReplicasPath": "spec.n", "statusReplicasPath": ".n", "labelSelectorPath": ".n"}
    assert told(crd(versions=[version(subresources={"scale": scale}, additionalPrinterColumns=[column, {"name": ""}])])) == [  # noqa: E501
        'spec.subresources.scale.specReplicasPath: Invalid value: "spec.n": must be a simple json path starting with .',
        'spec.subresources.scale.statusReplicasPath: Invalid value: ".n": should be a json path under .status',
        'spec.subresources.scale.labelSelectorPath: Invalid value: ".n": should be a json path under either .spec or .status',  # noqa: E501
        'spec.additionalPrinterColumns[0].type: Invalid value: "word": must be one of boolean,date,integer,number,string',  # noqa: E501
        'spec.additionalPrinterColumns[0].JSONPath: Invalid value: "a": must be a simple json path starting with .',
        "spec.additionalPrinterColumns[1].name: Required value",
        "spec.additionalPrinterColumns[1].type: Required value: must be one of boolean,date,integer,number,string",
        "spec.additionalPrinterColumns[1].JSONPath: Required value",
    ]  # fmt: skip


def test_a_version_in_which_objects_may_lie_stays() -> None:
    found = told(crd(stored=("v0", "v1")), crd(stored=("v0", "v1")))
    assert [each.partition(";")[0] for each in found] == [
        'status.storedVersions[0]: Invalid value: "v0": missing from spec.versions'
    ]
    assert told(crd(stored=("v0",)))[0] == (
        'status.storedVersions: Invalid value: []string{"v0"}: must have the storage version v1'
    )


def test_a_version_may_stay_without_a_schema_where_nothing_would_be_pruned_by_it() -> None:
    old = crd(versions=[version(schema={})])
    path = "spec.versions[0].schema.openAPIV3Schema"
    assert told(crd(versions=[version(schema={})]), old) == [
        f"{path}: Required value: because otherwise all fields are pruned"
    ]
    assert told(crd(versions=[version(schema={}, served=False)]), old) == []


def test_a_group_that_is_no_domain_is_told_of_once() -> None:
    (only,) = [error for error in told(crd(group="Bad")) if error.startswith("spec.group")]
    assert "a lowercase RFC 1123 subdomain must consist of" in only
    assert [error for error in told(crd(group="sea")) if error.startswith("spec.group")] == [
        'spec.group: Invalid value: "sea": should be a domain with at least one dot'
    ]


def test_the_first_versions_name_is_also_told_of_where_it_once_stood() -> None:
    paths = [error.partition(": ")[0] for error in told(crd(versions=[version("V"), version()]))]
    assert {"spec.versions[0].name", "spec.version"} <= {*paths}
    assert "spec.version" not in [error.partition(": ")[0] for error in told(crd(versions=[version(), version("V")]))]


def test_no_versions_are_shown_as_the_list_that_they_would_be() -> None:
    why = "Invalid value: []apiextensions.CustomResourceDefinitionVersion{}: must have exactly one version marked as"
    assert f"spec.versions: {why} storage version" in told(crd(versions=[]))


@pytest.mark.parametrize(
    ("finalizer", "wanted"),
    [
        ("a", ["prefer a domain-qualified finalizer name to avoid accidental conflicts"]),
        ("a.b", ["prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts"]),
        ("a.b/c", []),
        ("foregroundDeletion", []),
    ],
)
def test_finalizers_that_are_nobodys_domain_are_warned_of(finalizer: str, wanted: list[str]) -> None:
    new, old = (serde.decode_value({"metadata": {"name": "x"}}, crds.RESOURCE).object for _ in "no")
    new.metadata.finalizers = [finalizer]
    begin = f'metadata.finalizers: "{finalizer}": '
    end = " with other finalizer writers"
    assert list(definition.finalizer_warnings(new, old)) == [f"{begin}{text}{end}" for text in wanted]
    assert list(definition.finalizer_warnings(new, None)) == [f"{begin}{text}{end}" for text in wanted]
    assert list(definition.finalizer_warnings(new, new)) == []

"""Kinds that users define, through the whole API: from a definition to its objects, and to their end."""

import asyncio
import base64
import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.custom import ScalePaths
from api.errors import (
    ApiError,
    BadRequest,
    Conflict,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)  # noqa: E501
from apiserver import discovery, openapi
from apiserver.app import Api
from apiserver.crd.kinds import _check_scale
from apiserver.registry.failures import Redefined
from apiserver.registry.selection import select
from apiserver.request import RequestInfo
from store.local import LocalStore
from tests.plain_client import PlainClient
from tests.webhook_server import WebhookServer, serving

GROUP = "stable.example.com"
CRDS = {"group": "apiextensions.k8s.io", "plural": "customresourcedefinitions", "namespace": ""}
MERGE = "application/merge-patch+json"

SPEC = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": "^x"},
        "replicas": {"type": "integer", "default": 1, "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    },
}


def definition(spec: dict[str, Any] | None = None, **names: Any) -> dict[str, Any]:
    plural = names.get("plural", "crontabs")
    schema = {
        "type": "object",
        "properties": {
            "spec": spec or SPEC,
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
        },
    }
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": [{"name": "Cron", "type": "string", "jsonPath": ".spec.cronSpec"}],
        "selectableFields": [{"jsonPath": ".spec.cronSpec"}] if spec is None else [],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": "CronTab", "shortNames": ["ct"], **names},
            "versions": [version],
        },
    }


def cron_tab(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec}


class Client(PlainClient):
    """Asks about CronTabs."""

    async def ask(
        self,
        verb: str,
        body: Any = None,
        *,
        name: str = "",
        group: str = GROUP,
        version: str = "v1",
        plural: str = "crontabs",
        namespace: str = "default",
        subresource: str = "",
        **options: str,
    ) -> Any:
        return await self.call(
            RequestInfo(verb, "", group, version, plural, subresource, namespace, name), body, **options
        )

    async def define(self, crd: dict[str, Any]) -> dict[str, Any]:
        await self.ask("create", crd, **CRDS)
        return await self.settled(crd)

    async def settled(self, crd: dict[str, Any], is_established: bool = True) -> dict[str, Any]:
        async with asyncio.timeout(5):
            while True:
                found: dict[str, Any] = await self.ask("get", name=crd["metadata"]["name"], **CRDS)
                conditions = {each["type"]: each["status"] for each in found["status"].get("conditions", ())}
                if conditions.get("Established") == str(is_established):
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
async def client(api: Api) -> Client:
    return Client(api)


async def test_a_kind_is_served_as_soon_as_it_is_established(client: Client) -> None:
    crd = await client.define(definition())
    assert crd["status"]["acceptedNames"]["listKind"] == "CronTabList"
    assert crd["status"]["storedVersions"] == ["v1"]
    made = await client.ask("create", cron_tab(cronSpec="x", unknown=1))
    assert made["spec"] == {"cronSpec": "x", "replicas": 1}
    assert made["metadata"]["generation"] == 1
    assert client.warnings == ['unknown field "spec.unknown"']
    assert [each["metadata"]["name"] for each in await client.ask("list")] == ["a"]
    assert await client.ask("list", fieldSelector="spec.cronSpec=y") == []


async def test_unknown_fields_are_refused_when_asked_to(client: Client) -> None:
    await client.define(definition())
    with pytest.raises(ApiError, match='strict decoding error: unknown field "spec.unknown"'):
        await client.ask("create", cron_tab(cronSpec="x", unknown=1), fieldValidation="Strict")


async def test_a_custom_objects_faults_are_told_metadata_first_then_by_name(client: Client) -> None:
    await client.define(definition())
    told = cron_tab(cronSpec="x", zz=1, aa=1) | {"extra": 1}
    told["metadata"]["nope"] = 1
    await client.ask("create", told)
    unknown = ("metadata.nope", "extra", "spec.aa", "spec.zz")
    assert client.warnings == [f'unknown field "{path}"' for path in unknown]


async def test_metadata_of_an_embedded_object_keeps_what_metadata_has(client: Client) -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await client.define(definition({"type": "object", "properties": {"template": embedded}}))
    owner = {"apiVersion": "v1", "kind": "O", "name": "o", "uid": "u"}
    metadata = {"name": "t", "nope": 1, "ownerReferences": [{**owner, "more": 1}]}
    template = {"apiVersion": "v1", "kind": "T", "metadata": metadata, "spec": {"kept": 1}}
    made = await client.ask("create", cron_tab(template=template))
    kept = {"name": "t", "ownerReferences": [owner]}
    assert made["spec"]["template"] == {"apiVersion": "v1", "kind": "T", "metadata": kept, "spec": {"kept": 1}}
    unknown = ("spec.template.metadata.nope", "spec.template.metadata.ownerReferences[0].more")
    assert client.warnings == [f'unknown field "{path}"' for path in unknown]


async def test_metadata_of_an_embedded_object_that_is_none_cannot_be_read(client: Client) -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    await client.define(definition({"type": "object", "properties": {"template": embedded}}))
    template = {"apiVersion": "v1", "kind": "T", "metadata": {"labels": {"a": 1}}}
    with pytest.raises(BadRequest, match=r"spec.template.metadata: Invalid value: .*ObjectMeta.labels of type string"):
        await client.ask("create", cron_tab(template=template))


async def test_whole_numbers_of_custom_objects_have_no_fraction(client: Client) -> None:
    number = {"type": "object", "properties": {"ratio": {"type": "number"}}, "x-kubernetes-validations": [
        {"rule": "self.ratio < 10.5"}
    ]}  # fmt: skip
    await client.define(definition(number))
    made = [json.dumps((await client.ask("create", cron_tab(f"c{at}", ratio=ratio)))["spec"]) for at, ratio in
            enumerate((1.0, 1.5, 3))]  # fmt: skip
    assert made == ['{"ratio": 1}', '{"ratio": 1.5}', '{"ratio": 3}']


async def test_an_object_that_breaks_its_schema_is_refused_with_every_cause(client: Client) -> None:
    await client.define(definition())
    with pytest.raises(Invalid) as caught:
        await client.ask("create", cron_tab(replicas=-1, tags=["a", "a"]))
    assert {cause.field for cause in caught.value.causes} >= {"spec.cronSpec", "spec.replicas", "spec.tags[1]"}
    assert caught.value.message.startswith('CronTab.stable.example.com "a" is invalid: [')


async def test_rules_are_not_asked_about_what_is_no_such_object(client: Client) -> None:
    left_out = '<nil>: Invalid value: "null": some validation rules were not checked because the object was invalid; '
    ruled = {**SPEC, "x-kubernetes-validations": [{"rule": "false", "message": "never"}]}
    await client.define(definition(ruled))
    with pytest.raises(Invalid) as refused:
        await client.ask("create", cron_tab(replicas=1))
    assert left_out in refused.value.message
    assert "never" not in refused.value.message
    with pytest.raises(Invalid) as refused:
        await client.ask("create", cron_tab(cronSpec="x", replicas=-1))
    assert left_out not in refused.value.message
    assert "never" in refused.value.message


async def test_status_and_scale_are_written_apart(client: Client) -> None:
    await client.define(definition())
    await client.ask("create", {**cron_tab(cronSpec="x"), "status": {"replicas": 9}})
    changed = await client.ask(
        "patch",
        {"spec": {"replicas": 5}, "status": {"replicas": 2}},
        name="a",
        subresource="status",
        content_type=MERGE,
    )
    assert (changed["spec"]["replicas"], changed["status"], changed["metadata"]["generation"]) == (
        1,
        {"replicas": 2},
        1,
    )
    scaled = await client.ask("patch", {"spec": {"replicas": 3}}, name="a", subresource="scale", content_type=MERGE)
    assert (scaled["spec"], scaled["status"]["replicas"]) == ({"replicas": 3}, 2)
    assert (await client.ask("get", name="a"))["metadata"]["generation"] == 2
    scaled["metadata"].pop("resourceVersion")
    assert (await client.ask("update", scaled, name="a", subresource="scale"))["spec"] == {"replicas": 3}


async def test_a_scale_that_cannot_be_is_told_of_as_the_objects_fault(client: Client) -> None:
    await client.define(definition())
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(Invalid) as refused:
        await client.ask("patch", {"spec": {"replicas": -1}}, name="a", subresource="scale", content_type=MERGE)
    why = ".spec.replicas: Invalid value: -1: should be a non-negative integer"
    assert refused.value.message.startswith(f'CronTab.{GROUP} "a" is invalid: ')
    assert why in refused.value.message


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("x", "x is of the type string, expected map[string]interface{}"),
        (
            [{"b": 1, "a": None}, True],
            "[map[a:<nil> b:1] true] is of the type []interface {}, expected map[string]interface{}",
        ),
        ({"replicas": 1.5}, "1.5 is of the type float64, expected int64"),
        ({"replicas": "x"}, "x is of the type string, expected int64"),
        ({"replicas": 2**63}, "9.223372036854776e+18 is of the type float64, expected int64"),
        ({"replicas": None}, "<nil> is of the type <nil>, expected int64"),
        ({"replicas": 1}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_is_no_count_where_a_scale_looks_for_one_is_named(spec: Any, why: str | None) -> None:
    errors = list(
        _check_scale({"spec": spec}, ScalePaths(("spec", "replicas"), ("status", "replicas"), ("status", "s")))
    )
    told = [f"{error.path}: {error.message}" for error in errors]
    assert told == ([f".spec.replicas: Invalid value: 0: .spec.replicas accessor error: {why}"] if why else [])


def test_a_selector_of_a_scale_is_a_text() -> None:
    errors = _check_scale({"status": {"s": 1}}, ScalePaths(("spec", "n"), ("status", "n"), ("status", "s")))
    assert [f"{error.path}: {error.message}" for error in errors] == [
        '.status.s: Invalid value: "": .status.s accessor error: 1 is of the type int64, expected string'
    ]


async def test_where_the_name_is_missing_rules_are_not_asked(client: Client) -> None:
    await client.define(definition({**SPEC, "x-kubernetes-validations": [{"rule": "self.cronSpec != 'x'"}]}))
    nameless = {**cron_tab(cronSpec="x"), "metadata": {}}
    with pytest.raises(Invalid) as refused:
        await client.ask("create", nameless)
    assert "some validation rules were not checked" in refused.value.message
    assert "failed rule" not in refused.value.message


async def test_what_says_no_replicas_has_no_scale_until_they_are_set(client: Client) -> None:
    spec = {key: value for key, value in SPEC.items() if key != "required"}
    spec = {**spec, "properties": {**spec["properties"], "replicas": {"type": "integer"}}}
    await client.define(definition(spec))
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(InternalError, match='the spec replicas field ".spec.replicas" does not exist'):
        await client.ask("get", name="a", subresource="scale")
    scale = {"metadata": {"name": "a"}, "spec": {"replicas": 2}}
    assert (await client.ask("update", scale, name="a", subresource="scale"))["spec"] == {"replicas": 2}


async def test_an_object_of_a_custom_kind_is_replaced_only_from_a_version(client: Client) -> None:
    await client.define(definition())
    made = await client.ask("create", cron_tab(cronSpec="x"))
    told = 'crontabs.stable.example.com "a" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified'
    for version in (None, "0"):
        body = {**made, "metadata": {"name": "a", "resourceVersion": version}}
        for subresource in ("", "status"):
            with pytest.raises(Invalid, match=f"{told} for an update"):
                await client.ask("update", body, name="a", subresource=subresource)
    await client.ask("update", made, name="a")


async def test_a_strategic_merge_patch_is_not_taken(client: Client) -> None:
    await client.define(definition())
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(UnsupportedMediaType):
        await client.ask("patch", {}, name="a", content_type="application/strategic-merge-patch+json")


async def test_rules_judge_objects_and_changes(client: Client) -> None:
    spec = copy.deepcopy(SPEC)
    spec["x-kubernetes-validations"] = [
        {"rule": "self.replicas < 10", "messageExpression": "'%d are too many'.format([self.replicas])"},
        {
            "rule": "self.cronSpec == oldSelf.cronSpec",
            "message": "is immutable",
            "reason": "FieldValueForbidden",
            "fieldPath": ".cronSpec",
        },
    ]
    await client.define(definition(spec))
    with pytest.raises(Invalid, match='spec: Invalid value: "object": 10 are too many'):
        await client.ask("create", cron_tab(cronSpec="x", replicas=10))
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(Invalid, match="spec.cronSpec: Forbidden: is immutable"):
        await client.ask("patch", {"spec": {"cronSpec": "xy"}}, name="a", content_type=MERGE)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.nope == 1", "undefined field 'nope'"),
        ("self.replicas ==", "Syntax error"),
        ("slf.replicas == 1", "undeclared reference to 'slf'"),
        ("self.tags.all(a, self.tags.all(b, a != b))", "estimated rule cost exceeds budget"),
    ],
)
async def test_a_rule_that_cannot_work_is_refused(client: Client, rule: str, why: str) -> None:
    spec = {**SPEC, "x-kubernetes-validations": [{"rule": rule}]}
    with pytest.raises(Invalid, match=why):
        await client.ask("create", definition(spec), **CRDS)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"properties": {"a": {}}}, r"properties\[a\].type: Required value"),
        ({"properties": {"a": {"type": "string", "default": 1}}}, r"properties\[a\].default: Invalid value"),
        ({"properties": {"a": {"type": "string", "pattern": "(?=x)"}}}, "must be a valid regular expression"),
        ({"properties": {"a": {"type": "array"}}}, r"properties\[a\].items: Required value"),
        ({"anyOf": [{"properties": {"b": {"minimum": 1}}}]}, "because it is defined in"),
        ({"anyOf": [{"type": "object"}]}, r"anyOf\[0\].type: Forbidden: must be empty to be structural"),
    ],
)
async def test_a_schema_that_is_not_structural_is_refused(client: Client, change: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        await client.ask("create", definition({"type": "object", **change}), **CRDS)


async def test_a_taken_name_is_not_accepted(client: Client) -> None:
    await client.define(definition())
    other = definition(plural="others", kind="Other", shortNames=["ct"])
    await client.ask("create", other, **CRDS)
    status = (await client.settled(other, is_established=False))["status"]
    assert status["conditions"][0]["reason"] == "ShortNamesConflict"
    with pytest.raises(NotFound):
        await client.ask("list", plural="others")


async def is_gone(client: Client, **what: str) -> None:
    """Wait until there is no such object, or no such kind."""
    async with asyncio.timeout(5):
        while True:
            try:
                await client.ask("get" if what else "list", **what)
            except NotFound:
                return
            await asyncio.sleep(0.01)


async def test_a_deleted_definition_takes_its_objects_along(client: Client) -> None:
    crd = await client.define(definition())
    await client.ask("create", cron_tab(cronSpec="x"))
    marked = await client.ask("delete", name=crd["metadata"]["name"], **CRDS)
    assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await is_gone(client, name=crd["metadata"]["name"], **CRDS)
    await is_gone(client)  # the server learns by a watch that its definition went
    await client.define(definition())
    assert await client.ask("list") == []


async def test_while_a_definition_goes_nothing_new_is_made(client: Client) -> None:
    crd = await client.define(definition())
    held = cron_tab(cronSpec="x")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await client.ask("create", held)
    await client.ask("delete", name=crd["metadata"]["name"], **CRDS)
    await asyncio.sleep(0.05)
    with pytest.raises(MethodNotAllowed) as refused:
        await client.ask("create", cron_tab("b", cronSpec="x"))
    assert str(refused.value) == "create not allowed while custom resource definition is terminating"
    listed = discovery.resource_list(GROUP, "v1", client.api.registries.kinds.listed)
    assert listed is not None and listed["resources"][0]["verbs"] == [
        "delete",
        "deletecollection",
        "get",
        "list",
        "watch",
    ]
    await client.ask("patch", {"metadata": {"finalizers": None}}, name="a", content_type=MERGE)


async def test_another_schema_takes_effect_on_what_is_stored(client: Client) -> None:
    crd = await client.define(definition())
    await client.ask("create", cron_tab(cronSpec="x"))
    spec = copy.deepcopy(SPEC)
    spec["properties"]["image"] = {"type": "string", "default": "busybox"}
    del spec["properties"]["replicas"]
    changed = {"spec": definition(spec)["spec"]}
    await client.ask("patch", changed, content_type=MERGE, name=crd["metadata"]["name"], **CRDS)
    async with asyncio.timeout(5):
        while "image" not in (found := await client.ask("get", name="a"))["spec"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert found["spec"] == {"cronSpec": "x", "image": "busybox"}


async def test_discovery_and_openapi_tell_of_a_custom_kind(client: Client) -> None:
    kinds = client.api.registries.kinds
    before = openapi.index(kinds).hash
    await client.define(definition())
    told = discovery.resource_list(GROUP, "v1", kinds.all)
    assert told is not None
    assert [each["name"] for each in told["resources"]] == ["crontabs", "crontabs/status", "crontabs/scale"]
    assert openapi.index(kinds).hash != before
    document = json.loads(openapi.documents(kinds)[f"apis/{GROUP}/v1"].json)
    schema = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert schema["properties"]["spec"]["required"] == ["cronSpec"]
    listed = document["components"]["schemas"]["com.example.stable.v1.CronTabList"]
    for each in (schema, listed):
        assert each["x-kubernetes-selectable-fields"] == [{"fieldPath": "spec.cronSpec"}]
        assert "default" not in each["properties"]["metadata"]
    assert listed["properties"]["items"]["items"] == {"$ref": "#/components/schemas/com.example.stable.v1.CronTab"}
    at = f"/apis/{GROUP}/v1/namespaces/{{namespace}}/crontabs"
    collection, one = document["paths"][at], document["paths"][f"{at}/{{name}}"]
    assert "application/strategic-merge-patch+json" not in one["patch"]["requestBody"]["content"]
    assert set(one["patch"]["responses"]) == {"200", "401"}
    assert [each["name"] for each in one["get"]["parameters"]] == ["resourceVersion"]
    plain = ["application/json", "application/yaml"]
    assert list(collection["post"]["requestBody"]["content"]) == plain
    assert list(collection["get"]["responses"]["200"]["content"]) == plain
    assert "requestBody" not in collection["delete"] and "dryRun" not in str(collection["delete"]["parameters"])
    scale, status = document["paths"][f"{at}/{{name}}/scale"]["get"], document["paths"][f"{at}/{{name}}/status"]["get"]
    own = {"group": GROUP, "version": "v1", "kind": "CronTab"}
    assert scale["x-kubernetes-group-version-kind"] == status["x-kubernetes-group-version-kind"] == own
    shown = [each["responses"]["200"]["content"]["application/json"]["schema"]["$ref"] for each in (scale, status)]
    assert [ref.rpartition("/")[2] for ref in shown] == [
        "io.k8s.api.autoscaling.v1.Scale",
        "com.example.stable.v1.CronTab",
    ]
    old = json.loads(openapi.document_v2(kinds).json)["definitions"]["com.example.stable.v1.CronTab"]
    assert old["x-kubernetes-selectable-fields"] == schema["x-kubernetes-selectable-fields"]


async def test_who_owned_parts_of_what_has_become_one_thing_owns_it(client: Client) -> None:
    numbers = dict.fromkeys("ab", {"type": "integer"})
    spec: dict[str, Any] = {"type": "object", "properties": {"pair": {"type": "object", "properties": numbers}}}
    crd = await client.define(definition(spec))
    apply = {"content_type": "application/apply-patch+yaml", "name": "a"}
    body = {key: cron_tab()[key] for key in ("apiVersion", "kind", "metadata")}
    await client.ask("patch", {**body, "spec": {"pair": {"a": 1}}}, fieldManager="one", **apply)
    spec["properties"]["pair"]["x-kubernetes-map-type"] = "atomic"
    name = crd["metadata"]["name"]
    await client.ask("patch", {"spec": definition(spec)["spec"]}, name=name, content_type=MERGE, **CRDS)
    await asyncio.sleep(0.1)
    two = {**body, "spec": {"pair": {"b": 2}}}
    with pytest.raises(Conflict, match=r'conflict with "one": \.spec\.pair$'):
        await client.ask("patch", two, fieldManager="two", **apply)
    taken = await client.ask("patch", two, fieldManager="two", force="true", **apply)
    assert taken["spec"] == {"pair": {"b": 2}}
    owned = [(each["manager"], each["fieldsV1"]) for each in taken["metadata"]["managedFields"]]
    assert owned == [("two", {"f:spec": {"f:pair": {}}})]


# --- versions -------------------------------------------------------------------------------------------------------


def two_versions(conversion: dict[str, Any]) -> dict[str, Any]:
    crd = definition()
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd["spec"]["versions"].append({"name": "v2", "served": True, "storage": False, "schema": anything})
    crd["spec"]["conversion"] = conversion
    return crd


async def test_a_kind_whose_webhook_cannot_be_known_is_not_served_until_it_can(client: Client) -> None:
    def converted(bundle: str) -> dict[str, Any]:
        told = {"url": "https://localhost:1/convert", "caBundle": base64.b64encode(bundle.encode()).decode()}
        return {"strategy": "Webhook", "webhook": {"clientConfig": told, "conversionReviewVersions": ["v1"]}}

    name = "crontabs.stable.example.com"

    async def established() -> tuple[str, str]:
        for _ in range(500):
            found = (await client.ask("get", name=name, **CRDS))["status"].get("conditions", [])
            for each in found:
                if each["type"] == "Established":
                    return each["status"], each["reason"]
            await asyncio.sleep(0.01)
        raise AssertionError("nothing is said of it")

    await client.ask("create", two_versions(converted("no certificate")), **CRDS)
    assert await established() == ("False", "InvalidCABundle")
    with pytest.raises(NotFound):
        await client.ask("list")
    mended = {"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": None}}}}}
    await client.ask("patch", mended, name=name, content_type=MERGE, **CRDS)
    async with asyncio.timeout(5):
        while await established() != ("True", "InitialNamesAccepted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    broken = {"spec": {"conversion": converted("no certificate")}}
    with pytest.raises(
        Invalid, match=r"caBundle: Invalid value: \[\]byte\{0x6e, .*\}: .* unable to parse bytes as PEM block"
    ):
        await client.ask("patch", broken, name=name, content_type=MERGE, **CRDS)


async def test_a_deprecated_version_warns_whoever_uses_it(client: Client) -> None:
    crd = two_versions({"strategy": "None"})
    crd["spec"]["versions"][1]["deprecated"] = True
    await client.define(crd)
    await client.ask("list", version="v2")
    assert client.warnings == ["stable.example.com/v2 CronTab is deprecated"]


async def test_without_a_converter_versions_differ_in_name_alone(client: Client) -> None:
    await client.define(two_versions({"strategy": "None"}))
    await client.ask("create", {**cron_tab(cronSpec="x"), "apiVersion": f"{GROUP}/v2"}, version="v2")
    assert (await client.ask("get", name="a"))["apiVersion"] == f"{GROUP}/v1"
    assert [each["apiVersion"] for each in await client.ask("list", version="v2")] == [f"{GROUP}/v2"]


async def test_an_update_that_changes_nothing_stores_an_object_in_the_version_that_is_stored_now(
    client: Client, store: LocalStore
) -> None:
    crd = two_versions({"strategy": "None"})
    await client.define(crd)
    await client.ask("create", cron_tab(cronSpec="x"))
    first = await client.ask("get", name="a")
    assert (await client.ask("update", first, name="a"))["metadata"] == first["metadata"]

    async def raw() -> bytes:
        (kv,) = (await store.range(f"/registry/{GROUP}/crontabs/default/a".encode())).kvs
        return kv.value

    found = await client.ask("get", name=crd["metadata"]["name"], **CRDS)
    for version in found["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    await client.ask("update", found, name=crd["metadata"]["name"], **CRDS)
    async with asyncio.timeout(5):
        while True:  # until the new definition is in force
            await client.ask("update", await client.ask("get", name="a"), name="a")
            if (await raw()).startswith(f'{{"apiVersion":"{GROUP}/v2"'.encode()):
                break
            await asyncio.sleep(0.01)
    rewritten = await client.ask("get", name="a")
    assert rewritten["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    again = await client.ask("update", rewritten, name="a")
    assert again["metadata"]["resourceVersion"] == rewritten["metadata"]["resourceVersion"]


async def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Move spec.cronSpec to spec.schedule and back."""
    wanted = request["desiredAPIVersion"]
    converted = []
    for obj in request["objects"]:
        old, new = ("cronSpec", "schedule") if wanted.endswith("v2") else ("schedule", "cronSpec")
        spec = {new if key == old else key: value for key, value in obj["spec"].items()}
        converted.append({**obj, "apiVersion": wanted, "spec": spec})
    return {"result": {"status": "Success"}, "convertedObjects": converted}


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with serving(tmp_path) as server:
        server.on("convert", convert)
        yield server


def by_webhook(url: str, ca: str = "") -> dict[str, Any]:
    config = {"url": url, "caBundle": ca} if ca else {"url": url}
    return {"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}}


async def test_a_webhook_converts_what_is_read_and_written(client: Client, webhook: WebhookServer) -> None:
    url = f"https://127.0.0.1:{webhook.port}/convert"
    await client.define(two_versions(by_webhook(url, webhook.ca)))
    await client.ask("create", cron_tab(cronSpec="x"))
    assert (await client.ask("get", name="a", version="v2"))["spec"] == {"schedule": "x", "replicas": 1}
    made = {"apiVersion": f"{GROUP}/v2", "kind": "CronTab", "metadata": {"name": "b"}, "spec": {"schedule": "xb"}}
    shown = await client.ask("create", made, version="v2")
    assert shown["spec"] == {"schedule": "xb", "replicas": 1}, "as it is read: with the defaults of the version stored"
    assert (await client.ask("get", name="b"))["spec"] == {"cronSpec": "xb", "replicas": 1}
    listed = await client.ask("list", version="v2")
    assert [each["spec"]["schedule"] for each in listed] == ["x", "xb"]
    assert webhook.asked["convert"][0]["desiredAPIVersion"] == f"{GROUP}/v2"
    assert len(webhook.connections) < len(webhook.asked["convert"])


async def test_a_webhook_that_is_not_there_fails_only_what_needs_it(client: Client) -> None:
    await client.define(two_versions(by_webhook("https://127.0.0.1:1/convert")))
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(ApiError, match="conversion webhook for stable.example.com/v1, Kind=CronTab failed"):
        await client.ask("get", name="a", version="v2")
    assert (await client.ask("get", name="a"))["spec"]["cronSpec"] == "x"
    with pytest.raises(ApiError, match="conversion webhook"):
        async with asyncio.timeout(3):
            await client.ask("list", version="v2")


async def test_an_object_of_a_custom_kind_must_say_what_it_is(client: Client) -> None:
    await client.define(definition())
    bare: dict[str, Any] = {"metadata": {"name": "a"}}
    missing = (
        "the object provided is unrecognized (must be of type CronTab): Object 'Kind' is missing in"
        ' \'{"metadata": {"name": "a"}}\' ({"metadata": {"name": "a"}})'
    )
    for told, message in (
        (bare, missing),
        ({**bare, "kind": "CronTab"}, "the API version in the data () does not match the expected API version"),
        (
            {**cron_tab(), "kind": "Foo"},
            'Foo.stable.example.com "a" is invalid: kind: Invalid value: "Foo": must be CronTab',
        ),
    ):
        with pytest.raises(ApiError) as caught:
            await client.ask("create", told)
        assert caught.value.message.startswith(message)
    await client.ask("create", cron_tab(cronSpec="x"))
    for patch, message in (
        ({"kind": None}, "patch: Invalid value: "),
        ({"kind": "Foo"}, 'kind: Invalid value: "Foo": must be CronTab'),
        ({"apiVersion": None}, 'apiVersion: Invalid value: "": must be stable.example.com/v1'),
    ):
        with pytest.raises(Invalid) as refused:
            await client.ask("patch", patch, name="a", content_type=MERGE)
        assert message in refused.value.message


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"kind": "CronTab"}, "Specified patch version: , expected: stable.example.com/v1"),
        (
            {"apiVersion": f"{GROUP}/v1"},
            "failed to create typed patch object (/; stable.example.com/v1, Kind=): "
            "no corresponding type for stable.example.com/v1, Kind=",
        ),
    ],
)
async def test_what_is_applied_must_say_what_it_is(client: Client, told: dict[str, Any], message: str) -> None:
    await client.define(definition())
    with pytest.raises(ApiError) as caught:
        await client.ask("patch", told, name="a", content_type="application/apply-patch+yaml", fieldManager="m")
    assert caught.value.message.endswith(message)


@pytest.mark.parametrize(
    "field",
    [
        {"type": "array", "items": {"type": "string"}, "x-kubernetes-preserve-unknown-fields": True},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^x$"},
        {
            "x-kubernetes-int-or-string": True,
            "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"minimum": 1}, {"pattern": "%"}],
        },
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
         "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "array", "items": {"type": "string"}}},
        {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''", "message": ""}]},
    ],
)  # fmt: skip
async def test_what_generators_write_into_schemas_is_served(client: Client, field: dict[str, Any]) -> None:
    await client.define(definition({"type": "object", "properties": {"x": field}}))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"anyOf": [{"description": "x"}]}, r"anyOf\[0\].description: Forbidden: must be empty to be structural"),
        ({"not": {"properties": {"metadata": {}}}}, "must not be specified in a nested context"),
        ({"allOf": [{"x-kubernetes-int-or-string": True}]}, "must be false to be structural"),
        (
            {"properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": True,
                                  "additionalProperties": True, "properties": {"kind": {"type": "integer"}}}}},
            r"(?s)must not be used if x-kubernetes-embedded-resource is set.*kind\].type: Invalid value.*be string",
        ),
        (
            {"properties": {"l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                                  "items": {"type": "object", "required": ["k"],
                                            "properties": {"k": {"type": "string", "nullable": True}}}}}},
            "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
        ),
        ({"properties": {"l": {"type": "array", "items": {}}}}, "items.type: Required value: .* specified array items"),
        (
            {"properties": {"o": {"type": "object", "not": {"properties": {"x": {}}}}}},
            r"\[o\].properties\[x\]: Required value: because it is defined in .*\[o\].not.properties\[x\]",
        ),
        (
            {"properties": {"l": {"type": "object"}}, "anyOf": [{"properties": {"l": {"items": {"minLength": 1}}}}]},
            r"properties\[l\].items: Required value: because it is defined in .*anyOf\[0\].properties\[l\].items",
        ),
    ],
)  # fmt: skip
async def test_what_is_not_structural_is_told_in_detail(client: Client, change: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        await client.ask("create", definition({"type": "object", **change}), **CRDS)


async def test_the_root_says_nothing_of_fields_together_where_the_status_is_checked_by_itself(client: Client) -> None:
    crd = definition()
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["oneOf"] = [{"required": ["spec"]}]
    with pytest.raises(
        Invalid, match="fields are allowed at the root of the schema if the status subresource is enabled"
    ):
        await client.ask("create", crd, **CRDS)


async def test_items_are_told_apart_by_the_defaults_of_their_keys(client: Client) -> None:
    item = {
        "type": "object",
        "required": ["port"],
        "properties": {
            "port": {"type": "integer"},
            "via": {"type": "string", "default": "TCP"},
            "to": {"type": "integer"},
        },
    }
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "via"],
        "items": item,
    }
    await client.define(definition({"type": "object", "properties": {"ports": ports}}))
    how = {"name": "a", "content_type": "application/apply-patch+yaml"}
    await client.ask("patch", cron_tab(ports=[{"port": 1, "to": 1}]), fieldManager="one", **how)
    with pytest.raises(ApiError, match=r'conflict with "one": .spec.ports\[port=1,via="TCP"\].to'):
        await client.ask("patch", cron_tab(ports=[{"port": 1, "to": 2}]), fieldManager="two", **how)
    both = cron_tab(ports=[{"port": 1, "to": 1}, {"port": 1, "via": "UDP"}])
    found = await client.ask("patch", both, fieldManager="two", **how)
    assert found["spec"]["ports"] == [{"port": 1, "to": 1, "via": "TCP"}, {"port": 1, "via": "UDP"}]


async def test_lists_bear_the_kind_that_the_definition_gives_them(client: Client) -> None:
    await client.define(definition(kind="Tab", listKind="Tabulation"))
    (kind,) = (each for each in client.api.registries.kinds.custom if each.plural == "crontabs")
    assert kind.lists == "Tabulation"


async def test_an_object_without_namespaces_loses_the_one_it_says(client: Client) -> None:
    crd = definition()
    crd["spec"]["scope"] = "Cluster"
    await client.define(crd)
    told = cron_tab(cronSpec="x")
    told["metadata"]["namespace"] = "elsewhere"
    made = await client.ask("create", told, namespace="")
    assert "namespace" not in made["metadata"]


async def test_a_deprecated_version_says_which_one_is_newer(client: Client) -> None:
    crd = two_versions({"strategy": "None"})
    crd["spec"]["versions"][0]["deprecated"] = True
    await client.define(crd)
    await client.ask("list", version="v1")
    assert client.warnings == ["stable.example.com/v1 CronTab is deprecated; use stable.example.com/v2 CronTab"]


async def test_a_custom_kinds_scale_takes_no_strategic_merge_patch(client: Client) -> None:
    await client.define(definition())
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(UnsupportedMediaType):
        await client.ask(
            "patch", {"spec": {"replicas": 2}}, name="a", subresource="scale",
            content_type="application/strategic-merge-patch+json",
        )  # fmt: skip


async def test_defaults_say_nothing_of_embedded_metadata_but_what_metadata_has(client: Client) -> None:
    known = {"name": {"type": "string", "default": "Bar"}, "unknown": {"type": "string", "default": "u"}}
    head = {"apiVersion": {"type": "string", "default": "v1"}, "kind": {"type": "string", "default": "Foo"}}
    fields = {**head, "metadata": {"type": "object", "properties": known}}
    inner = {"type": "object", "x-kubernetes-embedded-resource": True}
    whole = {"apiVersion": "v1", "kind": "Foo", "metadata": {"name": "Bar", "unknown": "u"}}
    spec = {
        "type": "object",
        "properties": {
            "fields": {**inner, "properties": fields},
            "whole": {**inner, "properties": {"spec": {"type": "object"}}, "default": whole},
            "list": {"type": "array", "items": {**inner, "properties": fields}},
        },
    }
    await client.define(definition(spec))
    made = await client.ask("create", cron_tab(fields={"metadata": {}}, list=[{"metadata": {}}]))
    right = {"apiVersion": "v1", "kind": "Foo", "metadata": {"name": "Bar"}}
    assert made["spec"] == {"fields": right, "list": [right], "whole": right}


def with_defaults(conversion: dict[str, Any]) -> dict[str, Any]:
    """Two versions, each of which fills in what the other does not; the first is stored."""
    crd = two_versions(conversion)
    for version in crd["spec"]["versions"]:
        flags = {each: {"type": "string", **({"default": "yes"} if each == version["name"] else {})} for each in
                 ("v1", "v2")}  # fmt: skip
        spec = {"type": "object", "properties": flags}
        version.pop("selectableFields", None)
        version.pop("additionalPrinterColumns", None)
        version["schema"]["openAPIV3Schema"] = {"type": "object", "properties": {"spec": spec}}
    return crd


async def test_what_is_read_has_the_defaults_of_the_version_in_which_it_lies_and_of_no_other(
    client: Client, store: LocalStore
) -> None:
    await client.define(with_defaults({"strategy": "None"}))
    await client.ask("create", cron_tab())
    assert (await client.ask("get", name="a", version="v2"))["spec"] == {"v1": "yes"}
    made = await client.ask("create", {**cron_tab("b"), "apiVersion": f"{GROUP}/v2"}, version="v2")
    assert made["spec"] == {"v1": "yes", "v2": "yes"}, "one by the request, the other by what is read back"
    (kv,) = (await store.range(f"/registry/{GROUP}/crontabs/default/b".encode())).kvs
    assert json.loads(kv.value)["spec"] == {"v2": "yes"}


async def test_an_object_that_lies_in_the_store_with_impossible_metadata_can_be_read_and_deleted(
    client: Client, store: LocalStore
) -> None:
    await client.define(definition())
    bad = cron_tab(cronSpec="x")
    bad["metadata"] |= {
        "namespace": "default", "annotations": {"a": 1}, "labels": {"invalid": "x y"}, "generation": None, "more": 1,
    }  # fmt: skip
    await store.put_if(f"/registry/{GROUP}/crontabs/default/a".encode(), json.dumps(bad).encode(), 0)
    found = (await client.ask("get", name="a"))["metadata"]
    assert "annotations" not in found
    assert "more" not in found
    assert (found["labels"], found["generation"]) == ({"invalid": "x y"}, 1)
    await client.ask("delete", name="a")
    with pytest.raises(NotFound):
        await client.ask("get", name="a")


async def test_a_redefinition_ends_watches_and_who_waited_for_the_former_cache_gets_the_new_one(
    client: Client, store: LocalStore
) -> None:
    crd = await client.define(definition())
    (former,) = (each for each in client.api.registries.kinds.custom if each.plural == "crontabs")
    cache = client.api.registries.of(former).cache
    watcher = await cache.watch(select(former), revision=0)
    waiting = asyncio.create_task(cache.wait_until(10**6))
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["more"] = {"type": "string"}
    await client.ask("update", crd, name=crd["metadata"]["name"], **CRDS)
    with pytest.raises(Redefined):
        await asyncio.wait_for(waiting, 2)
    assert isinstance(watcher.error, Redefined)
    with pytest.raises(Redefined):
        client.api.registries.of(former)
    assert await client.ask("list") == []


async def test_a_converter_that_takes_one_object_at_a_time_will_do(client: Client, webhook: WebhookServer) -> None:
    async def convert_one(request: dict[str, Any]) -> dict[str, Any]:
        return await convert({**request, "objects": request["objects"][:1]})

    webhook.on("convert", convert_one)
    await client.define(two_versions(by_webhook(f"https://127.0.0.1:{webhook.port}/convert", webhook.ca)))
    for name in "ab":
        await client.ask("create", cron_tab(name, cronSpec=f"x{name}"))
    assert [each["spec"]["schedule"] for each in await client.ask("list", version="v2")] == ["xa", "xb"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda obj: None, "returned 0 objects, expected 1"),
        (lambda obj: {**obj, "kind": "Foo"}, "returned invalid object at index 0: invalid kind (expected CronTab"),
        (lambda obj: {**obj, "apiVersion": "a/b"}, "returned invalid object at index 0: invalid groupVersion (exp"),
        (
            lambda obj: {**obj, "metadata": {**obj["metadata"], "uid": "x"}},
            "returned invalid object: must have the same UID: ",
        ),
        (
            lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {"a": 1}}},
            "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
        ),
        (
            lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {"a": "x y"}}},
            "returned invalid metadata: metadata.labels: Invalid value: ",
        ),
        (lambda obj: {**obj, "metadata": None}, "returned invalid metadata: missing metadata in converted object"),
    ],
)
async def test_what_is_wrong_with_a_converters_answer_is_told_in_upstreams_words(
    client: Client, webhook: WebhookServer, change: Any, told: str
) -> None:
    async def misconvert(request: dict[str, Any]) -> dict[str, Any]:
        answer = await convert(request)
        changed = [change(obj) for obj in answer["convertedObjects"]]
        return {**answer, "convertedObjects": [obj for obj in changed if obj is not None]}

    webhook.on("convert", misconvert)
    await client.define(two_versions(by_webhook(f"https://127.0.0.1:{webhook.port}/convert", webhook.ca)))
    await client.ask("create", cron_tab(cronSpec="x"))
    with pytest.raises(InternalError) as failed:
        await client.ask("get", name="a", version="v2")
    assert f"conversion webhook for stable.example.com/v1, Kind=CronTab {told}" in failed.value.message

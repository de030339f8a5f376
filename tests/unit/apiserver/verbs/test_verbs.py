from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from api import protobuf, serde
from api.apps import deployment as deployments
from api.batch import job as jobs
from api.coordination import lease as leases
from api.core import binding as bindings
from api.core import configmap as configmaps
from api.core import namespace as namespaces
from api.core import pod as pods
from api.core.binding import Binding
from api.core.references import ObjectReference
from api.custom import CustomObject
from api.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    Forbidden,
    Invalid,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    Timeout,
    UnsupportedMediaType,
)
from api.flowcontrol import prioritylevelconfiguration as levels
from api.meta import DeleteOptions, ObjectMeta, Preconditions
from api.patch.dispatch import APPLY_PATCH
from api.resource import ObjectKey
from apiserver.app import Api, InternalCredentials
from apiserver.request import Call, RequestInfo
from apiserver.verbs.writing import decode_body
from client.verbs import Client, PatchType
from tests import builders
from tests.local_transport import SUPERUSER

A = ObjectKey("default", "a")


def call(resource, verb, *, name="", namespace="default", body=b"", content_type="", subresource="", **options) -> Call:
    info = RequestInfo(verb, "", resource.group, resource.version, resource.plural, subresource, namespace, name)
    return Call(
        info,
        credentials=InternalCredentials(user=SUPERUSER),
        resource=resource,
        body=body,
        content_type=content_type,
        options=options,
    )


# --- create


async def test_a_kind_whose_generation_nobody_counts_keeps_what_the_client_says(api: Api) -> None:
    made = await api.handle(call(configmaps.RESOURCE, "create", body=b'{"metadata":{"name":"a","generation":5}}'))
    assert json.loads(made.json)["metadata"]["generation"] == 5
    with pytest.raises(Invalid, match="must be greater than or equal to 0"):
        await api.handle(call(configmaps.RESOURCE, "create", body=b'{"metadata":{"name":"b","generation":-1}}'))


async def test_a_created_object_has_what_the_server_gives(client: Client):
    made = await client.create(deployments.RESOURCE, builders.deployment("web"))
    assert made.metadata.uid and made.metadata.creation_timestamp and made.metadata.resource_version
    assert made.metadata.generation == 1
    assert made.spec.strategy.type == "RollingUpdate", "defaults are applied"


async def test_a_name_that_is_taken_is_refused(client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
        await client.create(configmaps.RESOURCE, builders.configmap("a"))


async def test_a_generated_name_begins_as_asked(client: Client):
    obj = builders.configmap("")
    obj.metadata.generate_name = "prefix-"
    names = {(await client.create(configmaps.RESOURCE, obj)).metadata.name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("prefix-") and len(name) == 12 for name in names)


async def test_what_is_made_of_a_generated_name_is_made_of_the_one_that_was_free(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    drawn = iter(["n-1", "n-1", "n-2"])
    monkeypatch.setattr("apiserver.registry.storage.names.generate", lambda base, random: next(drawn))
    asked = namespaces.Namespace(metadata=ObjectMeta(generate_name="n-"))
    for name in ("n-1", "n-2"):
        made = await client.create(namespaces.RESOURCE, asked)
        assert (made.metadata.name, made.metadata.labels) == (name, {"kubernetes.io/metadata.name": name})


async def test_an_invalid_object_is_refused_with_every_cause(client: Client):
    bad = builders.pod("BAD")
    bad.spec.containers[0].image = ""
    with pytest.raises(Invalid) as refused:
        await client.create(pods.RESOURCE, bad)
    assert {cause.field for cause in refused.value.causes} >= {"metadata.name", "spec.containers[0].image"}
    assert refused.value.message.startswith('Pod "BAD" is invalid: ')


async def test_a_namespace_that_does_not_exist_holds_nothing(client: Client):
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await client.create(configmaps.RESOURCE, builders.configmap("a", namespace="nowhere"))


async def test_a_dry_run_stores_nothing(api: Api, client: Client):
    body = b'{"metadata":{"name":"a"},"data":{"k":"v"}}'
    answer = await api.handle(call(configmaps.RESOURCE, "create", body=body, dryRun="All"))
    assert (answer.code, json.loads(answer.json)["data"]) == (201, {"k": "v"})
    with pytest.raises(NotFound):
        await client.get(configmaps.RESOURCE, A)


async def test_a_patch_that_makes_of_an_object_what_is_none_is_invalid(api: Api, client: Client):
    await client.create(deployments.RESOURCE, builders.deployment("a"))
    for patch, why in (
        ({"spec": {"replica": 1}}, 'strict decoding error: unknown field "spec.replica"'),
        ({"spec": {"replicas": "many"}}, "unrecognized type: int32"),
    ):
        request = call(deployments.RESOURCE, "patch", name="a", body=json.dumps(patch).encode(),
                       content_type=PatchType.STRATEGIC, fieldValidation="Strict")  # fmt: skip
        with pytest.raises(Invalid, match=why) as caught:
            await api.handle(request)
        assert [cause.field for cause in caught.value.causes] == ["patch"]


async def test_unknown_fields_are_refused_when_strict_and_told_of_otherwise(api: Api, client: Client):
    body = b'{"metadata":{"name":"a"},"dat":{"k":"v"}}'
    with pytest.raises(BadRequest, match='strict decoding error: unknown field "dat"'):
        await api.handle(call(configmaps.RESOURCE, "create", body=body, fieldValidation="Strict"))
    warned = call(configmaps.RESOURCE, "create", body=body)
    await api.handle(warned)
    assert warned.warnings == ['unknown field "dat"']


async def test_a_body_of_another_namespace_or_kind_is_refused(api: Api, client: Client):
    body = b'{"metadata":{"name":"a","namespace":"other"}}'
    with pytest.raises(BadRequest, match="the namespace of the provided object does not match"):
        await api.handle(call(configmaps.RESOURCE, "create", body=body))
    with pytest.raises(BadRequest, match="Secret"):
        await api.handle(call(configmaps.RESOURCE, "create", body=b'{"kind":"Secret","metadata":{"name":"a"}}'))


async def test_bodies_and_delete_options_may_be_protobuf(api: Api, client: Client):
    config = builders.configmap("a")
    body = protobuf.encode(config, "v1", "ConfigMap")
    await api.handle(call(configmaps.RESOURCE, "create", body=body, content_type=protobuf.MEDIA))
    assert (await client.get(configmaps.RESOURCE, A)).data == config.data
    options = protobuf.encode(DeleteOptions(preconditions=Preconditions(uid="another")), "v1", "DeleteOptions")
    with pytest.raises(Conflict, match="UID in the precondition .another."):
        await api.handle(call(configmaps.RESOURCE, "delete", name="a", body=options, content_type=protobuf.MEDIA))
    with pytest.raises(UnsupportedMediaType, match="application/vnd.kubernetes.protobuf"):
        await api.handle(call(configmaps.RESOURCE, "create", body=b"a", content_type="text/plain"))


def test_custom_kinds_have_no_protobuf_and_say_so():
    class Thing(CustomObject):
        pass

    things = replace(configmaps.RESOURCE, type=Thing, group="example.com", kind="Thing", plural="things")
    with pytest.raises(UnsupportedMediaType, match="include: application/json, application/yaml$"):
        decode_body(call(things, "create", body=b"k8s\0", content_type=protobuf.MEDIA), things)


async def test_an_object_over_the_limit_is_refused(api: Api, client: Client):
    obj = builders.pod("a")
    obj.spec.containers[0].command = ["x" * (1536 * 1024)]
    with pytest.raises(RequestEntityTooLarge):
        await client.create(pods.RESOURCE, obj)


async def test_an_object_that_is_too_large_only_with_its_managed_fields_goes_without(api: Api, client: Client):
    data = {f"a-key-that-is-rather-long-so-that-its-owner-weighs-as-much-{i}": "v" for i in range(13_000)}
    made = await client.create(configmaps.RESOURCE, builders.configmap("a", **data))
    assert made.metadata.managed_fields == []
    await client.create(configmaps.RESOURCE, builders.configmap("b"))
    body = msgspec.json.encode({"data": data})
    merge = "application/merge-patch+json"
    answer = await api.handle(call(configmaps.RESOURCE, "patch", name="b", body=body, content_type=merge))
    assert "managedFields" not in msgspec.json.decode(answer.json)["metadata"]


# --- update and patch


async def test_an_update_from_an_old_version_is_a_conflict(client: Client):
    first = await client.create(configmaps.RESOURCE, builders.configmap("a", k="1"))
    first.data = {"k": "2"}
    await client.update(configmaps.RESOURCE, first)
    with pytest.raises(Conflict, match="the object has been modified; please apply your changes to the latest version"):
        await client.update(configmaps.RESOURCE, first)


async def test_an_update_without_a_version_is_unconditional(client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a", k="1"))
    updated = await client.update(configmaps.RESOURCE, builders.configmap("a", k="2"))
    assert updated.data == {"k": "2"}


async def test_an_update_with_an_empty_list_of_managed_fields_has_them_forgotten(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","managedFields":[]},"data":{"k":"v"}}'
    answer = await api.handle(call(configmaps.RESOURCE, "update", name="a", body=body))
    assert "managedFields" not in msgspec.json.decode(answer.json)["metadata"]


async def test_an_update_that_changes_nothing_writes_nothing(client: Client):
    first = await client.create(configmaps.RESOURCE, builders.configmap("a", k="1"))
    again = await client.update(configmaps.RESOURCE, first)
    assert again.metadata.resource_version == first.metadata.resource_version


async def test_an_update_of_what_is_not_there_is_not_found(client: Client):
    with pytest.raises(NotFound):
        await client.update(configmaps.RESOURCE, builders.configmap("a"))


async def test_a_uid_in_an_update_must_be_the_objects(client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    other = builders.configmap("a")
    other.metadata.uid = "another"
    with pytest.raises(Conflict, match="UID in precondition"):
        await client.update(configmaps.RESOURCE, other)
    with pytest.raises(Invalid, match='metadata.uid: Invalid value: "another": field is immutable'):
        await client.patch(configmaps.RESOURCE, A, {"metadata": {"uid": "another"}})


async def test_generation_grows_with_spec_and_not_with_metadata_or_status(client: Client):
    await client.create(deployments.RESOURCE, builders.deployment("a"))
    labelled = await client.patch(deployments.RESOURCE, A, {"metadata": {"labels": {"x": "y"}}})
    observed = await client.patch(deployments.RESOURCE, A, {"status": {"replicas": 1}}, subresource="status")
    scaled = await client.patch(deployments.RESOURCE, A, {"spec": {"replicas": 3}})
    generations = [one.metadata.generation for one in (labelled, observed, scaled)]
    assert generations == [1, 1, 2]
    noted = {"metadata": {"annotations": {"x": "y"}}}
    told = await client.patch(deployments.RESOURCE, A, noted, subresource="status")
    assert told.metadata.generation == 2 and told.metadata.annotations == {"x": "y"}
    noted = {"metadata": {"annotations": {"x": "z"}}}
    assert (await client.patch(deployments.RESOURCE, A, noted)).metadata.generation == 3, "as upstream has it"


async def test_a_write_of_the_object_leaves_status_and_a_write_of_status_leaves_the_rest(client: Client):
    await client.create(deployments.RESOURCE, builders.deployment("a"))
    both = {"spec": {"replicas": 7}, "status": {"replicas": 7}}
    through_status = await client.patch(deployments.RESOURCE, A, both, subresource="status")
    assert (through_status.spec.replicas, through_status.status.replicas) == (1, 7)
    through_object = await client.patch(deployments.RESOURCE, A, {"spec": {"replicas": 2}, "status": {"replicas": 9}})
    assert (through_object.spec.replicas, through_object.status.replicas) == (2, 7)


async def test_a_write_of_status_takes_annotations_along_but_for_kinds_that_keep_their_metadata(client: Client):
    await client.create(deployments.RESOURCE, builders.deployment("a"))
    noted = {"metadata": {"annotations": {"noted": "yes"}, "labels": {"app": "b"}}}
    before = (await client.get(deployments.RESOURCE, A)).metadata.labels
    made = await client.patch(deployments.RESOURCE, A, noted, subresource="status")
    assert (made.metadata.annotations, made.metadata.labels) == ({"noted": "yes"}, before)
    level = ObjectKey("", "exempt")
    kept = await client.patch(levels.RESOURCE, level, noted, subresource="status")
    assert "noted" not in kept.metadata.annotations


async def test_the_three_kinds_of_patch(client: Client):
    await client.create(pods.RESOURCE, builders.pod("a"))
    json_patch = [{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]
    assert (await client.patch(pods.RESOURCE, A, json_patch, type=PatchType.JSON)).metadata.labels == {"x": "y"}
    merged = await client.patch(pods.RESOURCE, A, {"metadata": {"labels": {"x": None, "z": "1"}}})
    assert merged.metadata.labels == {"z": "1"}
    strategic = {"spec": {"containers": [{"name": "c", "image": "example.org/app:2"}]}}
    patched = await client.patch(pods.RESOURCE, A, strategic, type=PatchType.STRATEGIC)
    assert [c.image for c in patched.spec.containers] == ["example.org/app:2"]


async def test_a_patch_that_names_a_version_is_conditional_on_it(client: Client):
    made = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    version = made.metadata.resource_version
    await client.patch(configmaps.RESOURCE, A, {"metadata": {"resourceVersion": version}, "data": {"k": "1"}})
    with pytest.raises(Conflict):
        await client.patch(configmaps.RESOURCE, A, {"metadata": {"resourceVersion": version}, "data": {"k": "2"}})


# --- delete


async def test_a_deleted_object_is_gone_and_preconditions_hold(client: Client):
    made = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    with pytest.raises(Conflict):
        await client.delete(configmaps.RESOURCE, A, uid="another")
    with pytest.raises(Conflict):
        await client.delete(configmaps.RESOURCE, A, resource_version="1")
    await client.delete(configmaps.RESOURCE, A, uid=made.metadata.uid)
    with pytest.raises(NotFound):
        await client.delete(configmaps.RESOURCE, A)


async def test_taking_the_last_finalizer_off_deletes(client: Client):
    obj = builders.configmap("a")
    obj.metadata.finalizers = ["example.org/hold"]
    await client.create(configmaps.RESOURCE, obj)
    await client.delete(configmaps.RESOURCE, A)
    assert (await client.get(configmaps.RESOURCE, A)).metadata.deletion_timestamp
    with pytest.raises(Invalid, match="no new finalizers"):
        await client.patch(configmaps.RESOURCE, A, {"metadata": {"finalizers": ["example.org/hold", "example.org/x"]}})
    await client.patch(configmaps.RESOURCE, A, {"metadata": {"finalizers": None}})
    with pytest.raises(NotFound):
        await client.get(configmaps.RESOURCE, A)


async def test_a_bound_pod_stays_for_its_grace_period_and_goes_with_grace_0(client: Client):
    await client.create(pods.RESOURCE, builders.pod("a", node="n1", grace_s=30))
    await client.delete(pods.RESOURCE, A)
    dying = await client.get(pods.RESOURCE, A)
    assert dying.metadata.deletion_grace_period_seconds == 30
    await client.delete(pods.RESOURCE, A, grace_period_s=0)
    with pytest.raises(NotFound):
        await client.get(pods.RESOURCE, A)


async def test_a_namespace_goes_when_its_finalizer_is_taken_off(client: Client):
    key = ObjectKey("", "team")
    await client.create(namespaces.RESOURCE, builders.namespace("team"))
    await client.delete(namespaces.RESOURCE, key)
    terminating = await client.get(namespaces.RESOURCE, key)
    assert (terminating.status.phase, terminating.spec.finalizers) == ("Terminating", ["kubernetes"])
    with pytest.raises(Forbidden, match="because it is being terminated"):
        await client.create(configmaps.RESOURCE, builders.configmap("a", namespace="team"))
    terminating.spec.finalizers = []
    await client.update(namespaces.RESOURCE, terminating, subresource="finalize")
    with pytest.raises(NotFound):
        await client.get(namespaces.RESOURCE, key)


async def test_a_collection_is_deleted_by_selector(api: Api, client: Client):
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await client.create(configmaps.RESOURCE, builders.configmap(name, labels={"l": label}))
    answer = await api.handle(call(configmaps.RESOURCE, "deletecollection", labelSelector="l=x"))
    assert [stored.name for stored in answer.items] == ["a", "b"]
    left = await client.list(configmaps.RESOURCE, "default")
    assert [one.metadata.name for one in left.items] == ["c"]


async def test_a_collection_is_deleted_as_it_is_listed(api: Api, client: Client):
    for name in ("a", "b", "c"):
        await client.create(configmaps.RESOURCE, builders.configmap(name))
    with pytest.raises(Invalid, match="resourceVersionMatch"):
        await api.handle(call(configmaps.RESOURCE, "deletecollection", resourceVersionMatch="Exact"))
    with pytest.raises(BadRequest, match="invalid continue token"):
        await api.handle(call(configmaps.RESOURCE, "deletecollection", **{"continue": "?"}))
    answer = await api.handle(call(configmaps.RESOURCE, "deletecollection", limit="2"))
    assert [stored.name for stored in answer.items] == ["a", "b"] and answer.continue_token
    left = await client.list(configmaps.RESOURCE, "default")
    assert [one.metadata.name for one in left.items] == ["c"]


async def test_options_of_a_delete_in_a_query_are_read_as_lists_options_are(api: Api, client: Client):
    made = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    for wrong in ({"gracePeriodSeconds": ""}, {"gracePeriodSeconds": "1.5"}):
        with pytest.raises(BadRequest, match="strconv.ParseInt"):
            await api.handle(call(configmaps.RESOURCE, "delete", name="a", **wrong))
    with pytest.raises(Invalid, match="propagationPolicy: Unsupported value"):
        await api.handle(call(configmaps.RESOURCE, "delete", name="a", propagationPolicy=""))
    with pytest.raises(Conflict, match=r'on ConfigMap "a": the UID in the precondition \(x\) does not match the UID'):
        await api.handle(call(configmaps.RESOURCE, "delete", name="a", uid="x"))
    with pytest.raises(Conflict, match=r"the ResourceVersion in the precondition \(1\) does not match"):
        await api.handle(call(configmaps.RESOURCE, "delete", name="a", resourceVersion="1"))
    options = {"gracePeriodSeconds": "-1", "uid": made.metadata.uid}
    await api.handle(call(configmaps.RESOURCE, "delete", name="a", **options))
    assert not (await client.list(configmaps.RESOURCE, "default")).items


async def test_beside_a_body_a_delete_reads_no_options_from_the_query(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    asked = {"dryRun": "All", "gracePeriodSeconds": "x"}
    await api.handle(call(configmaps.RESOURCE, "delete", name="a", body=b'{"dryRun":["All"]}', **asked))
    assert (await client.list(configmaps.RESOURCE, "default")).items
    await api.handle(call(configmaps.RESOURCE, "delete", name="a", body=b"{}", **asked))
    assert not (await client.list(configmaps.RESOURCE, "default")).items


async def test_a_delete_takes_options_of_any_group_and_nothing_else(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    for body in (b"null", b'{"kind":"DeleteOptions","apiVersion":"apps/v1"}'):
        await api.handle(call(configmaps.RESOURCE, "delete", name="a", body=body))
        await client.create(configmaps.RESOURCE, builders.configmap("a"))
    with pytest.raises(BadRequest, match='no kind "ConfigMap" is registered for version "v1"'):
        await api.handle(call(configmaps.RESOURCE, "delete", name="a", body=b'{"kind":"ConfigMap","apiVersion":"v1"}'))


@pytest.mark.parametrize("asked", ["", "all", "None"])
async def test_a_dry_run_in_other_words_writes_nothing(api: Api, client: Client, asked: str):
    body = msgspec.json.encode(builders.configmap("a"))
    with pytest.raises(Invalid) as failure:
        await api.handle(call(configmaps.RESOURCE, "create", body=body, dryRun=asked))
    assert failure.value.causes[0].message == f'Unsupported value: []string{{"{asked}"}}: supported values: "All"'


async def test_a_manager_is_told_which_of_its_characters_cannot_be_shown(api: Api):
    with pytest.raises(Invalid, match=r"invalid character U\+000A \(at position 2\)"):
        await api.handle(call(configmaps.RESOURCE, "create", body=b"{}", fieldManager="é\n"))


async def test_that_there_is_nothing_to_patch_is_said_before_what_is_wrong_with_the_patch(api: Api, client: Client):
    merge = {"content_type": "application/merge-patch+json", "body": b"["}
    with pytest.raises(NotFound):
        await api.handle(call(configmaps.RESOURCE, "patch", name="a", **merge))
    with pytest.raises(UnsupportedMediaType):
        await api.handle(call(configmaps.RESOURCE, "patch", name="a", content_type="text/plain", body=b"{}"))
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    with pytest.raises(BadRequest):
        await api.handle(call(configmaps.RESOURCE, "patch", name="a", **merge))


async def test_a_patch_of_null_changes_nothing_but_a_merge_patch_cannot_be_one(api: Api, client: Client):
    made = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    for media in ("strategic-merge-patch", "json-patch"):
        given = {"content_type": f"application/{media}+json", "body": b"null"}
        answer = await api.handle(call(configmaps.RESOURCE, "patch", name="a", **given))
        assert answer.resource_version == made.metadata.resource_version
    with pytest.raises(BadRequest):
        given["content_type"] = "application/merge-patch+json"
        await api.handle(call(configmaps.RESOURCE, "patch", name="a", **given))


async def test_an_object_of_a_namespace_is_found_nowhere_else(api: Api):
    with pytest.raises(NotFound, match="could not find the requested resource"):
        await api.handle(call(configmaps.RESOURCE, "get", name="a", namespace=""))
    with pytest.raises(MethodNotAllowed):
        await api.handle(call(configmaps.RESOURCE, "create", namespace="", body=b"{}"))


# --- subresources


async def test_a_pod_is_bound_once(client: Client):
    await client.create(pods.RESOURCE, builders.pod("a"))
    to_n1 = Binding(metadata=ObjectMeta(name="a"), target=ObjectReference(kind="Node", name="n1"))
    await client.create_subresource(pods.RESOURCE, A, "binding", to_n1)
    bound = await client.get(pods.RESOURCE, A)
    assert bound.spec.node_name == "n1"
    assert [(c.type, c.status) for c in bound.status.conditions] == [("PodScheduled", "True")]
    to_n1.target.name = "n2"
    with pytest.raises(Conflict, match='already assigned to node "n1"'):
        await client.create_subresource(pods.RESOURCE, A, "binding", to_n1)


async def test_scale_shows_and_sets_the_replicas(api: Api, client: Client):
    await client.create(deployments.RESOURCE, builders.deployment("a", replicas=2))
    read = await api.handle(call(deployments.RESOURCE, "get", name="a", subresource="scale"))
    shown = json.loads(read.json)
    assert (shown["kind"], shown["spec"], shown["status"]["selector"]) == ("Scale", {"replicas": 2}, "app=a")
    patch = call(
        deployments.RESOURCE,
        "patch",
        name="a",
        subresource="scale",
        body=b'{"spec":{"replicas":0}}',
        content_type="application/merge-patch+json",
    )
    await api.handle(patch)
    assert (await client.get(deployments.RESOURCE, A)).spec.replicas == 0


async def test_an_update_says_the_name_of_what_it_updates(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    with pytest.raises(BadRequest, match=r"the name of the object \(a based on URL\) was undeterminable"):
        await api.handle(call(configmaps.RESOURCE, "update", name="a", body=b'{"data":{}}'))


async def test_a_strategic_merge_patch_does_not_say_what_kind_it_is_for(api: Api, client: Client):
    await client.create(deployments.RESOURCE, builders.deployment("a", replicas=2))
    body = json.dumps({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"replicas": 3}}).encode()
    scaled = call(
        deployments.RESOURCE, "patch", name="a", subresource="scale", body=body, content_type=PatchType.STRATEGIC
    )
    assert json.loads((await api.handle(scaled)).json)["kind"] == "Scale"
    assert (await client.get(deployments.RESOURCE, A)).spec.replicas == 3
    scaled.content_type = PatchType.MERGE
    with pytest.raises(Invalid, match='no kind "Deployment" is registered for version'):
        await api.handle(scaled)


async def test_what_a_resource_does_not_have_is_not_found_or_not_allowed(api: Api, client: Client):
    with pytest.raises(NotFound, match="the server could not find the requested resource"):
        await api.handle(call(configmaps.RESOURCE, "get", name="a", subresource="scale"))
    with pytest.raises(MethodNotAllowed):
        await api.handle(call(configmaps.RESOURCE, "create", namespace="", body=b"{}"))
    with pytest.raises(MethodNotAllowed):
        await api.handle(call(bindings.RESOURCE, "list"))
    with pytest.raises(NotFound, match="the server could not find the requested resource"):
        await api.handle(call(bindings.RESOURCE, "get", name="a"))


async def test_who_deletes_jobs_without_a_policy_is_told_that_their_pods_stay(api: Api, client: Client):
    for options, told in (({}, 1), ({"propagationPolicy": "Background"}, 0), ({"orphanDependents": "true"}, 0)):
        asked = call(jobs.RESOURCE, "deletecollection", **options)
        await api.handle(asked)
        assert len(asked.warnings) == told


# --- list


async def test_pages_show_one_revision_whatever_happens_between_them(api: Api, client: Client):
    for name in "abcde":
        await client.create(configmaps.RESOURCE, builders.configmap(name))
    first = await api.handle(call(configmaps.RESOURCE, "list", limit="2"))
    await client.create(configmaps.RESOURCE, builders.configmap("bb"))
    await client.delete(configmaps.RESOURCE, ObjectKey("default", "e"))
    names, token = [stored.name for stored in first.items], first.continue_token
    assert first.remaining == 3
    while token:
        page = await api.handle(call(configmaps.RESOURCE, "list", limit="2", **{"continue": token}))
        assert page.revision == first.revision
        assert page.remaining == (1 if page.continue_token else None)
        names += [stored.name for stored in page.items]
        token = page.continue_token
    assert names == ["a", "b", "c", "d", "e"]


async def test_the_next_page_of_a_compacted_revision_has_expired(api: Api, client: Client, store):
    for name in "abc":
        await client.create(configmaps.RESOURCE, builders.configmap(name))
    first = await api.handle(call(configmaps.RESOURCE, "list", limit="1"))
    await client.create(configmaps.RESOURCE, builders.configmap("d"))
    await store.compact(first.revision + 1)
    with pytest.raises(Exception, match="continue parameter is too old") as expired:
        await api.handle(call(configmaps.RESOURCE, "list", limit="1", **{"continue": first.continue_token}))
    assert expired.value.code == 410
    fresh = expired.value.status()["metadata"]["continue"]
    rest = await api.handle(call(configmaps.RESOURCE, "list", **{"continue": fresh}))
    assert [stored.name for stored in rest.items] == ["b", "c", "d"], "inconsistent, but all that is there"


async def test_a_list_sees_every_write_that_ended_before_it(client: Client):
    for count in range(1, 30):
        await client.create(configmaps.RESOURCE, builders.configmap(f"c{count}"))
        assert len((await client.list(configmaps.RESOURCE, "default")).items) == count


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"resourceVersionMatch": "Exact"}, ["a"]),
        ({"limit": "5"}, ["a"]),
        ({"limit": "5", "resourceVersionMatch": "NotOlderThan"}, ["a", "b"]),
        ({}, ["a", "b"]),
    ],
)
async def test_a_list_at_an_exact_version_shows_the_past(
    api: Api, client: Client, options: dict[str, str], names: list[str]
):
    made = await client.create(configmaps.RESOURCE, builders.configmap("a"))
    await client.create(configmaps.RESOURCE, builders.configmap("b"))
    version = made.metadata.resource_version
    found = await api.handle(call(configmaps.RESOURCE, "list", resourceVersion=version, **options))
    assert [stored.name for stored in found.items] == names


def token_of(**position: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"limit": "x"}, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"limit": "9" * 20}, f'strconv.ParseInt: parsing "{"9" * 20}": value out of range'),
        (
            {"resourceVersion": "x"},
            'invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid'
            " syntax",
        ),
        ({"continue": "x"}, "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"),
        ({"continue": "a!"}, "invalid continue token: continue key is not valid: illegal base64 data at input byte 1"),
        (
            {"continue": token_of(v="x", rv=1, start="a")},
            "invalid continue token: continue key is not valid: server does not recognize this encoded version x",
        ),
        (
            {"continue": token_of()},
            "invalid continue token: continue key is not valid: server does not recognize this encoded version ",
        ),
        (
            {"continue": "bm9qc29u"},
            "invalid continue token: continue key is not valid: invalid character 'o' in literal null (expecting 'u')",
        ),
        (
            {"continue": token_of(v="meta.k8s.io/v1", rv=0, start="a")},
            "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion"
            " (version meta.k8s.io/v1)",
        ),
        (
            {"continue": token_of(v="meta.k8s.io/v1", rv=1, start="../../b")},
            "invalid continue token: continue key is not valid: ../../b",
        ),
        (
            {"continue": token_of(v="meta.k8s.io/v1", rv=1, start="default/b"), "resourceVersion": "1"},
            "specifying resource version is not allowed when using continue",
        ),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_the_options_of_a_list_is_said_in_upstreams_words(
    api: Api, options: dict[str, str], why: str
):
    with pytest.raises(BadRequest) as failure:
        await api.handle(call(configmaps.RESOURCE, "list", **options))
    assert failure.value.message == why


async def test_a_list_at_version_zero_is_whole_whatever_the_limit(api: Api, client: Client):
    for name in "abc":
        await client.create(configmaps.RESOURCE, builders.configmap(name))
    await api.handle(call(configmaps.RESOURCE, "list"))  # Until the cache has them.
    for match in ({}, {"resourceVersionMatch": "NotOlderThan"}):
        found = await api.handle(call(configmaps.RESOURCE, "list", resourceVersion="0", limit="2", **match))
        assert (len(found.items), found.continue_token) == (3, "")


async def test_nobody_is_told_to_come_again_for_exactly_a_version_of_the_future(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    with pytest.raises(Timeout) as failure:
        await api.handle(call(configmaps.RESOURCE, "list", resourceVersion="9" * 9, resourceVersionMatch="Exact"))
    assert "retryAfterSeconds" not in failure.value.status()["details"]


async def test_what_is_deleted_together_is_listed_as_it_was(api: Api, client: Client):
    held = builders.configmap("a")
    held.metadata.finalizers = ["x.io/wait"]
    await client.create(configmaps.RESOURCE, held)
    answer = await api.handle(call(configmaps.RESOURCE, "deletecollection"))
    (listed,) = [stored.codec.decode(stored.json) for stored in answer.items]
    assert (listed.metadata.name, listed.metadata.deletion_timestamp) == ("a", "")
    left = await client.get(configmaps.RESOURCE, ObjectKey("default", "a"))
    assert left.metadata.deletion_timestamp


async def test_a_limit_below_zero_is_none(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    assert (await api.handle(call(configmaps.RESOURCE, "list", limit="-1"))).continue_token == ""


async def test_all_that_is_wrong_with_a_resource_version_match_is_said(api: Api):
    with pytest.raises(Invalid) as failure:
        await api.handle(call(configmaps.RESOURCE, "list", resourceVersionMatch="x", **{"continue": "x"}))
    assert [cause.message for cause in failure.value.causes] == [
        "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        "Forbidden: resourceVersionMatch is forbidden when continue is provided",
        'Unsupported value: "x": supported values: "Exact", "NotOlderThan", ""',
    ]


async def test_pods_can_be_selected_by_addresses_of_which_upstream_knows_none(api: Api):
    assert (await api.handle(call(pods.RESOURCE, "list", fieldSelector="status.podIPs=1.2.3.4"))).items == []


async def test_nonsense_in_a_list_is_a_bad_request(api: Api, client: Client):
    for options in (
        {"limit": "many"},
        {"resourceVersion": "x"},
        {"continue": "not-a-token"},
        {"labelSelector": "a in (b"},
        {"fieldSelector": "spec.color=red"},
    ):
        with pytest.raises(BadRequest):
            await api.handle(call(configmaps.RESOURCE, "list", **options))
    for options in (
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
        {"resourceVersionMatch": "Sometimes", "resourceVersion": "1"},
        {"sendInitialEvents": "true"},
    ):
        with pytest.raises(Invalid, match="ListOptions.meta.k8s.io"):
            await api.handle(call(configmaps.RESOURCE, "list", **options))


async def test_options_that_are_none_are_refused_by_name(api: Api, client: Client):
    await client.create(configmaps.RESOURCE, builders.configmap("a"))
    for verb, kind, options in (
        ("create", "CreateOptions", {"dryRun": "Some"}),
        ("update", "UpdateOptions", {"fieldValidation": "Sometimes"}),
        ("update", "UpdateOptions", {"fieldManager": "x" * 129}),
        ("patch", "PatchOptions", {"fieldManager": "a\nb"}),
        ("patch", "PatchOptions", {"force": "true"}),
        ("delete", "DeleteOptions", {"propagationPolicy": "Sideways"}),
        ("delete", "DeleteOptions", {"propagationPolicy": "Orphan", "orphanDependents": "true"}),
    ):
        name = "" if verb == "create" else "a"
        with pytest.raises(Invalid, match=f'{kind}.meta.k8s.io "" is invalid: '):
            await api.handle(call(configmaps.RESOURCE, verb, name=name, **options))


async def test_an_update_creates_what_is_not_there_for_a_few_kinds(api: Api, client: Client):
    body = b'{"metadata":{"name":"a"},"spec":{"holderIdentity":"me"}}'
    made = await api.handle(call(leases.RESOURCE, "update", name="a", body=body))
    assert (made.code, json.loads(made.json)["spec"]) == (201, {"holderIdentity": "me"})
    with pytest.raises(Invalid, match="must be specified for an update"):
        await api.handle(call(leases.RESOURCE, "update", name="a", body=body))
    with pytest.raises(NotFound):
        await api.handle(call(configmaps.RESOURCE, "update", name="a", body=b'{"metadata":{"name":"a"}}'))
    other = b'{"metadata":{"name":"b","uid":"another"}}'
    with pytest.raises(Conflict, match="UID in precondition"):
        await api.handle(call(leases.RESOURCE, "update", name="b", body=other))


async def test_an_owner_named_twice_is_one_owner_and_who_writes_so_is_told(api: Api, client: Client):
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u1"}
    other = {**owner, "uid": "u2"}

    async def write(verb: str, owners: list[dict[str, str]], **more: str) -> tuple[list[str], list[str]]:
        body = json.dumps({"metadata": {"name": "a", "ownerReferences": owners}}).encode()
        asked = call(configmaps.RESOURCE, verb, name="" if verb == "create" else "a", body=body, **more)
        made = json.loads((await api.handle(asked)).json)
        return [each["uid"] for each in made["metadata"]["ownerReferences"]], asked.warnings

    start, end = ".metadata.ownerReferences contains duplicate entries", "duplicate UID(s) observed: u1"
    uids, (warning,) = await write("create", [owner, owner, other])
    assert (uids, warning.startswith(f"{start}; "), warning.endswith(end)) == (["u1", "u2"], True, True)
    uids, (warning,) = await write("update", [owner, other, owner])
    assert (uids, warning.startswith(f"{start}; ")) == (["u1", "u2"], True)
    uids, (warning,) = await write("patch", [other, owner, owner], content_type=PatchType.MERGE)
    assert (uids, warning.startswith(f"{start} after mutating admission happens; ")) == (["u2", "u1"], True)
    assert await write("update", [owner, {**owner, "name": "q"}]) == (["u1", "u1"], [])


async def test_an_update_that_is_only_written_otherwise_changes_nothing(api: Api, client: Client):
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":{"b":"1","a":"2"}},"data":{"k":"v"}}'
    asked = call(configmaps.RESOURCE, "patch", body=body, name="a", content_type=APPLY_PATCH, fieldManager="m")
    await api.handle(asked)
    made = await client.get(configmaps.RESOURCE, A)
    rewritten = json.dumps(json.loads(serde.encode(made)), sort_keys=True, indent=2)
    answer = await api.handle(call(configmaps.RESOURCE, "update", body=rewritten.encode(), name="a"))
    assert answer.resource_version == made.metadata.resource_version


async def test_that_an_object_is_not_gone_yet_is_told_to_who_asks_in_the_oldest_way(api: Api, client: Client):
    held = builders.configmap("a")
    held.metadata.finalizers = ["example.com/hold"]
    await client.create(configmaps.RESOURCE, held)
    body = b'{"kind":"DeleteOptions","apiVersion":"v1","orphanDependents":false}'
    asked = call(configmaps.RESOURCE, "delete", name="a", body=body, content_type="application/json")
    assert (await api.handle(asked)).code == 202
    assert (await api.handle(call(configmaps.RESOURCE, "delete", name="a"))).code == 200

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from api.apps import deployment as deployments
from api.core import configmap as configmaps
from api.core import pod as pods
from api.core import service as services
from api.core import serviceaccount as serviceaccounts
from api.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, UnclassedError
from api.meta import ObjectMeta
from api.rbac import role, rolebinding
from api.rbac.rules import PolicyRule, RoleRef, Subject
from api.resource import Resource
from apiserver.app import Api, InternalCredentials
from apiserver.request import Call, RequestInfo, User
from client.verbs import Client
from tests.local_transport import SUPERUSER

MERGE, JSON_PATCH, STRATEGIC = (
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
)


class Applier:
    """Short ways to ask: everything on one object called `a`."""

    def __init__(self, api: Api, resource: Resource[Any] = configmaps.RESOURCE) -> None:
        self._api = api
        self._resource = resource

    def of(self, resource: Resource[Any]) -> Applier:
        return Applier(self._api, resource)

    async def ask(self, verb: str, body: Any, media: str, manager: str, user: User = SUPERUSER, **options: str) -> Any:
        resource = self._resource
        subresource = options.pop("subresource", "")
        name = "" if verb == "create" else "a"
        info = RequestInfo(verb, "", resource.group, resource.version, resource.plural, subresource, "default", name)
        call = Call(
            info,
            credentials=InternalCredentials(user=user),
            resource=resource,
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            content_type=media,
            options=options | ({"fieldManager": manager} if manager else {}),
        )
        answer = await self._api.handle(call)
        return {**json.loads(answer.json), "code": answer.code}

    async def apply(self, config: dict[str, Any], manager: str = "alice", **options: Any) -> Any:
        resource = self._resource
        head = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "a"}}
        metadata = {**head["metadata"], **config.get("metadata", {})}
        body = yaml.safe_dump({**head, **config, "metadata": metadata}).encode()
        return await self.ask("patch", body, "application/apply-patch+yaml", manager, **options)

    async def create(self, body: dict[str, Any], manager: str = "creator") -> Any:
        metadata = {"name": "a", **body.get("metadata", {})}
        return await self.ask("create", {**body, "metadata": metadata}, "", manager)

    async def patch(self, patch: Any, manager: str = "patcher", media: str = MERGE, **options: str) -> Any:
        return await self.ask("patch", patch, media, manager, **options)

    async def get(self) -> Any:
        return await self.ask("get", b"", "", "")


@pytest.fixture
async def applier(api: Api, client: Client) -> Applier:
    return Applier(api)


def owners(obj: Any) -> dict[tuple[str, str], Any]:
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())
    }


def deployment(**changes: Any) -> dict[str, Any]:
    labels = {"app": "a"}
    container = {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {"spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template, **changes}}


# --- who owns what


async def test_an_applied_object_is_created_and_owned_by_its_applier(applier: Applier):
    made = await applier.apply({"data": {"k": "1"}, "metadata": {"labels": {"x": "y"}}})
    assert made["code"] == 201
    [entry] = made["metadata"]["managedFields"]
    assert entry["time"]
    del entry["time"]
    assert entry == {
        "manager": "alice",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:k": {}}, "f:metadata": {"f:labels": {"f:x": {}}}},
    }


async def test_a_creator_owns_all_that_was_there_with_its_defaults(applier: Applier):
    made = await applier.of(deployments.RESOURCE).create(deployment(replicas=None))
    fields = owners(made)["creator", "Update"]
    spec = fields["f:spec"]
    assert {"f:replicas", "f:selector", "f:strategy", "f:template"} <= spec.keys()
    assert spec["f:selector"] == {}, "a label selector is owned as a whole"
    container = spec["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']
    assert container["."] == {}
    assert container["f:ports"]['k:{"containerPort":80,"protocol":"TCP"}'] == {
        ".": {}, "f:containerPort": {}, "f:protocol": {}
    }  # fmt: skip
    assert "f:metadata" not in fields, "a name is nobody's"
    assert "f:status" not in fields


async def test_a_template_may_hold_managed_fields_of_its_own(applier: Applier):
    wanted = deployment()
    wanted["spec"]["template"]["metadata"]["managedFields"] = [{"manager": "m", "fieldsV1": {"f:x": {}}}]
    made = await applier.of(deployments.RESOURCE).create(wanted)
    assert made["spec"]["template"]["metadata"]["managedFields"][0]["fieldsV1"] == {"f:x": {}}


async def test_an_update_takes_what_it_changes_from_its_owner(applier: Applier):
    await applier.apply({"data": {"k": "1", "l": "1"}})
    changed = await applier.patch({"data": {"k": "2"}})
    assert owners(changed) == {
        ("alice", "Apply"): {"f:data": {"f:l": {}}},
        ("patcher", "Update"): {"f:data": {"f:k": {}}},
    }


async def test_what_is_removed_is_nobodys(applier: Applier):
    await applier.apply({"data": {"k": "1", "l": "1"}})
    changed = await applier.patch({"data": {"k": None}})
    assert owners(changed) == {("alice", "Apply"): {"f:data": {"f:l": {}}}}


async def test_an_update_that_changes_nothing_writes_nothing(applier: Applier):
    made = await applier.create({"data": {"k": "1"}})
    again = await applier.patch({"data": {"k": "1"}})
    assert again["metadata"] == made["metadata"]


async def test_status_has_owners_of_its_own(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    await made.create(deployment())
    observed = await made.patch({"status": {"replicas": 3}}, "controller", subresource="status")
    entry = next(one for one in observed["metadata"]["managedFields"] if one["manager"] == "controller")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:replicas": {}}})


async def test_scale_is_an_owner_of_replicas(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    await made.apply(deployment())
    await made.patch({"spec": {"replicas": 5}}, "scaler", subresource="scale")
    scaled = await made.get()
    assert owners(scaled)["scaler", "Update"] == {"f:spec": {"f:replicas": {}}}
    with pytest.raises(Conflict, match='conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas'):
        await made.apply(deployment())


# --- conflicts


async def test_an_applied_scale_owns_replicas_and_nothing_else(applier: Applier):
    it = applier.of(deployments.RESOURCE)
    await it.apply(deployment())
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"labels": {"no": "matter"}}}
    with pytest.raises(Conflict, match=r'conflict with "alice": .spec.replicas'):
        await it.apply({**scale, "spec": {"replicas": 7}}, "hpa", subresource="scale")
    shown = await it.apply({**scale, "spec": {"replicas": 7}}, "hpa", subresource="scale", force="true")
    assert (shown["kind"], shown["spec"]) == ("Scale", {"replicas": 7})
    stored = await it.get()
    assert "labels" not in stored["metadata"]
    assert owners(stored)["hpa", "Apply"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(stored)["alice", "Apply"]["f:spec"]
    assert [entry.get("subresource") for entry in stored["metadata"]["managedFields"]] == [None, "scale"]
    with pytest.raises(BadRequest, match="Incorrect version specified in apply patch"):
        await it.apply({"spec": {"replicas": 1}}, "hpa", subresource="scale")
    with pytest.raises(Invalid, match="spec.replicas"):
        await it.apply({**scale, "spec": {"replicas": -1}}, "hpa", subresource="scale")
    assert (await it.get())["spec"]["replicas"] == 7


async def test_a_conflict_names_who_owns_the_field(applier: Applier):
    await applier.apply({"data": {"k": "1"}})
    with pytest.raises(Conflict) as refused:
        await applier.apply({"data": {"k": "2"}}, "bob")
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "alice": .data.k'
    [cause] = refused.value.causes
    assert (cause.reason, cause.message, cause.field) == ("FieldManagerConflict", 'conflict with "alice"', ".data.k")


async def test_several_conflicts_are_listed_by_owner(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    await made.create(deployment())
    other = deployment(replicas=1)
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    with pytest.raises(Conflict) as refused:
        await made.apply(other, "bob")
    assert refused.value.message == (
        'Apply failed with 2 conflicts: conflicts with "creator" using apps/v1:\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="web"].image'
    )


async def test_equal_values_are_shared_and_forced_ones_taken(applier: Applier):
    await applier.apply({"data": {"k": "1", "l": "1"}})
    shared = await applier.apply({"data": {"k": "1"}}, "bob")
    assert owners(shared)["alice", "Apply"] == {"f:data": {"f:k": {}, "f:l": {}}}
    assert owners(shared)["bob", "Apply"] == {"f:data": {"f:k": {}}}
    taken = await applier.apply({"data": {"k": "2"}}, "bob", force="true")
    assert owners(taken) == {
        ("alice", "Apply"): {"f:data": {"f:l": {}}},
        ("bob", "Apply"): {"f:data": {"f:k": {}}},
    }


def pod_with(cpu: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "c:1", "resources": {"requests": {"cpu": cpu}}}]}}


@pytest.mark.parametrize("spelling", ["1000m", "1.0", 1])
async def test_a_quantity_that_is_not_said_as_it_is_kept_is_in_conflict(applier: Applier, spelling: Any) -> None:
    made = applier.of(pods.RESOURCE)
    await made.apply(pod_with("1000m"))
    with pytest.raises(Conflict, match='conflict with "alice": .spec.containers.*requests.cpu'):
        await made.apply(pod_with(spelling), "bob")
    shared = await made.apply(pod_with("1"), "bob")
    assert {manager for manager, _ in owners(shared)} == {"alice", "bob"}


async def test_who_applies_the_same_again_changes_nothing_however_it_is_said(applier: Applier) -> None:
    made = applier.of(pods.RESOURCE)
    first = await made.apply(pod_with("1000m"))
    again = await made.apply(pod_with("1000m"))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    other = await made.apply({**pod_with("1000m"), "metadata": {"labels": {"a": "b"}}})
    assert other["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    assert other["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "1"}}


# --- fields no longer applied


async def test_what_is_no_longer_applied_goes_unless_another_owns_it(applier: Applier):
    await applier.apply({"data": {"mine": "1", "shared": "1"}})
    await applier.apply({"data": {"shared": "1"}}, "bob")
    left = await applier.apply({})
    assert left["data"] == {"shared": "1"}
    assert owners(left) == {("bob", "Apply"): {"f:data": {"f:shared": {}}}}


async def test_items_of_lists_come_and_go_by_their_keys(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    config = deployment()
    await made.apply(config)
    side = {"name": "side", "image": "side:1"}
    template = {"spec": {"containers": [side]}}
    both = await made.apply({"spec": {"template": template}}, "bob")
    names = [one["name"] for one in both["spec"]["template"]["spec"]["containers"]]
    assert names == ["web", "side"]
    without = await made.apply({}, "bob")
    assert [one["name"] for one in without["spec"]["template"]["spec"]["containers"]] == ["web"]


async def test_elements_of_sets_are_owned_one_by_one(applier: Applier):
    await applier.apply({"metadata": {"finalizers": ["example.org/a"]}})
    both = await applier.apply({"metadata": {"finalizers": ["example.org/b"]}}, "bob")
    assert both["metadata"]["finalizers"] == ["example.org/a", "example.org/b"]
    assert owners(both)["bob", "Apply"] == {"f:metadata": {"f:finalizers": {'v:"example.org/b"': {}}}}
    left = await applier.apply({})
    assert left["metadata"]["finalizers"] == ["example.org/b"]


async def test_atomic_lists_are_replaced_as_a_whole(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    config = deployment()
    config["spec"]["template"]["spec"]["containers"][0]["command"] = ["a", "b"]
    await made.apply(config)
    config["spec"]["template"]["spec"]["containers"][0]["command"] = ["c"]
    changed = await made.apply(config)
    assert changed["spec"]["template"]["spec"]["containers"][0]["command"] == ["c"]


async def test_who_says_that_a_field_is_nothing_owns_it(applier: Applier):
    pod = applier.of(pods.RESOURCE)
    containers = [{"name": "c", "image": "i"}]
    applied = await pod.apply({"spec": {"containers": containers, "priorityClassName": None, "volumes": None}})
    (owner,) = applied["metadata"]["managedFields"]
    assert owner["fieldsV1"]["f:spec"].keys() == {"f:containers", "f:priorityClassName", "f:volumes"}
    assert "priorityClassName" not in applied["spec"]


async def test_a_write_of_an_item_without_a_key_leaves_nobody_an_owner(applier: Applier):
    """Nobody could be said to own it: upstream gives up on all, too."""
    account = applier.of(serviceaccounts.RESOURCE)
    assert "managedFields" not in (await account.create({"secrets": [{"namespace": "x"}]}))["metadata"]
    with pytest.raises(UnclassedError, match="failed to create typed live object"):
        await account.apply({"metadata": {"labels": {"a": "b"}}})


async def test_a_configuration_that_does_not_fit_its_kind_is_answered_with_500_and_no_reason(applier: Applier):
    """Upstream gives this error no class."""
    with pytest.raises(UnclassedError) as refused:
        await applier.of(pods.RESOURCE).apply({"spec": {"unheardOf": 1}})
    status = refused.value.status()
    assert (status["code"], "reason" in status) == (500, False)
    assert status["message"].endswith("Kind=Pod): .spec.unheardOf: field not declared in schema")


async def test_defaults_are_not_owned_and_come_back(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    first = await made.apply(deployment())
    assert first["spec"]["revisionHistoryLimit"] == 10
    assert "f:revisionHistoryLimit" not in owners(first)["alice", "Apply"]["f:spec"]
    config = deployment()
    del config["spec"]["replicas"]
    second = await made.apply(config)
    assert second["spec"]["replicas"] == 1, "what is no longer applied falls back to the default"


async def test_ports_of_one_number_are_told_apart_by_protocol(applier: Applier):
    made = applier.of(services.RESOURCE)
    ports = [{"name": "tcp", "port": 53}, {"name": "udp", "port": 53, "protocol": "UDP"}]
    both = await made.apply({"spec": {"ports": ports}})
    assert [(one["name"], one["protocol"]) for one in both["spec"]["ports"]] == [("tcp", "TCP"), ("udp", "UDP")]
    left = await made.apply({"spec": {"ports": ports[:1]}})
    assert [one["name"] for one in left["spec"]["ports"]] == ["tcp"]


# --- writes that are none


async def test_applying_the_same_again_writes_nothing_not_even_a_time(applier: Applier):
    made = await applier.of(deployments.RESOURCE).apply(deployment())
    again = await applier.of(deployments.RESOURCE).apply(deployment())
    assert again["metadata"] == made["metadata"]
    assert (made["code"], again["code"]) == (201, 200)


async def test_a_dry_run_stores_nothing(applier: Applier):
    shown = await applier.apply({"data": {"k": "1"}}, dryRun="All")
    assert shown["data"] == {"k": "1"}
    with pytest.raises(NotFound):
        await applier.get()


# --- from client-side apply, and other histories


async def test_kubectl_takes_over_what_it_applied_from_the_client_side(applier: Applier):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1", "l": "1"}}
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(config)}
    created = {**config, "metadata": {"name": "a", "annotations": note}}
    await applier.create(created, "kubectl-client-side-apply")
    changed = await applier.apply({"data": {"k": "2", "l": "1"}}, "kubectl")
    assert changed["data"] == {"k": "2", "l": "1"}
    kept = json.loads(changed["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert kept["data"] == {"k": "2", "l": "1"}, "a later client-side apply knows what was applied here"


async def test_kubectl_does_not_take_over_what_others_changed_since(applier: Applier):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}}
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(config)}
    await applier.create({**config, "metadata": {"name": "a", "annotations": note}}, "kubectl-client-side-apply")
    await applier.patch({"data": {"k": "9"}})
    with pytest.raises(Conflict, match='conflict with "patcher" using v1: .data.k'):
        await applier.apply({"data": {"k": "2"}}, "kubectl")


async def test_managed_fields_can_be_rewritten_as_kubectl_does_when_it_migrates(applier: Applier):
    made = await applier.create({"data": {"k": "1"}}, "kubectl-client-side-apply")
    [entry] = made["metadata"]["managedFields"]
    entry |= {"manager": "kubectl", "operation": "Apply"}
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [entry]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
    ]
    migrated = await applier.patch(patch, "kubectl", JSON_PATCH)
    assert owners(migrated).keys() == {("kubectl", "Apply")}


@pytest.mark.parametrize("entries", [[{}], []])
async def test_managed_fields_can_be_forgotten_and_stay_so(applier: Applier, entries: list[Any]):
    await applier.create({"data": {"k": "1"}})
    reset = await applier.patch({"metadata": {"managedFields": entries}})
    assert "managedFields" not in reset["metadata"]
    after = await applier.patch({"data": {"k": "2"}})
    assert "managedFields" not in after["metadata"]


async def test_what_was_there_before_the_first_apply_has_an_owner_to_conflict_with(applier: Applier):
    await applier.create({"data": {"k": "1", "l": "1"}})
    await applier.patch({"metadata": {"managedFields": [{}]}})
    with pytest.raises(Conflict, match='conflict with "before-first-apply" using v1: .data.k'):
        await applier.apply({"data": {"k": "2"}})
    taken = await applier.apply({"data": {"k": "2"}}, force="true")
    assert owners(taken).keys() == {("alice", "Apply"), ("before-first-apply", "Update")}


async def test_an_update_without_managed_fields_keeps_them(applier: Applier):
    made = await applier.create({"data": {"k": "1"}})
    body = {"metadata": {"name": "a"}, "data": {"k": "1"}}
    updated = await applier.ask("update", body, "", "other")
    assert updated["metadata"]["managedFields"] == made["metadata"]["managedFields"]


async def test_the_oldest_of_many_updaters_become_one(applier: Applier):
    await applier.create({"data": {"k": "0"}}, "m00")
    for number in range(1, 15):
        await applier.patch({"data": {f"k{number}": "1"}}, f"m{number:02}")
    shown = await applier.get()
    found = owners(shown)
    assert len(found) == 10
    assert found["ancient-changes", "Update"]["f:data"].keys() >= {"f:k", "f:k1", "f:k2"}


# --- what is refused


async def test_an_applier_must_say_who_it_is(applier: Applier):
    with pytest.raises(Invalid, match="fieldManager: Required value: is required for apply patch"):
        await applier.apply({}, "")


async def test_force_is_for_apply_alone(applier: Applier):
    await applier.create({"data": {"k": "1"}})
    with pytest.raises(Invalid, match="force: Forbidden: may not be specified for non-apply patch"):
        await applier.patch({"data": {"k": "2"}}, force="true")


async def test_an_applied_field_that_does_not_exist_is_refused(applier: Applier):
    with pytest.raises(UnclassedError, match=r".dat: field not declared in schema"):
        await applier.apply({"dat": {"k": "1"}})


async def test_an_item_given_twice_is_refused(applier: Applier):
    config = deployment()
    config["spec"]["template"]["spec"]["containers"] *= 2
    with pytest.raises(UnclassedError, match=r'containers: duplicate entries for key \[name="web"\]'):
        await applier.of(deployments.RESOURCE).apply(config)


async def test_a_configuration_of_another_api_version_is_refused(applier: Applier):
    told = "Incorrect version specified in apply patch. Specified patch version: apps/v1, expected: v1"
    with pytest.raises(BadRequest, match=told):
        await applier.apply({"apiVersion": "apps/v1", "kind": "Deployment"})


async def test_a_configuration_has_no_managed_fields(applier: Applier):
    with pytest.raises(BadRequest, match="metadata.managedFields must be nil"):
        await applier.apply({"metadata": {"managedFields": [{"manager": "x"}]}})


async def test_a_configuration_of_an_old_version_is_a_conflict(applier: Applier):
    made = await applier.apply({"data": {"k": "1"}})
    await applier.apply({"data": {"k": "2"}})
    with pytest.raises(Conflict, match="the object has been modified"):
        version = made["metadata"]["resourceVersion"]
        await applier.apply({"metadata": {"resourceVersion": version}, "data": {"k": "3"}})


async def wait_until_bound(api: Api) -> None:
    await api.registries.of(rolebinding.RESOURCE).cache.catch_up()
    await api.registries.of(role.RESOURCE).cache.catch_up()


async def test_who_may_patch_but_not_create_creates_nothing_by_applying(api: Api, applier: Applier, client: Client):
    rule = PolicyRule(api_groups=[""], resources=["configmaps"], verbs=["patch", "get"])
    await client.create(
        role.RESOURCE, role.Role(metadata=ObjectMeta(name="patcher", namespace="default"), rules=[rule])
    )
    binding = rolebinding.RoleBinding(
        metadata=ObjectMeta(name="patcher", namespace="default"),
        subjects=[Subject(kind="User", name="eve", api_group="rbac.authorization.k8s.io")],
        role_ref=RoleRef(api_group="rbac.authorization.k8s.io", kind="Role", name="patcher"),
    )
    await client.create(rolebinding.RESOURCE, binding)
    await wait_until_bound(api)
    with pytest.raises(Forbidden, match="cannot create resource"):
        await applier.apply({"data": {"k": "1"}}, user=User("eve", groups=("system:authenticated",)))


async def test_applying_status_touches_only_status(applier: Applier):
    made = applier.of(deployments.RESOURCE)
    await made.create(deployment())
    done = await made.apply({"spec": {"replicas": 9}, "status": {"replicas": 2}}, subresource="status")
    assert (done["spec"]["replicas"], done["status"]["replicas"]) == (3, 2)
    assert owners(done)["alice", "Apply"] == {"f:status": {"f:replicas": {}}}

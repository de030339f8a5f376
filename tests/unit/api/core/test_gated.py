from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.apps import daemonset, deployment, replicaset, statefulset
from api.batch import cronjob, job
from api.coordination import lease
from api.core import persistentvolume, persistentvolumeclaim, pod, podtemplate, replicationcontroller
from api.resource import Resource

CONTAINER = {"name": "c", "image": "i"}
MOUNT = {"name": "v", "mountPath": "/v"}
BUNDLE = {"clusterTrustBundle": {"name": "x", "path": "p"}}

GATED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"hostUsers": False}, {}),
    ({"resources": {"limits": {"cpu": "1"}}}, {}),
    ({"resourceClaims": [{"name": "r"}]}, {}),
    ({"containers": [CONTAINER | {"resources": {"claims": [{"name": "r"}]}}]}, {}),
    ({"containers": [CONTAINER | {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}]}, {}),
    ({"securityContext": {"supplementalGroupsPolicy": "Strict"}}, {"securityContext": {}}),
    ({"securityContext": {"seLinuxChangePolicy": "Recursive"}}, {"securityContext": {}}),
    (
        {"containers": [CONTAINER | {"securityContext": {"procMount": "Unmasked"}}]},
        {"containers": [CONTAINER | {"securityContext": {"procMount": "Default"}}]},
    ),
    (
        {
            "volumes": [{"name": "v", "image": {"reference": "x"}}],
            "containers": [CONTAINER | {"volumeMounts": [MOUNT]}],
        },
        {},
    ),
    (
        {"volumes": [{"name": "v", "projected": {"sources": [BUNDLE]}}]},
        {"volumes": [{"name": "v", "projected": {"sources": [{}]}}]},
    ),
]


def spec_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"containers": [CONTAINER]} | fields


def made(resource: Resource[Any], body: dict[str, Any]) -> Any:
    return msgspec.convert(body, resource.type)


@pytest.mark.parametrize(("given", "left"), GATED, ids=lambda each: " ".join(each))
def test_what_is_behind_a_switch_is_dropped_from_new_pods(given: dict[str, Any], left: dict[str, Any]) -> None:
    new = made(pod.RESOURCE, {"spec": spec_of(given)})
    pod.RESOURCE.drop_gated(new, None)
    assert new == made(pod.RESOURCE, {"spec": spec_of(left)})


@pytest.mark.parametrize("given", [each for each, _ in GATED if "claims" not in str(each)], ids=" ".join)
def test_what_a_pod_has_already_it_keeps(given: dict[str, Any]) -> None:
    new, old = (made(pod.RESOURCE, {"spec": spec_of(given)}) for _ in range(2))
    pod.RESOURCE.drop_gated(new, old)
    assert new == old


@pytest.mark.parametrize(
    "resource",
    [
        each.RESOURCE
        for each in (daemonset, deployment, replicaset, statefulset, job, replicationcontroller, podtemplate, cronjob)
    ],
    ids=lambda resource: resource.kind,
)
def test_what_is_behind_a_switch_is_dropped_from_templates(resource: Resource[Any]) -> None:
    def body(**fields: Any) -> dict[str, Any]:
        template = {"spec": spec_of(fields)}
        if resource.kind == "PodTemplate":
            return {"template": template}
        inner = {"spec": {"template": template}}
        return {"spec": {"jobTemplate": inner}} if resource.kind == "CronJob" else inner

    new = made(resource, body(hostUsers=False))
    resource.drop_gated(new, None)
    assert new == made(resource, body())
    old = made(resource, body(hostUsers=True))
    new = made(resource, body(hostUsers=False))
    resource.drop_gated(new, old)
    assert new == made(resource, body(hostUsers=False))


def test_claims_volumes_and_leases_lose_theirs() -> None:
    elsewhere = {"kind": "PersistentVolumeClaim", "name": "a", "namespace": "b"}
    for resource, given in (
        (persistentvolumeclaim.RESOURCE, {"dataSourceRef": elsewhere}),
        (persistentvolumeclaim.RESOURCE, {"volumeAttributesClassName": "gold"}),
        (persistentvolume.RESOURCE, {"volumeAttributesClassName": "gold"}),
        (lease.RESOURCE, {"strategy": "OldestEmulationVersion", "preferredHolder": "me"}),
    ):
        kind: Resource[Any] = resource
        new, old = (made(kind, {"spec": given}) for _ in range(2))
        kind.drop_gated(new, old)
        assert new == old
        kind.drop_gated(new, None)
        assert new == made(kind, {"spec": {}})

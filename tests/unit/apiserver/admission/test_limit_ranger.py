from __future__ import annotations

from typing import Any

import pytest

from api.core import limitrange, persistentvolumeclaim, pod
from apiserver.admission.limit_ranger import ANNOTATION, LimitRanger
from tests.unit.apiserver.admission.plugins import Cache, made, pass_through, pod_body, refused, request_for


def ranger(*limits: dict[str, Any]) -> LimitRanger:
    return LimitRanger(Cache(made(limitrange.RESOURCE, {"spec": {"limits": list(limits)}})))


def resources(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None) -> dict[str, Any]:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def a_pod(*containers: dict[str, Any], **spec: Any) -> Any:
    return request_for(pod.RESOURCE, made(pod.RESOURCE, pod_body(*containers, **spec)))


async def test_silent_containers_get_defaults_and_an_annotation_tells_of_it() -> None:
    limits = {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    init = {"initContainers": [{"name": "i", "image": "i", **resources({"cpu": "5m"})}]}
    done = await pass_through(ranger(limits), a_pod(resources(limits={"memory": "2Gi"}), **init))
    (container,), (first,) = done.spec.containers, done.spec.init_containers
    assert container.resources.limits == {"memory": "2Gi", "cpu": "1"}
    assert container.resources.requests == {"memory": "2Gi", "cpu": "100m"}
    assert first.resources.requests == {"cpu": "5m", "memory": "1Gi"}
    assert done.metadata.annotations[ANNOTATION] == (
        "LimitRanger plugin set: cpu request for container c0; cpu limit for container c0; "
        "memory request for init container i; cpu, memory limit for init container i"
    )


async def test_a_pod_that_says_everything_is_left_alone() -> None:
    said = resources({}, {"cpu": "200m"})
    said["resources"]["requests"] = {}
    done = await pass_through(ranger({"type": "Container", "max": {"cpu": "1"}}), a_pod(said))
    assert ANNOTATION not in done.metadata.annotations


@pytest.mark.parametrize(
    ("limits", "said", "why"),
    [
        (
            {"type": "Container", "min": {"cpu": "100m"}},
            resources({"cpu": "50m"}),
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            {"type": "Container", "max": {"memory": "1Gi"}},
            resources({"memory": "2Gi"}, {"memory": "2Gi"}),
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {},
            "maximum memory usage per Pod is 1Gi.  No limit is specified",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}},
            {},
            "minimum cpu usage per Pod is 1.  No request is specified",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            resources({"cpu": "100m"}, {"cpu": "250m"}),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            resources({"cpu": "100m"}),
            "cpu max limit to request ratio per Container is 2, but no limit is specified or limit is 0",
        ),
    ],
)
async def test_what_breaks_a_limit_is_refused_in_upstreams_words(limits: Any, said: Any, why: str) -> None:
    assert await refused(ranger(limits), a_pod(said)) == f'pods "p" is forbidden: {why}'


async def test_all_that_is_wrong_is_told_at_once() -> None:
    message = await refused(ranger({"type": "Pod", "min": {"cpu": "1", "memory": "1Gi"}}), a_pod({}))
    assert message == (
        'pods "p" is forbidden: [minimum cpu usage per Pod is 1.  No request is specified, '
        "minimum memory usage per Pod is 1Gi.  No request is specified]"
    )


async def test_a_pod_is_as_hungry_as_its_hungriest_moment() -> None:
    limits = {"type": "Pod", "max": {"cpu": "1"}}
    init = {"initContainers": [{"name": "i", "image": "i", **resources(limits={"cpu": "1"})}]}
    half = resources(limits={"cpu": "500m"})
    await pass_through(ranger(limits), a_pod(half, half, **init))
    init["initContainers"][0]["restartPolicy"] = "Always"
    message = await refused(ranger(limits), a_pod(half, half, **init))
    assert "maximum cpu usage per Pod is 1, but limit is 2" in message


async def test_claims_are_held_to_their_size_and_updates_of_pods_are_not_looked_at() -> None:
    limits = {"type": "PersistentVolumeClaim", "min": {"storage": "2Gi"}, "max": {"storage": "4Gi"}}
    for size, why in {
        "1Gi": "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi",
        "5Gi": "maximum storage usage per PersistentVolumeClaim is 4Gi, but request is 5Gi",
    }.items():
        body = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}}
        claim = made(persistentvolumeclaim.RESOURCE, body)
        assert why in await refused(ranger(limits), request_for(persistentvolumeclaim.RESOURCE, claim))
    there = made(pod.RESOURCE, pod_body())
    await pass_through(ranger({"type": "Pod", "min": {"cpu": "1"}}), request_for(pod.RESOURCE, there, old=there))

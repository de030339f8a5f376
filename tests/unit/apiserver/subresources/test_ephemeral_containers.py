from __future__ import annotations

import json
from typing import Any

import pytest

from api.core import pod as pods
from api.core.static_pods import MIRROR
from api.errors import Invalid
from apiserver.app import Api, InternalCredentials
from apiserver.request import Call, RequestInfo
from client.verbs import Client
from tests import builders
from tests.local_transport import SUPERUSER


async def patch(api: Api, change: dict[str, Any]) -> dict[str, Any]:
    info = RequestInfo("patch", "", "", "v1", "pods", "ephemeralcontainers", "default", "a")
    answer = await api.handle(
        Call(
            info,
            credentials=InternalCredentials(user=SUPERUSER),
            resource=pods.RESOURCE,
            body=json.dumps(change).encode(),
            content_type="application/strategic-merge-patch+json",
        )
    )
    made: dict[str, Any] = json.loads(answer.json)
    return made


async def test_a_container_can_be_added_to_a_pod_and_stays_as_it_is(api: Api, client: Client) -> None:
    made = await client.create(pods.RESOURCE, builders.pod("a"))
    main = made.spec.containers[0].name
    added = {"name": "debugger", "image": "busybox", "targetContainerName": main, "stdin": True}
    change = {"spec": {"ephemeralContainers": [added]}, "metadata": {"labels": {"not": "this"}}}
    got = await patch(api, change)
    (container,) = got["spec"]["ephemeralContainers"]
    assert (container["name"], container["imagePullPolicy"]) == ("debugger", "Always")
    assert "not" not in got["metadata"].get("labels", {})
    second = await patch(api, {"spec": {"ephemeralContainers": [{"name": "more", "image": "busybox"}]}})
    assert sorted(c["name"] for c in second["spec"]["ephemeralContainers"]) == ["debugger", "more"]
    for wrong, why in (
        ({"name": "debugger", "image": "other"}, "may not be changed"),
        ({"name": main, "image": "busybox"}, "Duplicate value"),
        ({"name": "third"}, "image: Required value"),
        ({"name": "third", "image": "busybox", "targetContainerName": "nobody"}, "targetContainerName: Not found"),
        ({"name": "debugger", "$patch": "delete"}, "may not be removed"),
    ):
        with pytest.raises(Invalid, match=why):
            await patch(api, {"spec": {"ephemeralContainers": [wrong]}})


async def test_the_mirror_of_a_static_pod_gets_none(api: Api, client: Client) -> None:
    mirror = builders.pod("a")
    mirror.metadata.annotations[MIRROR] = "x"
    mirror.spec.node_name = "n"
    await client.create(pods.RESOURCE, mirror)
    with pytest.raises(Invalid, match="static pods do not support ephemeral containers"):
        await patch(api, {"spec": {"ephemeralContainers": [{"name": "more", "image": "busybox"}]}})

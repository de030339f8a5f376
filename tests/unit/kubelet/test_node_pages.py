from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from kubelet import node_pages
from kubelet.__main__ import Settings
from kubelet.access import wanted
from kubelet.runtime.records import ContainerRecord, RuntimePod, State

Asked = TestClient[web.Request, web.Application]


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    logs = tmp_path / "log"
    (logs / "pods").mkdir(parents=True)
    (logs / "syslog").write_text("hello\n")
    (logs / "a<b").write_text("")
    (logs / "inside").symlink_to("pods")
    (tmp_path / "secret").write_text("secret")
    (logs / "outside").symlink_to(tmp_path / "secret")
    records = [
        ContainerRecord("1", "c", 0, "s", state, 0.0, image=f"image-{state.value}")
        for state in (State.RUNNING, State.EXITED)
    ]
    pods = [RuntimePod("u1", "default", "one", (), tuple(records)), RuntimePod("u2", "default", "ended")]
    app = web.Application()
    app.add_routes(node_pages.routes({"kind": "KubeletConfiguration"}, lambda: pods, logs))
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_logs_are_a_directory_that_is_walked(asked: Asked):
    page = await (await asked.get("/logs/")).text()
    assert '<a href="pods/">pods/</a>' in page and '<a href="a%3Cb">a&lt;b</a>' in page
    async with asked.get("/logs/syslog") as answer:
        assert (answer.status, await answer.text()) == (200, "hello\n")
    async with asked.get("/logs/pods", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, "pods/")


@pytest.mark.parametrize("path", ["nothing", "outside", "%2e%2e/secret", "..%2fsecret", "pods/../../secret"])
async def test_nothing_beside_the_logs_is_shown(asked: Asked, path: str):
    async with asked.get(f"/logs/{path}") as answer:
        assert answer.status == 404 and "secret" not in await answer.text()


async def test_running_pods_are_those_of_the_runtime(asked: Asked):
    listed = json.loads(await (await asked.get("/runningpods/")).text())
    (pod,) = listed["items"]
    assert listed["kind"] == "PodList" and pod["metadata"]["name"] == "one"
    assert [each["image"] for each in pod["spec"]["containers"]] == ["image-running"]


async def test_what_is_not_done_is_said(asked: Asked):
    async with asked.post("/checkpoint/default/one/c") as answer:
        assert answer.status == 500
        assert await answer.text() == "checkpointing of default/one/c failed (this node takes no checkpoints)"
    async with asked.get("/checkpoint/default/one/c") as answer:
        assert answer.status == 405


async def test_the_configuration_says_what_the_kubelet_was_told(asked: Asked):
    assert json.loads(await (await asked.get("/configz")).text()) == {"kubeletconfig": {"kind": "KubeletConfiguration"}}
    nowhere = Path("/nowhere")
    settings = Settings(
        apiserver=("x:1",), cert="c", key="k", serving_cert="c", serving_key="k", ca=nowhere, client_ca=nowhere,
        cluster_dns=("10.96.0.10",),
    )  # fmt: skip
    told = node_pages.configuration_of(settings, 10251)
    assert (told["port"], told["clusterDNS"], told["maxPods"]) == (10251, ["10.96.0.10"], 110)
    assert told["nodeStatusUpdateFrequency"] == "10s"


@pytest.mark.parametrize(
    ("path", "subresource"),
    [
        ("/logs/syslog", "log"), ("/configz", "proxy"), ("/pods", "proxy"), ("/runningpods/", "proxy"),
        ("/stats/summary", "stats"), ("/metrics/cadvisor", "metrics"), ("/metrics", "metrics"),
        ("/checkpoint/a/b/c", "checkpoint"),
    ],
)  # fmt: skip
def test_each_page_takes_its_right(path: str, subresource: str):
    assert wanted("GET", path) == ("get", subresource)

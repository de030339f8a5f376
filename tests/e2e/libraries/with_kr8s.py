"""kr8s: verbs, wait, exec, logs, port-forward, scale, watch."""

import asyncio
import sys

import httpx
import kr8s.asyncio
from kr8s.asyncio.objects import ConfigMap, Deployment, Pod

NAMESPACE = sys.argv[1]
SPEC = {"containers": [{"name": "c", "image": "steersman.local/web:1", "ports": [{"containerPort": 8080}]}]}


async def main():
    api = await kr8s.asyncio.api(namespace=NAMESPACE)
    assert (await api.version())["minor"] == "32"
    assert any(each["kind"] == "Deployment" for each in await api.api_resources())
    one = await ConfigMap({"metadata": {"name": "c", "namespace": NAMESPACE}, "data": {"a": "1"}}, api=api)
    await one.create()
    await one.patch({"data": {"b": "2"}})
    await one.label({"x": "y"})
    await one.annotate({"n": "o"})
    await one.refresh()
    assert one.data == {"a": "1", "b": "2"} and one.labels["x"] == "y"
    assert [each.name async for each in api.get("configmaps", namespace=NAMESPACE, label_selector={"x": "y"})] == ["c"]
    pod = await Pod({"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": SPEC}, api=api)
    await pod.create()
    await pod.wait("condition=Ready", timeout=60)
    done = await pod.exec(["echo", "hello"])
    assert (done.returncode, done.stdout) == (0, b"hello\n")
    async for line in pod.logs():
        assert isinstance(line, str)
    async with pod.portforward(remote_port=8080, local_port=None) as port, httpx.AsyncClient() as web:
        assert "web" in (await web.get(f"http://127.0.0.1:{port}/")).text
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": {"a": "d"}},
        "template": {"metadata": {"labels": {"a": "d"}}, "spec": SPEC},
    }
    deployment = await Deployment({"metadata": {"name": "d", "namespace": NAMESPACE}, "spec": spec}, api=api)
    await deployment.create()
    await deployment.scale(1)
    async for event, shown in api.watch("pods", namespace=NAMESPACE):
        assert event == "ADDED" and shown.name
        break
    await deployment.delete("Foreground")
    await pod.delete()
    await pod.wait("delete", timeout=60)


asyncio.run(main())

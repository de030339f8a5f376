"""kubernetes_asyncio: verbs, watch, exec and logs."""

import asyncio
import sys

from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.api_client import ApiClient
from kubernetes_asyncio.stream import WsApiClient

NAMESPACE = sys.argv[1]
SPEC = {"containers": [{"name": "c", "image": "steersman.local/web:1"}], "terminationGracePeriodSeconds": 1}


async def main():
    await config.load_kube_config()
    async with ApiClient() as api:
        core = client.CoreV1Api(api)
        await core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "a"}, "data": {"x": "y"}})
        assert (await core.read_namespaced_config_map("a", NAMESPACE)).data == {"x": "y"}
        await core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"b": "2"}})
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"s": "a"}}
        applied = await core.patch_namespaced_config_map(
            "a", NAMESPACE, body, field_manager="me", force=True, _content_type="application/apply-patch+yaml"
        )
        assert applied.data == {"x": "y", "b": "2", "s": "a"}
        await core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "web"}, "spec": SPEC})
        async with watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, timeout_seconds=60) as events:
            async for event in events:
                if event["object"].status.phase == "Running":
                    break
            else:
                raise AssertionError("it never ran")
        assert isinstance(await core.read_namespaced_pod_log("web", NAMESPACE), str)
        async with WsApiClient() as sockets:
            run = client.CoreV1Api(api_client=sockets).connect_get_namespaced_pod_exec
            said = await run(
                "web", NAMESPACE, command=["echo", "hello"], stderr=True, stdin=False, stdout=True, tty=False
            )
            assert said == "hello\n", said
        await core.delete_namespaced_pod("web", NAMESPACE, grace_period_seconds=0)


asyncio.run(main())

"""A kopf operator for a kind of its own: handlers, children, status, timers, daemons, indices and finalizers."""

import asyncio
import contextlib
import sys
import threading
import time

import kopf
from kubernetes import client, config
from kubernetes.client.rest import ApiException

NAMESPACE = sys.argv[1]
GROUP = f"{NAMESPACE}.example.com"
PLURAL = "ephemeralvolumeclaims"
SEEN: set[str] = set()


@kopf.on.startup()
def quiet(settings, **_):
    settings.posting.enabled = True
    settings.persistence.finalizer = f"{GROUP}/kopf"
    settings.watching.server_timeout = 30


@kopf.on.create(GROUP, "v1", PLURAL)
def made(spec, body, name, namespace, **_):
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-child"},
        "data": {"size": spec["size"]},
    }
    kopf.adopt(child)
    client.CoreV1Api().create_namespaced_config_map(namespace, child)
    kopf.info(body, reason="Made", message="made")
    SEEN.add("create")
    return {"child": child["metadata"]["name"]}


@kopf.on.field(GROUP, "v1", PLURAL, field="spec.size")
def resized(old, new, name, namespace, **_):
    if old is not None:
        client.CoreV1Api().patch_namespaced_config_map(f"{name}-child", namespace, {"data": {"size": new}})
        SEEN.add("field")


@kopf.on.update(GROUP, "v1", PLURAL, retries=5, backoff=0.2)
def changed(retry, **_):
    if retry == 0:
        raise kopf.TemporaryError("once more", delay=0.2)
    SEEN.add("update")


@kopf.on.delete(GROUP, "v1", PLURAL)
def gone(**_):
    SEEN.add("delete")


@kopf.on.event("v1", "configmaps")
def told(**_):
    SEEN.add("event")


@kopf.timer(GROUP, "v1", PLURAL, interval=0.5)
def ticked(**_):
    SEEN.add("timer")


@kopf.daemon(GROUP, "v1", PLURAL)
async def kept(stopped, **_):
    SEEN.add("daemon")
    while not stopped:
        await stopped.wait(1)


@kopf.index("v1", "configmaps")
def by_size(name, body, **_):
    return {(body.get("data") or {}).get("size"): name}


def eventually(claim, what, within_s=40):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(ApiException, KeyError):
            if claim():
                return
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s} s: {what}; handlers seen: {SEEN}")


def main():
    config.load_kube_config()
    extensions, custom, core = client.ApiextensionsV1Api(), client.CustomObjectsApi(), client.CoreV1Api()
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    extensions.create_custom_resource_definition(
        {
            "metadata": {"name": f"{PLURAL}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {"plural": PLURAL, "kind": "EphemeralVolumeClaim"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {"type": "object", "properties": {"spec": schema, "status": schema}}
                        },
                        "subresources": {"status": {}},
                    }
                ],
            },
        }
    )
    stop, ready = threading.Event(), threading.Event()
    run = kopf.operator(namespaces=[NAMESPACE], stop_flag=stop, ready_flag=ready, standalone=True)
    thread = threading.Thread(target=lambda: asyncio.run(run))
    thread.start()
    try:
        assert ready.wait(30)
        where = (GROUP, "v1", NAMESPACE, PLURAL)
        eventually(lambda: custom.list_namespaced_custom_object(*where), "the kind is served")
        custom.create_namespaced_custom_object(
            *where,
            {
                "apiVersion": f"{GROUP}/v1",
                "kind": "EphemeralVolumeClaim",
                "metadata": {"name": "e"},
                "spec": {"size": "1G"},
            },
        )
        child = lambda: core.read_namespaced_config_map("e-child", NAMESPACE)  # noqa: E731
        eventually(lambda: child().data == {"size": "1G"}, "the child is made")
        assert child().metadata.owner_references[0].name == "e"
        shown = lambda: custom.get_namespaced_custom_object(*where, "e")  # noqa: E731
        eventually(lambda: shown()["status"]["made"] == {"child": "e-child"}, "the result is in its status")
        custom.patch_namespaced_custom_object(*where, "e", {"spec": {"size": "2G"}})
        eventually(lambda: child().data == {"size": "2G"}, "the child follows")
        eventually(lambda: {"create", "field", "update", "event", "timer", "daemon"} <= SEEN, "every handler ran")
        custom.delete_namespaced_custom_object(*where, "e")
        eventually(lambda: "delete" in SEEN, "its deletion is handled")

        def absent():
            try:
                shown()
            except ApiException as error:
                return error.status == 404
            return False

        eventually(absent, "it goes when its finalizer does")
        eventually(
            lambda: any("made" in each.message for each in core.list_namespaced_event(NAMESPACE).items),
            "events are posted",
        )
    finally:
        stop.set()
        thread.join(20)
        extensions.delete_custom_resource_definition(f"{PLURAL}.{GROUP}")


main()

"""The official Python client: typed, dynamic, watch, stream, informer and leader election."""

import contextlib
import datetime
import sys
import threading
import time
import uuid

from kubernetes import client, config, dynamic, stream, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.informer import ADDED, DELETED, MODIFIED, SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock

NAMESPACE = sys.argv[1]
IMAGE = "steersman.local/web:1"


def eventually(claim, what, within_s=40):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if claim():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {within_s} s: {what}")


def pod(name, command=None):
    container = client.V1Container(
        name="c", image=IMAGE, command=command, ports=[client.V1ContainerPort(container_port=8080)]
    )
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=spec)


def typed_verbs(core, apps):
    made = core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata={"name": "c"}, data={"a": "1"}))
    assert made.metadata.uid and isinstance(made.metadata.creation_timestamp, datetime.datetime)
    core.patch_namespaced_config_map("c", NAMESPACE, {"data": {"b": "2"}})
    found = core.read_namespaced_config_map("c", NAMESPACE)
    assert found.data == {"a": "1", "b": "2"}
    found.data = {"z": "9"}
    core.replace_namespaced_config_map("c", NAMESPACE, found)
    with contextlib.suppress(ApiException):
        core.replace_namespaced_config_map("c", NAMESPACE, found)
        raise AssertionError("an outdated replace passed")
    for n in range(5):
        core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": f"page-{n}", "labels": {"page": "y"}}})
    first = core.list_namespaced_config_map(NAMESPACE, limit=2, label_selector="page")
    second = core.list_namespaced_config_map(
        NAMESPACE, limit=9, label_selector="page", _continue=first.metadata._continue
    )
    assert (len(first.items), len(second.items)) == (2, 3)
    assert core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=c").items[0].data == {"z": "9"}
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="page").items
    try:
        core.read_namespaced_config_map("absent", NAMESPACE)
    except ApiException as error:
        assert error.status == 404 and "NotFound" in error.body
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": NAMESPACE},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": IMAGE}]}},
        },
    }
    utils.create_from_dict(client.ApiClient(), deployment)
    apps.patch_namespaced_deployment_scale("d", NAMESPACE, {"spec": {"replicas": 1}})
    assert apps.read_namespaced_deployment_scale("d", NAMESPACE).spec.replicas == 1
    apps.delete_namespaced_deployment("d", NAMESPACE, propagation_policy="Foreground")
    assert client.VersionApi().get_code().minor == "32"


def dynamic_client():
    dyn = dynamic.DynamicClient(client.ApiClient())
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    maps.create(body={"metadata": {"name": "dyn"}, "data": {"a": "b"}}, namespace=NAMESPACE)
    assert maps.get(name="dyn", namespace=NAMESPACE).data.a == "b"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"c": "d"}}
    applied = maps.server_side_apply(body=body, namespace=NAMESPACE, field_manager="me", force_conflicts=True)
    assert applied.data.to_dict() == {"a": "b", "c": "d"}
    maps.patch(name="dyn", namespace=NAMESPACE, body={"data": {"a": None}}, content_type="application/merge-patch+json")
    events = maps.watch(namespace=NAMESPACE, timeout=3, name="dyn")
    assert next(iter(events))["object"].data.to_dict() == {"c": "d"}
    maps.delete(name="dyn", namespace=NAMESPACE)
    assert {each.kind for each in dyn.resources.search(group="apps")} >= {"Deployment", "StatefulSet"}


def watching(core):
    listed = core.list_namespaced_config_map(NAMESPACE)
    seen = []

    def look():
        watcher = watch.Watch()
        version = listed.metadata.resource_version
        for event in watcher.stream(
            core.list_namespaced_config_map, NAMESPACE, resource_version=version, timeout_seconds=20
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                watcher.stop()

    thread = threading.Thread(target=look)
    thread.start()
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "w"}})
    core.patch_namespaced_config_map("w", NAMESPACE, {"data": {"b": "2"}})
    core.delete_namespaced_config_map("w", NAMESPACE)
    thread.join(25)
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")], seen


def informed(core):
    seen = []
    informer = SharedInformer(list_func=core.list_namespaced_config_map, namespace=NAMESPACE)
    for kind in (ADDED, MODIFIED, DELETED):
        informer.add_event_handler(kind, lambda each, kind=kind: seen.append((kind, each.metadata.name)))
    informer.start()
    eventually(lambda: (ADDED, "c") in seen, "what is there")
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "i"}})
    core.patch_namespaced_config_map("i", NAMESPACE, {"data": {"b": "2"}})
    core.delete_namespaced_config_map("i", NAMESPACE)
    eventually(lambda: (DELETED, "i") in seen, f"the informer sees all: {seen}")
    informer.stop()
    for each in threading.enumerate():  # its thread may still tell stderr of the watch it lost, which ends Python badly
        if each is not threading.current_thread() and each.daemon:
            each.join(10)


def streams(core):
    core.create_namespaced_pod(NAMESPACE, pod("web"))
    eventually(lambda: core.read_namespaced_pod("web", NAMESPACE).status.phase == "Running", "it runs")
    run = core.connect_get_namespaced_pod_exec
    quiet = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
    assert stream.stream(run, "web", NAMESPACE, command=["echo", "hello"], **quiet) == "hello\n"
    open_ = stream.stream(
        run, "web", NAMESPACE, command=["sh", "-c", "read x; echo got $x; exit 3"], _preload_content=False,
        stderr=True, stdin=True, stdout=True, tty=False,
    )  # fmt: skip
    open_.write_stdin("word\n")
    open_.run_forever(timeout=20)
    assert open_.read_stdout() == "got word\n" and open_.returncode == 3
    core.create_namespaced_pod(NAMESPACE, pod("ticks", ["sh", "-c", "while sleep 0.1; do echo tick; done"]))
    eventually(lambda: core.read_namespaced_pod("ticks", NAMESPACE).status.phase == "Running", "it runs")
    attached = stream.stream(
        core.connect_get_namespaced_pod_attach, "ticks", NAMESPACE, _preload_content=False, **quiet
    )
    attached.update(timeout=5)
    eventually(lambda: "tick" in attached.read_stdout(timeout=1), "attach shows what it says")
    attached.close()
    follow = watch.Watch()
    for line in follow.stream(core.read_namespaced_pod_log, "ticks", NAMESPACE):
        assert line == "tick"
        follow.stop()
    eventually(lambda: "web" in forwarded(core), "the pod answers", 20)


def forwarded(core):
    forward = stream.portforward(core.connect_get_namespaced_pod_portforward, "web", NAMESPACE, ports="8080")
    connection = forward.socket(8080)
    connection.setblocking(True)
    connection.sendall(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.close()
    assert forward.error(8080) is None, forward.error(8080)
    return answer.decode()


def elected():
    leading = threading.Event()
    lock = ConfigMapLock("leader", NAMESPACE, uuid.uuid4())
    settings = electionconfig.Config(
        lock, lease_duration=5, renew_deadline=3, retry_period=1, onstarted_leading=leading.set, onstopped_leading=None
    )
    threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
    assert leading.wait(20), "never led"


config.load_kube_config()
CORE = client.CoreV1Api()
for part, arguments in (
    (typed_verbs, (CORE, client.AppsV1Api())),
    (dynamic_client, ()),
    (watching, (CORE,)),
    (informed, (CORE,)),
    (streams, (CORE,)),
    (elected, ()),
):
    part(*arguments)
    print(part.__name__, "ok", flush=True)

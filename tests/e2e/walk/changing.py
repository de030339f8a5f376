"""What changes what is there: apply and its kin, patch, labels, scale, set, rollout, delete, wait."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path

import pytest

from tests.e2e.conftest import eventually, web_manifest
from tests.e2e.kubectl import IMAGE, Kubectl


def config_map(name: str, **data: str) -> str:
    labels = {"walk": "pruned"}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": data}
    )


def a_list(*items: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [json.loads(item) for item in items]})


def apply_diff_edit_and_replace(k: Kubectl) -> None:
    assert "created" in k("apply", "-f", "-", stdin=config_map("c", a="1", b="2"))
    assert "unchanged" in k("apply", "-f", "-", stdin=config_map("c", a="1", b="2"))
    changed = config_map("c", a="3")
    assert '-  b: "2"' in k.fails("diff", "-f", "-", stdin=changed)
    assert "server dry run" in k("apply", "-f", "-", "--dry-run=server", stdin=changed)
    assert "(dry run)" in k("apply", "-f", "-", "--dry-run=client", stdin=changed)
    assert k.json("cm", "c")["data"] == {"a": "1", "b": "2"}
    assert "configured" in k("apply", "-f", "-", stdin=changed)
    assert k.json("cm", "c")["data"] == {"a": "3"}
    assert k("diff", "-f", "-", stdin=changed) == ""
    assert '"a":"3"' in k("apply", "view-last-applied", "cm/c", "-o", "json").replace(" ", "")
    assert "edited" in k("apply", "edit-last-applied", "cm/c", KUBE_EDITOR="sed -i 's/a: .3./a: four/'")
    assert "configured" in k("apply", "set-last-applied", "-f", "-", stdin=changed)
    assert "edited" in k("edit", "cm", "c", KUBE_EDITOR="sed -i s/pruned/edited/")
    assert k.path("cm/c", ".metadata.labels.walk") == "edited"
    assert "Edit cancelled" in k("edit", "cm", "c", KUBE_EDITOR="true")
    whole = k.json("cm", "c")
    whole["data"]["a"] = "5"
    assert "replaced" in k("replace", "-f", "-", stdin=json.dumps(whole))
    assert "the object has been modified" in k.fails("replace", "-f", "-", stdin=json.dumps(whole))
    before = k.path("cm/c", ".metadata.uid")
    assert "replaced" in k("replace", "--force", "-f", "-", stdin=config_map("c", a="6"))
    assert k.path("cm/c", ".metadata.uid") != before and k.path("cm/c", ".data.a") == "6"
    assert "NotFound" in k.fails("replace", "-f", "-", stdin=config_map("absent"))


def apply_prunes(k: Kubectl) -> None:
    k("apply", "-f", "-", stdin=a_list(config_map("one"), config_map("two")))
    only = ["apply", "-f", "-", "--prune", "-l", "walk=pruned", "--prune-allowlist=core/v1/ConfigMap"]
    assert "configmap/two pruned" in k(*only, stdin=a_list(config_map("one")))
    assert "two" not in k("get", "cm", "-o", "name")
    sets = ["apply", "-f", "-", "--prune", "--applyset=configmaps/set"]
    k(*sets, stdin=a_list(config_map("x"), config_map("y")), KUBECTL_APPLYSET="true")
    assert "configmap/y pruned" in k(*sets, stdin=a_list(config_map("x")), KUBECTL_APPLYSET="true")


def apply_on_the_server(k: Kubectl) -> None:
    apply = ["apply", "--server-side", "-f", "-"]
    assert "serverside-applied" in k(*apply, stdin=config_map("c", a="1", b="2"))
    assert k.json("cm", "c")["data"] == {"a": "1", "b": "2"}
    said = k.fails(*apply, "--field-manager=other", stdin=config_map("c", a="2"))
    assert 'conflict with "kubectl": .data.a' in said
    k(*apply, "--field-manager=other", "--force-conflicts", stdin=config_map("c", a="2"))
    k(*apply, stdin=config_map("c", b="3"))
    assert k.json("cm", "c")["data"] == {"a": "2", "b": "3"}
    assert '+  b: "4"' in k.fails("diff", "--server-side", "-f", "-", stdin=config_map("c", b="4"))
    assert "serverside-applied" in k(*apply, "--dry-run=server", stdin=config_map("c", b="4"))
    k("apply", "-f", "-", stdin=config_map("old", a="1", b="2"))
    k(*apply, stdin=config_map("old", a="1"))
    assert k.json("cm", "old")["data"] == {"a": "1"}, "fields of client-side apply migrate"
    shown = k("get", "cm", "old", "-o", "yaml", "--show-managed-fields")
    assert "manager: kubectl\n" in shown and "kubectl-client-side-apply" not in shown


def apply_from_kustomizations(k: Kubectl) -> None:
    with tempfile.TemporaryDirectory() as there:
        (Path(there) / "kustomization.yaml").write_text(
            "namePrefix: pre-\nresources: [c.yaml]\nconfigMapGenerator: [{name: made, literals: [x=y]}]\n"
        )
        (Path(there) / "c.yaml").write_text(config_map("c", a="b"))
        assert "name: pre-c" in k("kustomize", there)
        assert "configmap/pre-c created" in k("apply", "-k", there)
        assert "pre-c" in k("get", "-k", there)
        assert "pre-made" in k("delete", "-k", there)


def patch_in_every_way(k: Kubectl) -> None:
    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=0")
    strategic = '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"b"}]}]}}}}'
    k("patch", "deployment", "d", "-p", strategic)
    container = k.json("deployment", "d")["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["env"]) == (IMAGE, [{"name": "A", "value": "b"}])
    k("patch", "deployment", "d", "--type=merge", "-p", '{"metadata":{"labels":{"m":"1","app":null}}}')
    assert k.json("deployment", "d")["metadata"]["labels"] == {"m": "1"}
    operations = '[{"op":"test","path":"/spec/replicas","value":0},{"op":"remove","path":"/metadata/labels/m"}]'
    k("patch", "deployment", "d", "--type=json", "-p", operations)
    assert "labels" not in k.json("deployment", "d")["metadata"]
    k("patch", "deployment", "d", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    assert k.path("deployment/d", ".spec.replicas") == "1"
    assert "Scale" in k("get", "deployment", "d", "--subresource=scale", "-o", "yaml")
    condition = '{"status":{"conditions":[{"type":"Walked","status":"True"}]}}'
    assert "patched" in k("patch", "deployment", "d", "--subresource=status", "-p", condition)
    assert "no change" in k("patch", "deployment", "d", "--type=merge", "-p", "{}")
    assert "is invalid" in k.fails("patch", "deployment", "d", "-p", '{"spec":{"replicas":-1}}')
    assert "patched" in k("patch", "-f", "-", "-p", '{"metadata":{"labels":{"f":"1"}}}', "--dry-run=server",
                          stdin=json.dumps(k.json("deployment", "d")))  # fmt: skip
    k("patch", "deployment", "d", "-p", '{"spec":{"replicas":0}}')


def label_annotate_and_scale(k: Kubectl) -> None:
    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=0")
    k("label", "deployment", "d", "a=b", "c=d")
    assert "already has a value" in k.fails("label", "deployment", "d", "a=z")
    k("label", "deployment", "d", "a=z", "c-", "--overwrite")
    assert k.json("deployment", "d")["metadata"]["labels"] == {"app": "d", "a": "z"}
    assert "a=z" in k("label", "deployment", "d", "--list")
    k("annotate", "deployments", "--all", "note=here")
    assert k.path("deployment/d", ".metadata.annotations.note") == "here"
    k(
        "annotate",
        "deployment",
        "d",
        "note-",
        f"--resource-version={k.path('deployment/d', '.metadata.resourceVersion')}",
    )
    k("scale", "deployment/d", "--replicas=1", "--current-replicas=0")
    assert k.path("deployment/d", ".spec.replicas") == "1"
    said = k.fails("scale", "deployment/d", "--replicas=2", "--current-replicas=5")
    assert "xpected replicas to be 5" in said
    k("scale", "deployment", "--all", "--replicas=0")


def set_every_part(k: Kubectl) -> None:
    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=0")
    k("create", "sa", "sa")
    k("create", "configmap", "c", "--from-literal=FROM=map")
    k("create", "service", "clusterip", "s", "--tcp=80")
    k("create", "role", "r", "--verb=get", "--resource=pods")
    k("create", "rolebinding", "rb", "--role=r", "--user=u")
    k("set", "image", "deployment/d", "*=steersman.local/pause:1")
    k("set", "env", "deployment/d", "A=b", "C=d")
    k("set", "env", "deployment/d", "--from=configmap/c", "C-")
    assert "A=b" in k("set", "env", "deployment/d", "--list")
    k("set", "resources", "deployment/d", "--limits=cpu=20m,memory=32Mi", "--requests=cpu=10m")
    k("set", "serviceaccount", "deployment/d", "sa")
    k("set", "selector", "service/s", "x=y")
    k("set", "subject", "rolebinding/rb", "--serviceaccount=x:y", "--group=g")
    spec = k.json("deployment", "d")["spec"]["template"]["spec"]
    assert spec["containers"][0]["image"] == "steersman.local/pause:1" and spec["serviceAccountName"] == "sa"
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "20m", "memory": "32Mi"}
    assert [each["name"] for each in spec["containers"][0]["env"]] == ["A", "FROM"]
    assert k.path("svc/s", ".spec.selector.x") == "y"
    assert len(k.json("rolebinding", "rb")["subjects"]) == 3


def roll_out(k: Kubectl) -> None:
    k("apply", "-f", "-", stdin=web_manifest(replicas=1))
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=60s")
    k("set", "env", "deployment/web", "V=2")
    k("annotate", "deployment/web", "kubernetes.io/change-cause=two")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    assert "two" in k("rollout", "history", "deployment/web")
    assert "V:\t2" in k("rollout", "history", "deployment/web", "--revision=2")
    assert "rolled back" in k("rollout", "undo", "deployment/web", "--to-revision=1")
    k("rollout", "status", "deployment/web", "--timeout=60s")
    assert "env" not in k.json("deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    k("rollout", "pause", "deployment/web")
    assert k.path("deployment/web", ".spec.paused") == "true"
    assert "paused" in k.fails("rollout", "restart", "deployment/web")
    k("rollout", "resume", "deployment/web")
    assert "restarted" in k("rollout", "restart", "deployment/web")
    assert "successfully rolled out" in k("rollout", "status", "deployment/web", "--timeout=60s")
    k("delete", "deployment,service", "web", "--wait=false")


def roll_out_sets(k: Kubectl) -> None:
    """StatefulSets and DaemonSets keep their history in ControllerRevisions."""
    for name in ("statefulset", "daemonset"):
        if importlib.util.find_spec(f"controllers.{name}") is None:
            pytest.skip(f"this build has no {name} controller")
    template = {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": IMAGE}]},
    }
    spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    for kind, extra in (("StatefulSet", {"serviceName": "s"}), ("DaemonSet", {})):
        what = f"{kind.lower()}/one"
        one = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "one"}, "spec": {**spec, **extra}}
        k("apply", "-f", "-", stdin=json.dumps(one))
        k("rollout", "status", what, "--timeout=60s")
        k("set", "env", what, "V=2")
        k("rollout", "status", what, "--timeout=60s")
        assert "2" in k("rollout", "history", what)
        assert "Revision" in k("describe", "controllerrevisions")
        assert "rolled back" in k("rollout", "undo", what)
        k("rollout", "status", what, "--timeout=60s")
        k("rollout", "restart", what)
        k("rollout", "status", what, "--timeout=60s")
        k("delete", what, "--timeout=60s")


def delete_in_every_way(k: Kubectl) -> None:
    for cascade in ("background", "foreground", "orphan"):
        k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=0")
        eventually(lambda: k("get", "rs", "-o", "name").strip(), 20, "a replica set")
        assert "deleted" in k("delete", "deployment", "d", f"--cascade={cascade}", "--timeout=60s")
        if cascade == "orphan":
            assert k("get", "rs", "-o", "name").strip(), "orphans stay"
            k("delete", "rs", "--all", "--now", "--timeout=60s")
        eventually(lambda: not k("get", "rs", "-o", "name").strip(), 20, "it goes with its owner")
    k("run", "web", f"--image={IMAGE}")
    k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    assert "force deleted" in k("delete", "pod", "web", "--grace-period=0", "--force")
    k("apply", "-f", "-", stdin=a_list(config_map("a"), config_map("b")))
    assert "server dry run" in k("delete", "cm", "a", "--dry-run=server")
    assert "deleted" in k("delete", "-f", "-", stdin=config_map("a"))
    assert "deleted" in k("delete", "cm", "-l", "walk=pruned")
    assert "NotFound" in k.fails("delete", "cm", "a")
    assert k("delete", "cm", "a", "--ignore-not-found") == ""
    k("create", "configmap", "raw", "--from-literal=a=b")
    k("delete", "--raw", f"/api/v1/namespaces/{k.namespace}/configmaps/raw")
    k("create", "configmap", "field", "--from-literal=a=b")
    assert "field" in k("delete", "cm", "--field-selector=metadata.name=field")


def wait_for_everything(k: Kubectl) -> None:
    k("run", "web", f"--image={IMAGE}")
    assert "condition met" in k("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    assert "condition met" in k("wait", "--for=jsonpath={.status.phase}=Running", "pod/web", "--timeout=60s")
    assert "condition met" in k("wait", "--for=condition=PodScheduled=true", "pods", "--all", "--timeout=60s")
    assert "timed out" in k.fails("wait", "--for=condition=Nonsense", "pod/web", "--timeout=1s")
    k("delete", "pod", "web", "--grace-period=1", "--wait=false")
    k("wait", "--for=delete", "pod/web", "--timeout=60s")
    assert "NotFound" in k.fails("get", "pod", "web")

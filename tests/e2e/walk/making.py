"""Every generator of `create`, and run, expose and autoscale beside them."""

from __future__ import annotations

import shlex

from tests.e2e.conftest import eventually
from tests.e2e.kubectl import IMAGE, Kubectl

# What is typed after `create`, the object it makes, a field of it, and what that field holds.
NAMESPACED: tuple[tuple[str, str, str, str], ...] = (
    ("configmap c --from-literal=a=b", "cm/c", ".data.a", "b"),
    ("secret generic s --from-literal=p=q", "secret/s", ".data.p", "cQ=="),
    (
        "secret docker-registry d --docker-username=u --docker-password=p --docker-server=r",
        "secret/d",
        ".type",
        "kubernetes.io/dockerconfigjson",
    ),
    ("serviceaccount sa", "sa/sa", ".metadata.name", "sa"),
    ("role r --verb=get,list --resource=pods,deployments.apps/scale", "role/r", ".rules[0].verbs[1]", "list"),
    ("role named --verb=get --resource=pods --resource-name=x", "role/named", ".rules[0].resourceNames", '["x"]'),
    ("rolebinding rb --role=r --serviceaccount=x:sa --user=u --group=g", "rolebinding/rb", ".subjects[2].name", "sa"),
    ("deployment d --image={image} --replicas=0 --port=8080", "deployment/d", ".spec.replicas", "0"),
    ("service clusterip svc --tcp=80:8080", "svc/svc", ".spec.ports[0].targetPort", "8080"),
    ("service clusterip headless --clusterip=None", "svc/headless", ".spec.clusterIP", "None"),
    ("service nodeport np --tcp=80:8080", "svc/np", ".spec.type", "NodePort"),
    ("service loadbalancer lb --tcp=80:8080", "svc/lb", ".spec.type", "LoadBalancer"),
    ("service externalname en --external-name=example.com", "svc/en", ".spec.externalName", "example.com"),
    ("job j --image={image} -- true", "job/j", ".spec.template.spec.restartPolicy", "Never"),
    ("cronjob cj --image={image} '--schedule=0 0 1 1 *' -- true", "cronjob/cj", ".spec.schedule", "0 0 1 1 *"),
    ("job from --from=cronjob/cj", "job/from", ".metadata.ownerReferences[0].kind", "CronJob"),
    (
        "ingress ing '--rule=a.b/x*=svc:80' --class=none",
        "ingress/ing",
        ".spec.rules[0].http.paths[0].pathType",
        "Prefix",
    ),
    ("ingress tls --rule=a.b/=svc:80,tls=s --default-backend=svc:80", "ingress/tls", ".spec.tls[0].secretName", "s"),
    ("pdb b --selector=app=d --min-available=50%", "pdb/b", ".spec.minAvailable", "50%"),
    ("pdb m --selector=app=d --max-unavailable=1", "pdb/m", ".spec.maxUnavailable", "1"),
    ("quota q --hard=pods=10,requests.cpu=1", "quota/q", ".spec.hard.pods", "10"),
    ("quota scoped --hard=pods=10 --scopes=BestEffort", "quota/scoped", ".spec.scopes[0]", "BestEffort"),
)
EVERYWHERE: tuple[tuple[str, str, str, str], ...] = (
    ("namespace {0}", "ns/{0}", ".metadata.name", "{0}"),
    (
        "clusterrole {0} --verb=get --resource=nodes --resource=nodes/status",
        "clusterrole/{0}",
        ".rules[0].verbs[0]",
        "get",
    ),
    (
        "clusterrole {0}-url --verb=get --non-resource-url=/metrics",
        "clusterrole/{0}-url",
        ".rules[0].nonResourceURLs[0]",
        "/metrics",
    ),
    (
        "clusterrole {0}-sum --aggregation-rule=a=b",
        "clusterrole/{0}-sum",
        ".aggregationRule.clusterRoleSelectors[0].matchLabels.a",
        "b",
    ),
    ("clusterrolebinding {0} --clusterrole={0} --user=u", "clusterrolebinding/{0}", ".roleRef.name", "{0}"),
    ("priorityclass {0} --value=5 --description=five", "priorityclass/{0}", ".value", "5"),
)


def create_with_every_generator(k: Kubectl) -> None:
    for command, made, path, value in NAMESPACED:
        kind, *rest = shlex.split(command.replace("{image}", IMAGE))
        assert "server dry run" in k("create", kind, "--dry-run=server", *rest), command
        assert "apiVersion" in k("create", kind, "--dry-run=client", "--output=yaml", *rest), command
        assert "created" in k("create", kind, *rest)
        assert k.path(made, path) == value, (command, k.path(made, path))
    assert k.path("deployment/d", ".spec.template.spec.containers[0].ports[0].containerPort") == "8080"


def create_what_belongs_to_the_cluster(k: Kubectl) -> None:
    name = f"{k.namespace}-made"
    made = []
    try:
        for command, what, path, value in EVERYWHERE:
            assert "created" in k("create", *command.format(name).split())
            made.append(what.format(name))
            assert k.path(made[-1], path) == value.format(name)
    finally:
        for what in made:
            k("delete", *what.split("/"), "--wait=false")


def create_files_tokens_and_what_is_refused(k: Kubectl) -> None:
    k("create", "configmap", "files", "--from-file=host=/etc/hostname", "--from-file=/etc/hosts")
    assert set(k.json("cm", "files")["data"]) == {"host", "hosts"}
    k("create", "serviceaccount", "sa")
    assert k("create", "token", "sa", "--duration=10m", "--audience=me").count(".") == 2
    k("create", "secret", "generic", "s", "--from-literal=p=q")
    bound = k("create", "token", "sa", "--bound-object-kind=Secret", "--bound-object-name=s", "-o", "yaml")
    assert "kind: TokenRequest" in bound
    assert "already exists" in k.fails("create", "configmap", "files")
    wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\ndatta: {}\n"
    assert 'unknown field "datta"' in k.fails("create", "-f", "-", stdin=wrong)
    assert "created" in k("create", "-f", "-", "--validate=ignore", stdin=wrong)
    assert "Warning" in k("apply", "-f", "-", "--validate=warn", stdin=wrong)
    assert 'unknown field "datta"' in k.fails("apply", "-f", "-", "--validate=strict", stdin=wrong)
    assert "is invalid" in k.fails("create", "configmap", "Not_A_Name") + k.fails("create", "sa", "Also Not")
    assert "cronjobs.batch" in k.fails("create", "job", "x", "--from=cronjob/absent")
    k("create", "--raw", f"/api/v1/namespaces/{k.namespace}/configmaps", "-f", "-", stdin='{"metadata":{"name":"raw"}}')
    assert k.path("cm/raw", ".metadata.name") == "raw"


def run_expose_and_autoscale(k: Kubectl) -> None:
    k("run", "web", f"--image={IMAGE}", "--port=8080", "--expose", "--env=A=b", "--labels=app=web,tier=x")
    assert k.path("pod/web", ".spec.containers[0].env[0].value") == "b"
    assert k.path("svc/web", ".spec.ports[0].port") == "8080"
    k("run", "once", f"--image={IMAGE}", "--restart=Never", "--overrides={\"spec\":{\"activeDeadlineSeconds\":60}}",
      "--command", "--", "echo", "hello")  # fmt: skip
    eventually(lambda: k.path("pod/once", ".status.phase") == "Succeeded", 40, "the pod ran to its end")
    assert k("logs", "once").strip() == "hello"
    k("expose", "pod", "web", "--port=81", "--target-port=8080", "--name=again", "--type=NodePort")
    assert k.path("svc/again", ".spec.selector.tier") == "x"
    k("create", "deployment", "d", f"--image={IMAGE}", "--replicas=0")
    k("expose", "deployment", "d", "--port=80", "--protocol=UDP", "--session-affinity=ClientIP")
    assert k.path("svc/d", ".spec.sessionAffinity") == "ClientIP"
    k("expose", "service", "d", "--port=82", "--name=d2")
    k("autoscale", "deployment", "d", "--min=1", "--max=3", "--cpu-percent=50")
    assert k.path("hpa/d", ".spec.maxReplicas") == "3"
    assert 'deployments.apps "absent" not found' in k.fails("autoscale", "deployment", "absent", "--max=3")

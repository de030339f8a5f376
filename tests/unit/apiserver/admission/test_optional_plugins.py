"""The plugins that are off unless somebody turns them on."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aiohttp import web

from api.apps import replicaset
from api.core import configmap, event, namespace, pod, service
from api.core.placement import Toleration
from api.errors import TooManyRequests
from apiserver.admission.always_admit import AlwaysAdmit
from apiserver.admission.always_deny import AlwaysDeny
from apiserver.admission.always_pull_images import AlwaysPullImages
from apiserver.admission.chain import build
from apiserver.admission.configuration import AdmissionSettings
from apiserver.admission.deny_service_external_ips import DenyServiceExternalIPs
from apiserver.admission.event_rate_limit import EventRateLimit, Limit
from apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from apiserver.admission.image_policy_webhook import ImagePolicy, ImagePolicyWebhook
from apiserver.admission.limit_pod_hard_anti_affinity_topology import LimitPodHardAntiAffinityTopology
from apiserver.admission.namespace_auto_provision import NamespaceAutoProvision
from apiserver.admission.namespace_exists import NamespaceExists
from apiserver.admission.owner_references_permission_enforcement import OwnerReferencesPermissionEnforcement
from apiserver.admission.plugin_names import DEFAULT, OFF, ORDER, BadNames, choose
from apiserver.admission.pod_node_selector import PodNodeSelector
from apiserver.admission.pod_toleration_restriction import PodTolerationRestriction, Tolerations, merged
from apiserver.auth.policy import rule
from apiserver.request import User
from component.clock import RealClock
from tests.certificates import Authority
from tests.unit.apiserver.admission.plugins import Cache, made, pass_through, pod_body, refused, request_for
from tests.unit.apiserver.auth.test_rbac import JANE, TO_JANE, authorizer, bind, cluster_role


def a_pod(*containers: dict[str, Any], **spec: Any) -> Any:
    return made(pod.RESOURCE, pod_body(*containers, **spec))


def a_namespace(**annotations: str) -> Any:
    found = {key.replace("_", "-"): value for key, value in annotations.items()}
    body = {f"scheduler.alpha.kubernetes.io/{key}": value for key, value in found.items()}
    return made(namespace.RESOURCE, {"metadata": {"name": "a", "annotations": body}})


# -- which are on


def test_flags_turn_plugins_on_and_off() -> None:
    assert choose((), ()) == DEFAULT == frozenset(ORDER) - OFF
    assert choose(["AlwaysPullImages"], ["PodSecurity"]) == (DEFAULT | {"AlwaysPullImages"}) - {"PodSecurity"}


@pytest.mark.parametrize(
    ("enable", "disable", "why"),
    [
        (["Magic"], [], 'enable-admission-plugins plugin "Magic" is unknown'),
        ([], ["Magic"], 'disable-admission-plugins plugin "Magic" is unknown'),
        (
            ["PodSecurity"],
            ["PodSecurity"],
            r"\[PodSecurity\] in enable-admission-plugins and disable-admission-plugins",
        ),
    ],
)
def test_flags_that_make_no_sense_are_refused(enable: list[str], disable: list[str], why: str) -> None:
    with pytest.raises(BadNames, match=why):
        choose(enable, disable)


async def test_only_what_is_on_is_asked() -> None:
    async def ensure(kind: Any, obj: Any) -> bool:
        raise AssertionError("nothing is made here")

    def chain(*names: str) -> Any:
        return build(
            lister=lambda kind: Cache(),
            read=Cache().read,
            rewrite_quota=None,  # type: ignore[arg-type]
            rbac=authorizer(),
            clock=RealClock(),
            random=None,  # type: ignore[arg-type]
            settings=AdmissionSettings(on=frozenset(names)),
            ensure=ensure,
            kinds=SimpleNamespace(all=()),  # type: ignore[arg-type]
        )

    made_one = made(configmap.RESOURCE, {"metadata": {"name": "x"}})
    await pass_through(chain("AlwaysAdmit"), request_for(configmap.RESOURCE, made_one))
    every = [name for name in ORDER if name not in ("ImagePolicyWebhook", "AlwaysDeny")]
    assert chain(*every)
    why = await refused(chain("AlwaysAdmit", "AlwaysDeny"), request_for(configmap.RESOURCE, made_one))
    assert why == 'configmaps "x" is forbidden: admission control is denying all modifications'


# -- one by one


async def test_always_admit_admits_and_always_deny_denies() -> None:
    request = request_for(pod.RESOURCE, a_pod())
    await pass_through(AlwaysAdmit(), request)
    assert "admission control is denying all modifications" in await refused(AlwaysDeny(), request)


async def test_images_are_always_pulled_unless_a_pod_keeps_those_it_has() -> None:
    plugin = AlwaysPullImages()
    new = a_pod({"imagePullPolicy": "Never"}, initContainers=[{"name": "i", "image": "j"}])
    await pass_through(plugin, request_for(pod.RESOURCE, new))
    assert [one.image_pull_policy for one in (*new.spec.containers, *new.spec.init_containers)] == ["Always"] * 2
    old, same, other = a_pod({"imagePullPolicy": "Never"}), a_pod({"imagePullPolicy": "Never"}), a_pod({"image": "k"})
    await pass_through(plugin, request_for(pod.RESOURCE, same, old=old))
    await pass_through(plugin, request_for(pod.RESOURCE, other, old=old))
    assert (same.spec.containers[0].image_pull_policy, other.spec.containers[0].image_pull_policy) == (
        "Never",
        "Always",
    )
    later = request_for(pod.RESOURCE, a_pod({"imagePullPolicy": "Never"}))
    with pytest.raises(
        Exception, match=r"spec.containers\[0\].imagePullPolicy: Unsupported value: \"Never\": supported"
    ):
        await plugin.validate(later)


@pytest.mark.parametrize(("key", "is_fine"), [("kubernetes.io/hostname", True), ("topology.kubernetes.io/zone", False)])
async def test_a_pod_keeps_others_off_its_node_and_not_off_its_zone(key: str, is_fine: bool) -> None:
    term = {"topologyKey": key, "labelSelector": {}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    plugin, request = LimitPodHardAntiAffinityTopology(), request_for(pod.RESOURCE, a_pod(affinity=affinity))
    if is_fine:
        await pass_through(plugin, request)
        return
    assert await refused(plugin, request) == (
        'pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey '
        "topology.kubernetes.io/zone but only key kubernetes.io/hostname is allowed"
    )


async def test_a_pod_that_asks_for_a_device_bears_its_taint() -> None:
    asks = {"resources": {"requests": {"example.org/gpu": "1", "cpu": "1", "x.kubernetes.io/y": "1"}}}
    borne = {"key": "example.org/gpu", "operator": "Exists", "effect": "NoSchedule"}
    new = a_pod(asks)
    for _ in range(2):
        await pass_through(ExtendedResourceToleration(), request_for(pod.RESOURCE, new))
    assert new.spec.tolerations == [Toleration(**borne)]


async def test_a_namespace_is_made_when_something_is_made_in_it() -> None:
    ensured: list[str] = []

    async def ensure(kind: Any, obj: Any) -> bool:
        ensured.append(obj.metadata.name)
        return True

    request = request_for(pod.RESOURCE, a_pod())
    await pass_through(NamespaceAutoProvision(Cache(a_namespace()), ensure), request)
    assert not ensured
    plugin = NamespaceAutoProvision(Cache(), ensure)
    request.dry_run = True
    await pass_through(plugin, request)
    await pass_through(plugin, request_for(pod.RESOURCE, a_pod(), old=a_pod()))
    await pass_through(plugin, request_for(namespace.RESOURCE, a_namespace()))
    assert not ensured
    request.dry_run = False
    await pass_through(plugin, request)
    assert ensured == ["a"]


async def test_nothing_is_written_in_a_namespace_that_is_not_there() -> None:
    there, absent = Cache(a_namespace()), Cache()
    for request in (request_for(pod.RESOURCE, a_pod()), request_for(pod.RESOURCE, None, old=a_pod())):
        await pass_through(NamespaceExists(there, there.read), request)
        await pass_through(NamespaceExists(absent, there.read), request)
        assert await refused(NamespaceExists(absent, absent.read), request) == 'namespaces "a" not found'


async def test_a_service_takes_no_new_external_addresses() -> None:
    def a_service(*addresses: str) -> Any:
        return made(service.RESOURCE, {"metadata": {"name": "s"}, "spec": {"externalIPs": list(addresses)}})

    plugin = DenyServiceExternalIPs()
    why = 'services "s" is forbidden: Use of external IPs is denied by admission control.'
    assert await refused(plugin, request_for(service.RESOURCE, a_service("192.0.2.1"))) == why
    await pass_through(plugin, request_for(service.RESOURCE, a_service()))
    old = a_service("192.0.2.1", "192.0.2.2")
    await pass_through(plugin, request_for(service.RESOURCE, a_service("192.0.2.2"), old=old))
    assert await refused(plugin, request_for(service.RESOURCE, a_service("192.0.2.3"), old=old)) == why


async def test_to_name_owners_takes_the_rights_that_follow_from_it() -> None:
    def owned(*, blocks: bool, kind: str = "ReplicaSet") -> Any:
        owner = {"apiVersion": "apps/v1", "kind": kind, "name": "r", "uid": "u", "blockOwnerDeletion": blocks}
        return made(configmap.RESOURCE, {"metadata": {"name": "c", "ownerReferences": [owner]}})

    plain = made(configmap.RESOURCE, {"metadata": {"name": "c"}})
    kinds: Any = SimpleNamespace(all=(replicaset.RESOURCE,))
    nobody = OwnerReferencesPermissionEnforcement(authorizer(), kinds)
    free, blocking = owned(blocks=False), owned(blocks=True)
    await pass_through(nobody, request_for(configmap.RESOURCE, free, user=JANE))
    await pass_through(nobody, request_for(configmap.RESOURCE, blocking, old=blocking, user=JANE))
    assert "cannot set an ownerRef on a resource you can't delete: , <nil>" in await refused(
        nobody, request_for(configmap.RESOURCE, free, old=plain, user=JANE)
    )
    assert (
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"
    ) in await refused(nobody, request_for(configmap.RESOURCE, blocking, user=JANE))
    assert (
        "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion apps/v1 Kind Nope: "
        'no matches for kind "Nope.apps" in version "v1"'
    ) in await refused(nobody, request_for(configmap.RESOURCE, owned(blocks=True, kind="Nope"), user=JANE))
    rights = cluster_role("r", rule("apps", "replicasets/finalizers", "update"), rule("core", "configmaps", "delete"))
    may = OwnerReferencesPermissionEnforcement(authorizer([rights], [bind("r", TO_JANE)]), kinds)
    await pass_through(may, request_for(configmap.RESOURCE, blocking, old=plain, user=JANE))


async def test_pods_go_to_their_namespaces_nodes() -> None:
    def plugin(of: Any, **selectors: str) -> PodNodeSelector:
        return PodNodeSelector(Cache(of), Cache(of).read, selectors)

    new = a_pod(nodeSelector={"disk": "fast"})
    await pass_through(plugin(a_namespace(node_selector="pool=a, env=x")), request_for(pod.RESOURCE, new))
    assert new.spec.node_selector == {"pool": "a", "env": "x", "disk": "fast"}
    by_default = a_pod()
    await pass_through(
        plugin(a_namespace(), clusterDefaultNodeSelector="pool=all"), request_for(pod.RESOURCE, by_default)
    )
    assert by_default.spec.node_selector == {"pool": "all"}
    other = request_for(pod.RESOURCE, a_pod(nodeSelector={"pool": "b"}))
    assert await refused(plugin(a_namespace(node_selector="pool=a")), other) == (
        'pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector'
    )
    assert await refused(plugin(a_namespace(), a="pool=a"), other) == (
        'pods "p" is forbidden: pod node label selector labels conflict with its namespace whitelist'
    )
    assert await refused(plugin(a_namespace(node_selector="pool")), other) == "invalid selector: [pool]"


async def test_pods_bear_what_their_namespace_says_and_no_more_than_it_lets_them() -> None:
    def plugin(of: Any, **cluster: Any) -> PodTolerationRestriction:
        return PodTolerationRestriction(Cache(of), Cache(of).read, Tolerations(**cluster))

    def keys(of: Any) -> list[str]:
        return [one.key for one in of.spec.tolerations]

    said = a_namespace(defaultTolerations='[{"key": "a", "operator": "Exists"}]')
    wide = Toleration(key="cluster", operator="Exists")
    new, other, asks = a_pod(), a_pod(), a_pod({"resources": {"requests": {"cpu": "1"}}})
    await pass_through(plugin(said, default=(wide,)), request_for(pod.RESOURCE, new))
    await pass_through(plugin(a_namespace(), default=(wide,)), request_for(pod.RESOURCE, other))
    await pass_through(plugin(a_namespace()), request_for(pod.RESOURCE, asks))
    assert (keys(new), keys(other), keys(asks)) == (["a"], ["cluster"], ["node.kubernetes.io/memory-pressure"])
    bears = request_for(pod.RESOURCE, a_pod(tolerations=[{"key": "b", "operator": "Exists"}]))
    why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its"
    narrow = a_namespace(tolerationsWhitelist='[{"key": "a", "operator": "Exists"}]')
    assert await refused(plugin(narrow), bears) == f"{why} namespace whitelist"
    assert await refused(plugin(a_namespace(), whitelist=(wide,)), bears) == f"{why} cluster whitelist"
    await pass_through(plugin(a_namespace(tolerationsWhitelist=""), whitelist=(wide,)), bears)


def test_a_toleration_that_another_includes_is_left_out() -> None:
    everything = Toleration(operator="Exists")
    one = Toleration(key="a", operator="Equal", value="x", effect="NoExecute", toleration_seconds=10)
    longer = Toleration(key="a", operator="Equal", value="x", effect="NoExecute", toleration_seconds=20)
    assert merged([one, longer]) == [longer]
    assert merged([longer, one, longer]) == [longer]
    assert merged([one, everything, longer]) == [everything]
    assert merged([one, Toleration(key="b", operator="Exists")]) == [one, Toleration(key="b", operator="Exists")]


async def test_events_are_held_against_every_limit() -> None:
    clock: Any = SimpleNamespace(now_s=0.0, monotonic=lambda: clock.now_s)
    plugin = EventRateLimit([Limit("Server", 1, 4), Limit("User", 1, 2), Limit("SourceAndObject", 9, 9, 1)], clock)

    def an_event(user: str = "u", *, dry_run: bool = False) -> Any:
        body = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "k"}}
        request = request_for(event.RESOURCE, made(event.RESOURCE, body), user=User(user))
        request.dry_run = dry_run
        return request

    for _ in range(2):
        await pass_through(plugin, an_event())
    with pytest.raises(TooManyRequests, match=r"^Too many requests: limit reached on type User for key u$"):
        await plugin.validate(an_event())
    await pass_through(plugin, an_event(dry_run=True))
    await pass_through(plugin, request_for(pod.RESOURCE, a_pod()))
    await pass_through(plugin, an_event("v"))
    why = r"^Too many requests: \[limit reached on type Server for key , limit reached on type User for key u\]$"
    with pytest.raises(TooManyRequests, match=why):
        await plugin.validate(an_event())
    clock.now_s = 1.0
    await pass_through(plugin, an_event())


async def test_a_webhook_says_which_images_may_be_run(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []
    answers: list[Any] = [
        {"allowed": True, "auditAnnotations": {"k": "v"}},
        {"allowed": False, "reason": "bad image"},
        {"allowed": False},
        403,
        403,
    ]

    async def answer(request: web.Request) -> web.Response:
        question = await request.json()
        asked.append(question)
        said = answers.pop(0)
        if isinstance(said, int):
            return web.Response(status=said, text="no")
        return web.json_response({"apiVersion": question["apiVersion"], "kind": question["kind"], "status": said})

    identity = Authority(tmp_path).issue("webhook")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert, identity.key)
    app = web.Application()
    app.router.add_post("/images", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server = f"https://localhost:{runner.addresses[0][1]}/images"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "w", "cluster": {"server": server, "certificate-authority": str(identity.ca)}}],
                "contexts": [{"name": "c", "context": {"cluster": "w", "user": "us"}}],
                "current-context": "c",
            }
        )
    )

    plugins: list[ImagePolicyWebhook] = []

    def plugin(*, default_allow: bool = False) -> ImagePolicyWebhook:
        plugins.append(ImagePolicyWebhook(ImagePolicy(kubeconfig, default_allow=default_allow), RealClock()))
        return plugins[-1]

    tested = plugin()
    new = a_pod(initContainers=[{"name": "i", "image": "j"}])
    new.metadata.annotations = {"x.image-policy.k8s.io/ticket": "1", "other": "2"}
    for _ in range(2):
        request = request_for(pod.RESOURCE, new)
        await pass_through(tested, request)
        assert request.annotations == {"imagepolicywebhook.image-policy.k8s.io/k": "v"}
    (question,) = asked
    assert question["spec"] == {
        "containers": [{"image": "i"}, {"image": "j"}],
        "annotations": {"x.image-policy.k8s.io/ticket": "1"},
        "namespace": "a",
    }
    denied = 'pods "p" is forbidden: image policy webhook backend denied one or more images: bad image'
    assert await refused(tested, request_for(pod.RESOURCE, a_pod({"image": "b"}))) == denied
    assert "one or more images rejected by webhook backend" in await refused(
        tested, request_for(pod.RESOURCE, a_pod({"image": "c"}))
    )
    assert await refused(tested, request_for(pod.RESOURCE, a_pod({"image": "d"}))) == (
        'pods "p" is forbidden: forbidden: no'
    )
    failed_open = a_pod({"image": "e"})
    request = request_for(pod.RESOURCE, failed_open)
    await pass_through(plugin(default_allow=True), request)
    assert request.annotations == {"imagepolicywebhook.image-policy.k8s.io/failed-open": "true"}
    assert failed_open.metadata.annotations == {"alpha.image-policy.k8s.io/failed-open": "true"}
    for each in plugins:
        await each.client.close()
    await runner.cleanup()

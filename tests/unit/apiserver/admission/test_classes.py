from __future__ import annotations

from typing import Any

from api.core import node, persistentvolume, persistentvolumeclaim, pod
from api.networking import ingress, ingressclass
from api.node import runtimeclass
from api.storage import storageclass
from apiserver.admission.default_ingress_class import DefaultIngressClass
from apiserver.admission.default_storage_class import DefaultStorageClass
from apiserver.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from apiserver.admission.runtime_class import RuntimeClassAdmission
from apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from tests.unit.apiserver.admission.plugins import Cache, made, pass_through, pod_body, refused, request_for

CLAIM = persistentvolumeclaim.RESOURCE


def a_class(name: str, *, created: str = "2024-01-01T00:00:00Z", default: bool = True, **more: Any) -> Any:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    metadata = {"name": name, "annotations": annotations, "creationTimestamp": created}
    return made(storageclass.RESOURCE, {"metadata": metadata, "provisioner": "p", **more})


def a_claim(size: str = "1Gi", *, phase: str = "Pending", **spec: Any) -> Any:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return made(CLAIM, {"metadata": {"name": "c"}, "spec": body, "status": {"phase": phase}})


async def test_a_claim_without_class_gets_the_newest_default_and_one_with_the_empty_class_keeps_it() -> None:
    classes = Cache(a_class("old"), a_class("new", created="2025-01-01T00:00:00Z"), a_class("other", default=False))
    plugin = DefaultStorageClass(classes)
    assert (await pass_through(plugin, request_for(CLAIM, a_claim()))).spec.storage_class_name == "new"
    for name in ("", "other"):
        done = await pass_through(plugin, request_for(CLAIM, a_claim(storageClassName=name)))
        assert done.spec.storage_class_name == name
    done = await pass_through(DefaultStorageClass(Cache()), request_for(CLAIM, a_claim()))
    assert done.spec.storage_class_name is None


async def test_an_ingress_without_class_gets_the_default() -> None:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    classes = Cache(made(ingressclass.RESOURCE, {"metadata": {"name": "nginx", "annotations": annotations}}))
    body = {"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}
    done = await pass_through(DefaultIngressClass(classes), request_for(ingress.RESOURCE, made(ingress.RESOURCE, body)))
    assert done.spec.ingress_class_name == "nginx"
    body["metadata"] = {"name": "i", "annotations": {"kubernetes.io/ingress.class": "old"}}
    done = await pass_through(DefaultIngressClass(classes), request_for(ingress.RESOURCE, made(ingress.RESOURCE, body)))
    assert done.spec.ingress_class_name is None


async def test_storage_is_born_with_its_finalizer_once() -> None:
    plugin = StorageObjectInUseProtection()
    claim = await pass_through(plugin, request_for(CLAIM, a_claim()))
    assert claim.metadata.finalizers == ["kubernetes.io/pvc-protection"]
    assert (await pass_through(plugin, request_for(CLAIM, claim))).metadata.finalizers == claim.metadata.finalizers
    volume = made(persistentvolume.RESOURCE, {"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}}})
    done = await pass_through(plugin, request_for(persistentvolume.RESOURCE, volume))
    assert done.metadata.finalizers == ["kubernetes.io/pv-protection"]


async def test_claims_grow_only_when_bound_and_where_their_class_lets_them() -> None:
    plugin = PersistentVolumeClaimResize(Cache(a_class("fixed"), a_class("elastic", allowVolumeExpansion=True)))

    def growth(name: str, phase: str = "Bound") -> Any:
        old = a_claim("1Gi", storageClassName=name, phase=phase)
        return request_for(CLAIM, a_claim("2Gi", storageClassName=name, phase=phase), old=old)

    await pass_through(plugin, growth("elastic"))
    assert "only dynamically provisioned pvc can be resized" in await refused(plugin, growth("fixed"))
    assert "Only bound persistent volume claims" in await refused(plugin, growth("elastic", "Pending"))


async def test_a_new_node_is_not_ready() -> None:
    done = await pass_through(TaintNodesByCondition(), request_for(node.RESOURCE, made(node.RESOURCE, {})))
    again = await pass_through(TaintNodesByCondition(), request_for(node.RESOURCE, done))
    assert [(taint.key, taint.effect) for taint in again.spec.taints] == [
        ("node.kubernetes.io/not-ready", "NoSchedule")
    ]


def runtime(**more: Any) -> RuntimeClassAdmission:
    body = {"metadata": {"name": "vm"}, "handler": "vm", **more}
    return RuntimeClassAdmission(Cache(made(runtimeclass.RESOURCE, body)).read)


def a_pod(**spec: Any) -> Any:
    return request_for(pod.RESOURCE, made(pod.RESOURCE, pod_body(**{"runtimeClassName": "vm", **spec})))


async def test_a_runtime_class_brings_overhead_selector_and_tolerations() -> None:
    toleration = {"key": "vm", "operator": "Exists"}
    plugin = runtime(
        overhead={"podFixed": {"cpu": "250m"}},
        scheduling={"nodeSelector": {"vm": "yes"}, "tolerations": [toleration]},
    )
    done = await pass_through(plugin, a_pod(nodeSelector={"a": "b"}, tolerations=[toleration]))
    assert (done.spec.overhead, done.spec.node_selector) == ({"cpu": "250m"}, {"a": "b", "vm": "yes"})
    assert len(done.spec.tolerations) == 1
    await pass_through(plugin, a_pod(overhead={"cpu": "0.25"}))
    why = await refused(plugin, a_pod(nodeSelector={"vm": "no"}))
    assert why.endswith("conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no")


async def test_overhead_comes_from_a_class_alone() -> None:
    assert "doesn't match RuntimeClass" in await refused(
        runtime(overhead={"podFixed": {"cpu": "1"}}), a_pod(overhead={"cpu": "2"})
    )
    assert "without corresponding RuntimeClass" in await refused(runtime(), a_pod(overhead={"cpu": "2"}))
    nameless = a_pod(overhead={"cpu": "2"}, runtimeClassName=None)
    assert "without corresponding RuntimeClass" in await refused(runtime(), nameless)
    message = await refused(runtime(), a_pod(runtimeClassName="none"))
    assert message == 'pods "p" is forbidden: pod rejected: RuntimeClass "none" not found'

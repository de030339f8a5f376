"""What `steer up` puts into kube-system, at a real API server: repeatedly, over an older build's, not over others'."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.verbs import Client
from deploy import addons, system_pods
from deploy.plan import Addresses, Cluster
from tests.integration.test_apiserver import Running, pki, server
from tests.integration.test_metrics import APISERVICE, MERGE, asked
from tests.integration.test_proxied import post

__all__ = ["pki", "server"]
pytestmark = pytest.mark.integration

ADDRESSES = Addresses(gateway="127.0.0.1", advertise="127.0.0.1", nodes={"node-1": "127.0.0.1"})
SYSTEM = "/api/v1/namespaces/kube-system"
DEPLOYMENTS = "/apis/apps/v1/namespaces/kube-system/deployments"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"


@dataclass
class Place:
    """A cluster whose API server is the test's."""

    client: Client
    cluster: Cluster

    async def apply(self, image: str = "steersman.local/steersman:1") -> list[str]:
        return [key.name for key in await system_pods.apply(self.client, self.cluster, ADDRESSES, image)]


@pytest.fixture
async def place(server: Running, tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "pki").symlink_to(server.certificates.parent)
    client = server.client()
    yield Place(client, Cluster(data_dir=str(tmp_path), nodes=2))
    await client.close()


async def versions(server: Running) -> dict[str, str]:
    paths = [f"{DEPLOYMENTS}/coredns", f"{DEPLOYMENTS}/metrics-server", f"{SYSTEM}/services/kube-dns"]
    paths += [f"{SYSTEM}/secrets/coredns", f"{SYSTEM}/serviceaccounts/metrics-server"]
    return {path: (await asked(server, path))["metadata"]["resourceVersion"] for path in paths}


async def change(server: Running, path: str, body: dict[str, Any]) -> None:
    async with server.http.patch(path, json=body, headers=MERGE) as answer:
        assert answer.status == 200, await answer.text()


async def test_a_second_up_writes_nothing_and_another_image_rolls(server: Running, place: Place):
    assert await place.apply() == ["coredns", "metrics-server"]
    first = await versions(server)
    await place.apply()
    assert await versions(server) == first
    await place.apply("steersman.local/steersman:2")
    rolled = await asked(server, f"{DEPLOYMENTS}/coredns")
    assert rolled["metadata"]["generation"] == 2
    assert rolled["spec"]["template"]["spec"]["containers"][0]["image"] == "steersman.local/steersman:2"


async def test_more_replicas_than_were_made_are_kept_and_too_few_made_up(server: Running, place: Place):
    await place.apply()
    for scaled, left in ((4, 4), (0, 2)):
        await change(server, f"{DEPLOYMENTS}/coredns", {"spec": {"replicas": scaled}})
        await place.apply()
        assert (await asked(server, f"{DEPLOYMENTS}/coredns"))["spec"]["replicas"] == left


async def test_what_an_older_build_had_beside_the_control_plane_goes(server: Running, place: Place):
    await addons.apply_dns(place.client, "10.0.0.2")
    await addons.apply_metrics(place.client, "10.0.0.1", 6449, server.certificates / "ca.crt")
    await place.apply()
    assert (await asked(server, SLICES))["items"] == []
    service = await asked(server, f"{SYSTEM}/services/kube-dns")
    assert service["spec"]["selector"] == {"k8s-app": "kube-dns"}
    assert [port["name"] for port in service["spec"]["ports"]] == ["dns", "dns-tcp", "metrics"]
    assert await asked(server, f"{SYSTEM}/services/steer-metrics") is None
    assert (await asked(server, APISERVICE))["spec"]["service"]["name"] == "metrics-server"


async def test_somebody_elses_dns_is_left_alone(server: Running, place: Place):
    await place.apply()
    theirs = {"app.kubernetes.io/managed-by": None}
    await change(server, f"{DEPLOYMENTS}/coredns", {"metadata": {"labels": theirs}, "spec": {"replicas": 1}})
    await change(server, f"{SYSTEM}/services/kube-dns", {"spec": {"selector": {"k8s-app": "other"}}})
    assert await place.apply("steersman.local/steersman:2") == ["metrics-server"]
    found = await asked(server, f"{DEPLOYMENTS}/coredns")
    assert found["spec"]["replicas"] == 1
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "steersman.local/steersman:1"
    assert (await asked(server, f"{SYSTEM}/services/kube-dns"))["spec"]["selector"] == {"k8s-app": "other"}


async def test_somebody_elses_metrics_server_is_left_alone(server: Running, place: Place):
    await place.apply()
    await change(server, APISERVICE, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
    assert await place.apply("steersman.local/steersman:2") == ["coredns"]
    found = await asked(server, f"{DEPLOYMENTS}/metrics-server")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "steersman.local/steersman:1"


async def test_a_renewed_certificate_comes_to_the_secret(server: Running, place: Place):
    await place.apply()
    before = await asked(server, f"{SYSTEM}/secrets/coredns")
    await change(server, f"{SYSTEM}/secrets/coredns", {"data": {"tls.crt": "b2xk"}})
    await place.apply()
    after = await asked(server, f"{SYSTEM}/secrets/coredns")
    assert after["data"] == before["data"] and after["type"] == "kubernetes.io/tls"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in after["metadata"].get("annotations", {})


async def test_a_dry_run_of_our_own_manifests_by_yaml_alone_is_taken(server: Running):
    """The manifests are what kubectl would send: nothing in them is of a form that only our own client takes."""
    text = (addons.MANIFESTS / "coredns.yaml").read_text()
    for name, value in (("REPLICAS", "1"), ("IMAGE", "x:1"), ("ARGUMENTS", "[]"), ("IDENTITY", "/etc/x")):
        text = text.replace(f"${{{name}}}", value)
    *_, deployment = yaml.safe_load_all(text)
    await post(server, f"{DEPLOYMENTS}?dryRun=All&fieldValidation=Strict", deployment)

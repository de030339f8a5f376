"""The pods that every cluster of containers has in kube-system: what they are told, and that it fits together."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from api.apps.deployment import Deployment, DeploymentSpec, DeploymentStatus
from api.meta import ObjectMeta
from deploy import addons, system_pods
from deploy.pki import METRICS_NAMES, Pki
from deploy.plan import Addresses, Cluster

ADDRESSES = Addresses(gateway="172.31.0.1", advertise="172.31.0.1", nodes={"node-1": "172.31.0.11"})
NAMES = ("coredns", "metrics-server")


def flag(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def program(name: str, cluster: Cluster) -> system_pods.Program:
    return next(each for each in system_pods.programs(cluster, ADDRESSES) if each.name == name)


def manifest(name: str, cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Return the objects of a program's manifest as they are applied, by kind."""
    given = program(name, cluster)
    values = {"IMAGE": "x:1", "ARGUMENTS": json.dumps(given.arguments), "IDENTITY": system_pods.IDENTITY, "CA": "Y2E="}
    found = addons.documents(f"{name}.yaml", REPLICAS=str(given.replicas), **values)
    return {document["kind"]: document for document in found}


def test_dns_runs_twice_where_there_is_a_second_node() -> None:
    counts = {nodes: program("coredns", Cluster(data_dir="/d", nodes=nodes)).replicas for nodes in (1, 2, 5)}
    assert counts == {1: 1, 2: 2, 5: 2}


def test_every_api_server_is_known_where_nodes_reach_it() -> None:
    three = Cluster(data_dir="/d", apiservers=3)
    wanted = "172.31.0.1:6444,172.31.0.1:6496,172.31.0.1:6498"
    assert flag(program("coredns", three).arguments, "--apiserver") == wanted
    # They share the port of the REST API: another server is no reason for another pod.
    assert flag(program("metrics-server", three).arguments, "--apiserver") == "172.31.0.1:6443"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_program_is_told_of_is_mounted(name: str) -> None:
    objects = manifest(name, Cluster(data_dir="/d"))
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    (volume,) = spec["volumes"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert (mount["name"], mount["mountPath"], mount["readOnly"]) == (volume["name"], system_pods.IDENTITY, True)
    sources = volume.get("projected", {}).get("sources") or [volume]
    shown = {"tls.crt", "tls.key", "ca.crt"}
    for source in sources:
        shown |= {item["path"] for item in source.get("configMap", {}).get("items", ())}
    told = {a for a in spec["containers"][0]["args"] if a.startswith("/")}
    assert told == {f"{system_pods.IDENTITY}/{file}" for file in shown}


@pytest.mark.parametrize("name", NAMES)
def test_services_and_probes_lead_to_ports_that_the_program_listens_at(name: str) -> None:
    objects = manifest(name, Cluster(data_dir="/d"))
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    listening = {int(value.rpartition(":")[2]) for value in container["args"] if value.startswith("0.0.0.0:")}
    assert set(named.values()) == listening
    probes = (container["readinessProbe"], container["livenessProbe"])
    assert {named[probe["httpGet"]["port"]] for probe in probes} <= listening
    for port in objects["Service"]["spec"]["ports"]:
        assert named.get(port["targetPort"], port["targetPort"]) in listening
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"] == labels == objects["Deployment"]["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("name", NAMES)
def test_the_pods_have_few_rights_and_no_token(name: str) -> None:
    objects = manifest(name, Cluster(data_dir="/d"))
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    security = spec["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["capabilities"].get("add", []) == (["NET_BIND_SERVICE"] if name == "coredns" else [])
    assert not spec["automountServiceAccountToken"]
    assert not objects["ServiceAccount"]["automountServiceAccountToken"]
    assert spec["priorityClassName"] == "system-cluster-critical"


def test_the_metrics_servers_certificate_is_for_its_services_name(tmp_path: Path) -> None:
    service = manifest("metrics-server", Cluster(data_dir="/d"))["APIService"]["spec"]["service"]
    assert f"{service['name']}.{service['namespace']}.svc" in METRICS_NAMES


def test_a_secret_holds_a_certificate_its_key_and_the_ca_and_no_other_key(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.ensure_control_plane([], ["s1"])
    made = system_pods.secret("coredns", tmp_path / "cluster", "dns")
    contents = {key: base64.b64decode(value) for key, value in made["data"].items()}
    assert made["type"] == "kubernetes.io/tls"
    assert contents == {
        "tls.crt": (tmp_path / "cluster/dns.crt").read_bytes(),
        "tls.key": (tmp_path / "cluster/dns.key").read_bytes(),
        "ca.crt": (tmp_path / "cluster/ca.crt").read_bytes(),
    }


def deployment(observed: int, *, replicas: int = 2, updated: int = 2, available: int = 2) -> Deployment:
    """Return one that wants two pods in its second generation."""
    return Deployment(
        metadata=ObjectMeta(name="coredns", generation=2),
        spec=DeploymentSpec(replicas=2),
        status=DeploymentStatus(
            observed_generation=observed, replicas=replicas, updated_replicas=updated, available_replicas=available
        ),
    )


def test_a_deployment_is_there_once_what_was_asked_for_last_is() -> None:
    assert system_pods.is_available(deployment(2))
    assert not system_pods.is_available(deployment(1)), "the controller has not seen it"
    assert not system_pods.is_available(deployment(2, available=1))
    assert not system_pods.is_available(deployment(2, replicas=3, updated=1)), "pods of before are left"
    assert not system_pods.is_available(deployment(2, replicas=3)), "one of before is left"
    assert not system_pods.is_available(deployment(2, replicas=0, updated=0, available=0))
    assert system_pods.is_available(None), "nobody waits for what was deleted"

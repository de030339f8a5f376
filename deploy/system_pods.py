"""The cluster's own pods in kube-system under `steer up`: DNS and the metrics API, and what they know themselves by.

Each shows a client certificate of the cluster's, as every other process of ours does; it comes to the pod as a Secret,
which `steer up` keeps as the files are, and the process follows its files (decision 67). Names are upstream's. Somebody
else's Deployment of the same name, or APIService, is left alone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.apiregistration import apiservice
from api.apps import deployment
from api.apps.deployment import Deployment
from api.core import service
from api.discovery import endpointslice
from api.errors import NotFound
from api.resource import ObjectKey
from client.verbs import Client
from deploy import addons, processes
from deploy.plan import Addresses, Cluster, Paths, component_endpoints
from deploy.processes import ApiClient
from deploy.report import CannotDo

NAMESPACE: Final = "kube-system"
IDENTITY: Final = "/etc/steersman/identity"
"""Where a pod sees its certificate."""
POLL_S: Final = 0.05
LAME_DUCK_S: Final = 8.0
"""How long a DNS server that is told to go still answers: readiness takes 3 s to fail, then every node is to hear."""


@dataclass(frozen=True, slots=True)
class Program:
    """One of our programs that runs as a Deployment."""

    name: str
    """Of the Deployment, its Secret and its manifest."""
    stem: str
    """Of its certificate below pki/cluster."""
    replicas: int
    arguments: list[str]


def programs(cluster: Cluster, addresses: Addresses) -> list[Program]:
    """Return what is to run for `cluster`. Pure.

    DNS runs twice where there is a second node to run on: no node's loss takes all names away.
    """
    at = "0.0.0.0"
    rest = [f"{addresses.gateway}:{cluster.port}"]  # which all API servers share
    client = ApiClient(component_endpoints(cluster, addresses.gateway), _in_pod, f"{at}:9153")
    metrics = processes.metrics(rest, _in_pod, listen=f"{at}:10250", health=f"{at}:10251")
    return [
        Program("coredns", "dns", min(2, cluster.nodes), processes.dns(client, address=at, lame_duck_s=LAME_DUCK_S)),
        Program("metrics-server", "metrics", 1, metrics),
    ]


async def apply(client: Client, cluster: Cluster, addresses: Addresses, image: str) -> list[ObjectKey]:
    """Put the pods in place and return the Deployments that are ours, to wait for."""
    pki, applied = Paths(cluster.directory).pki / "cluster", []
    for each in programs(cluster, addresses):
        key = ObjectKey(NAMESPACE, each.name)
        values = {"IMAGE": image, "ARGUMENTS": json.dumps(each.arguments), "IDENTITY": IDENTITY}
        if each.name == "metrics-server":
            if not await addons.is_ours(client, apiservice.RESOURCE, addons.METRICS_API):
                continue
            await addons.apply(client, "metrics-roles.yaml")
            values["CA"] = base64.b64encode((pki / "ca.crt").read_bytes()).decode()
        if not await addons.is_ours(client, deployment.RESOURCE, key):
            continue
        found = await _found(client, key)
        # Somebody may have asked for more.
        replicas = max(each.replicas, found.spec.replicas or 0) if found is not None else each.replicas
        await addons.apply_document(client, secret(each.name, pki, each.stem))
        for document in addons.documents(f"{each.name}.yaml", REPLICAS=str(replicas), **values):
            addons.tell_applied(document)
            await addons.apply_document(client, document)
        applied.append(key)
    await _clear_predecessors(client)
    return applied


async def _clear_predecessors(client: Client) -> None:
    """Take away what led to the processes beside the control plane that older builds had in the pods' place."""
    for name in ("kube-dns", "steer-metrics"):
        with contextlib.suppress(NotFound):
            await client.delete(endpointslice.RESOURCE, ObjectKey(NAMESPACE, name))
    with contextlib.suppress(NotFound):
        await client.delete(service.RESOURCE, ObjectKey(NAMESPACE, "steer-metrics"))


def secret(name: str, pki: Path, stem: str) -> dict[str, Any]:
    """Return the Secret of a certificate that lies at `pki`, and of the CA that the API server is believed by."""
    files = {"tls.crt": f"{stem}.crt", "tls.key": f"{stem}.key", "ca.crt": "ca.crt"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": "steersman"}},
        "data": {key: base64.b64encode((pki / file).read_bytes()).decode() for key, file in files.items()},
    }


async def await_available(
    client: Client, keys: list[ObjectKey], within_s: float, check_not_stopped: Callable[[], None]
) -> None:
    """Wait until every Deployment has the pods it wants, and they are ready.

    Raises:
        CannotDo: not within `within_s`.
    """
    deadline = time.monotonic() + within_s
    waiting = list(keys)
    while waiting:
        waiting = [key for key in waiting if not is_available(await _found(client, key))]
        if waiting and time.monotonic() > deadline:
            name = waiting[0].name
            raise CannotDo(
                f"{name} did not get ready in {within_s:.0f} s: see `kubectl -n {NAMESPACE} describe pods` and "
                f"`kubectl -n {NAMESPACE} logs deploy/{name}`"
            )
        check_not_stopped()
        await asyncio.sleep(POLL_S if waiting else 0)


def is_available(found: Deployment | None) -> bool:
    """Whether as many pods as are wanted are ready, all of them of what was asked for last. Pure.

    True of one that is gone, which nobody can wait for.
    """
    if found is None:
        return True
    status, wanted = found.status, found.spec.replicas or 0
    is_seen = status.observed_generation >= found.metadata.generation
    return is_seen and status.updated_replicas >= wanted and status.available_replicas >= wanted == status.replicas


async def _found(client: Client, key: ObjectKey) -> Deployment | None:
    with contextlib.suppress(NotFound):
        return await client.get(deployment.RESOURCE, key)
    return None


def _in_pod(place: str) -> str:
    """Return where a pod sees a file of the PKI directory."""
    names = {"cluster/ca.crt": "ca.crt", "front-proxy/ca.crt": "front-proxy-ca.crt"}
    return f"{IDENTITY}/{names.get(place) or f'tls{Path(place).suffix}'}"

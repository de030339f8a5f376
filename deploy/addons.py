"""What every cluster has beside its control plane: the DNS Service that pods are told of, the metrics API and more."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import yaml

from api import discover
from api.apiregistration import apiservice
from api.errors import AlreadyExists, NotFound
from api.resource import ObjectKey, Resource
from api.storage import storageclass
from api.storage.storageclass import StorageClass
from client.verbs import Client, key_of

MANIFESTS = Path(__file__).parent / "manifests"
METRICS_API = ObjectKey("", "v1beta1.metrics.k8s.io")


async def apply_dns(client: Client, address: str, slice_name: str = "kube-dns") -> None:
    """Create or update the Service `kube-dns` and the EndpointSlice that leads to `address`.

    Each server has a slice of its own: whoever comes or goes changes nobody else's.
    """
    await apply(client, "dns.yaml", DNS_ADDRESS=address, SLICE=slice_name)


async def apply_metrics(client: Client, address: str, port: int, ca: Path, slice_name: str = "steer-metrics") -> None:
    """Create or update what leads to the metrics server at `address`; nothing, where another one has taken over.

    The APIService says what was applied as kubectl does: so `kubectl apply` of another server's leaves nothing of ours.
    """
    if not await is_ours(client, apiservice.RESOURCE, METRICS_API):
        return
    await apply(client, "metrics-roles.yaml")
    bundle = base64.b64encode(ca.read_bytes()).decode()
    for document in documents("metrics.yaml", ADDRESS=address, PORT=str(port), SLICE=slice_name, CA=bundle):
        if document["kind"] == "APIService":
            tell_applied(document)
        await apply_document(client, document)


async def is_ours(client: Client, resource: Resource[Any], key: ObjectKey) -> bool:
    """Whether an object is still as `steer` made it, or not there: no other manifest has been applied over it."""
    with contextlib.suppress(NotFound):
        found = await client.get(resource, key)
        return bool(found.metadata.labels.get("app.kubernetes.io/managed-by") == "steersman")
    return True


def tell_applied(document: dict[str, Any]) -> None:
    """Say in an object what was applied, as kubectl does: whoever applies another leaves nothing of ours in it."""
    told = msgspec.json.encode(document).decode() + "\n"
    annotations = document["metadata"].setdefault("annotations", {})
    annotations["kubectl.kubernetes.io/last-applied-configuration"] = told


async def make_default_class(client: Client, directory: Path) -> None:
    """Create the default StorageClass, whose volumes are below `directory` on every node, unless it is there."""
    (document,) = documents("storage.yaml", PATH=str(directory))
    with contextlib.suppress(AlreadyExists):
        await client.create(storageclass.RESOURCE, msgspec.convert(document, StorageClass))


async def apply(client: Client, manifest: str, **values: str) -> None:
    """Create or update every object of a manifest, its `${NAME}`s replaced by `values`."""
    for document in documents(manifest, **values):
        await apply_document(client, document)


async def apply_cluster_info(client: Client, server: str, ca: Path) -> None:
    """Create or update what anybody may know of the cluster: where it is, and its CA. Bootstrap tokens sign it."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca.read_bytes()).decode()}
    told: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "", "cluster": cluster}],
        "contexts": None,
        "current-context": "",
        "preferences": {},
        "users": None,
    }
    for document in yaml.safe_load_all((MANIFESTS / "cluster-info.yaml").read_text()):
        if document["kind"] == "ConfigMap":
            document["data"] = {"kubeconfig": yaml.safe_dump(told)}
        await apply_document(client, document)


def documents(manifest: str, **values: str) -> list[dict[str, Any]]:
    """Return the objects of a manifest, its `${NAME}`s replaced by `values`."""
    text = (MANIFESTS / manifest).read_text()
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return list(yaml.safe_load_all(text))


async def apply_document(client: Client, document: dict[str, Any]) -> None:
    """Create or update one object."""
    resource = discover.by_kind(document["apiVersion"], document["kind"])
    assert resource is not None, f"the manifest names a kind that is not served: {document['kind']}"
    decoded = msgspec.convert(document, resource.type)
    try:
        await client.patch(resource, key_of(decoded), document)
    except NotFound:
        await client.create(resource, decoded)

"""What tests of single plugins share: stored objects with a cache that shows them, and a request to judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from api.errors import ApiError, NotFound
from api.resource import ObjectKey, Resource
from apiserver.admission.chain import AdmissionChain
from apiserver.request import AdmissionRequest, User

ROOT = User("admin", groups=("system:masters", "system:authenticated"))


class Cache:
    """Objects as a lister shows them, and as a live read finds them."""

    def __init__(self, *objects: Any) -> None:
        self.objects = {ObjectKey(one.metadata.namespace, one.metadata.name): one for one in objects}

    def get(self, key: ObjectKey) -> Any:
        return self.objects.get(key)

    def list(self, namespace: str | None = None) -> Sequence[Any]:
        return [one for key, one in sorted(self.objects.items()) if namespace in (None, key.namespace)]

    async def read(self, resource: Resource[Any], key: ObjectKey) -> Any:
        if key not in self.objects:
            raise NotFound(f'{resource} "{key.name}" not found')
        return self.objects[key]


def made(resource: Resource[Any], body: dict[str, Any], namespace: str = "a") -> Any:
    """Return an object as it is once decoded and defaulted."""
    obj = msgspec.convert(body, resource.type)
    obj.metadata.namespace = namespace if resource.namespaced else ""
    obj.metadata.name = obj.metadata.name or "x"
    resource.default(obj)
    return obj


def pod_body(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    named = [{"name": f"c{number}", "image": "i", **each} for number, each in enumerate(containers or ({},))]
    return {"metadata": {"name": "p"}, "spec": {"containers": named, **spec}}


def request_for(
    resource: Resource[Any], obj: Any, *, old: Any = None, subresource: str = "", user: User = ROOT
) -> AdmissionRequest:
    metadata = (obj if obj is not None else old).metadata
    operation = "DELETE" if obj is None else "UPDATE" if old is not None else "CREATE"
    return AdmissionRequest(
        operation, resource, metadata.namespace, metadata.name, subresource, user, obj, old, {}, False, []
    )


async def pass_through(plugin: Any, request: AdmissionRequest) -> Any:
    """Let the plugin change and judge; returns the object."""
    chain = AdmissionChain([plugin])
    await chain.admit(request)
    await chain.validate(request)
    return request.object


async def refused(plugin: Any, request: AdmissionRequest) -> str:
    """Return the message with which the plugin refuses."""
    with pytest.raises(ApiError) as caught:
        await pass_through(plugin, request)
    return caught.value.message

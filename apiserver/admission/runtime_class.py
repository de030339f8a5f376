"""RuntimeClass: a pod run in a special way costs what that way costs, and goes where it can be run (KEP-688).

The class's overhead is written into the pod, where scheduler, kubelet and quotas count it; its node selector and
tolerations are merged into the pod's.
"""

from __future__ import annotations

from typing import Any

from api import quantity
from api.core import pod
from api.errors import NotFound
from api.node import runtimeclass
from api.node.runtimeclass import RuntimeClass
from api.resource import ObjectKey
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest


class RuntimeClassAdmission:
    """Completes new pods by their class; `read` finds any object as stored."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def admit(self, request: AdmissionRequest) -> None:
        """Write overhead, node selector and tolerations of the class into the pod.

        Raises:
            Forbidden: no such class, or the pod contradicts it.
        """
        if not _is_new_pod(request):
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        found = await self._class_of(request)
        if found is None:
            return
        if found.overhead is not None:
            if spec.overhead and not _are_equal(spec.overhead, found.overhead.pod_fixed):
                raise refusal(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec.overhead = dict(found.overhead.pod_fixed)
        if found.scheduling is not None:
            for key, value in found.scheduling.node_selector.items():
                chosen = spec.node_selector.get(key, value)
                if chosen != value:
                    why = (
                        f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                        f"pod.spec.nodeSelector[{key}] = {chosen}"
                    )
                    raise refusal(request, why)
            spec.node_selector = {**spec.node_selector, **found.scheduling.node_selector}
            more = [one for one in found.scheduling.tolerations if one not in spec.tolerations]
            spec.tolerations = [*spec.tolerations, *more]

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge what became of the overhead, which only a class gives.

        Raises:
            Forbidden: it is not the class's.
        """
        if not _is_new_pod(request):
            return
        spec: Any = request.object.spec  # type: ignore[union-attr]
        if not spec.overhead and not spec.runtime_class_name:
            return
        found = await self._class_of(request)
        if found is not None and found.overhead is not None:
            if not _are_equal(spec.overhead, found.overhead.pod_fixed):
                raise refusal(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        elif spec.overhead:
            raise refusal(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")

    async def _class_of(self, request: AdmissionRequest) -> RuntimeClass | None:
        name = request.object.spec.runtime_class_name  # type: ignore[union-attr]
        if not name:
            return None
        try:
            found: RuntimeClass = await self._read(runtimeclass.RESOURCE, ObjectKey("", name))
        except NotFound:
            raise refusal(request, f'pod rejected: RuntimeClass "{name}" not found') from None
        return found


def _is_new_pod(request: AdmissionRequest) -> bool:
    return request.resource is pod.RESOURCE and not request.subresource and request.operation == "CREATE"


def _are_equal(left: dict[str, str], right: dict[str, str]) -> bool:
    return left.keys() == right.keys() and all(not quantity.compare(left[name], right[name]) for name in left)

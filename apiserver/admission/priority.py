"""Priority: the number behind a pod's priorityClassName.

A pod that names no class gets the class that is the default for all, if there is one, else zero. What a class is worth
never changes, so a pod keeps the number it was given.
"""

from __future__ import annotations

from typing import Any

from api.core import pod
from api.errors import NotFound
from api.lister import Lister
from api.resource import ObjectKey
from api.scheduling import priorityclass
from api.scheduling.priorityclass import PriorityClass
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest


class Priority:
    """Fills in `spec.priority` and `spec.preemptionPolicy`, which clients may not choose themselves.

    Args:
        classes: a cache, for the class that is the default.
        read: any object as stored; raises NotFound.
    """

    def __init__(self, classes: Lister[PriorityClass], read: Read) -> None:
        self._classes = classes
        self._read = read

    async def admit(self, request: AdmissionRequest) -> None:
        """Compute at create; keep at update.

        Raises:
            Forbidden: an unknown class, or a number that is not the class's.
        """
        if request.resource is not pod.RESOURCE or request.subresource:
            return
        spec: Any
        if request.operation == "UPDATE":
            spec, old = request.object.spec, request.old.spec  # type: ignore[union-attr]
            if spec.priority is None:
                spec.priority = old.priority
            if spec.preemption_policy is None:
                spec.preemption_policy = old.preemption_policy
        elif request.operation == "CREATE":
            spec = request.object.spec  # type: ignore[union-attr]
            found = await self._class_of(request, spec.priority_class_name)
            spec.priority_class_name = found.metadata.name
            computed = found.value
            if spec.priority is not None and spec.priority != computed:
                why = (
                    f"the integer value of priority ({spec.priority}) must not be provided in pod spec; priority "
                    f"admission controller computed {computed} from the given PriorityClass name"
                )
                raise refusal(request, why)
            spec.priority = computed
            policy = found.preemption_policy or "PreemptLowerPriority"
            if spec.preemption_policy not in (None, policy):
                why = (
                    f"the string value of PreemptionPolicy ({spec.preemption_policy}) must not be provided in pod spec"
                    f"; priority admission controller computed {policy} from the given PriorityClass name"
                )
                raise refusal(request, why)
            spec.preemption_policy = policy

    async def _class_of(self, request: AdmissionRequest, name: str) -> PriorityClass:
        if name:
            try:
                named: PriorityClass = await self._read(priorityclass.RESOURCE, ObjectKey("", name))
            except NotFound:
                raise refusal(request, f"no PriorityClass with name {name} was found") from None
            return named
        defaults = [one for one in self._classes.list() if one.global_default]
        return min(defaults, key=lambda one: one.value, default=PriorityClass())

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge classes: one of them at most is the default.

        Raises:
            Forbidden: another one is already.
        """
        if request.resource is not priorityclass.RESOURCE or request.operation not in ("CREATE", "UPDATE"):
            return
        new: Any = request.object
        for other in self._classes.list() if new.global_default else ():
            if other.global_default and other.metadata.name != new.metadata.name:
                why = f"PriorityClass {other.metadata.name} is already marked as default. Only one default can exist"
                raise refusal(request, why)

"""Priority: the number behind a pod's priorityClassName.

PriorityClasses are not served yet; the two that every cluster has are known here by name, and any other
name is refused as not found, as it would be on a cluster without such a class.
"""

from __future__ import annotations

from typing import Any, Final

from api.core import pod
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest

SYSTEM_CLASSES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_PREEMPTS: Final = "PreemptLowerPriority"


class Priority:
    """Fills in `spec.priority` and `spec.preemptionPolicy`, which clients may not choose themselves."""

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
            name = spec.priority_class_name
            if name and name not in SYSTEM_CLASSES:
                raise refusal(request, f"no PriorityClass with name {name} was found")
            computed = SYSTEM_CLASSES.get(name, 0)
            if spec.priority is not None and spec.priority != computed:
                why = (
                    f"the integer value of priority ({spec.priority}) must not be provided in pod spec; priority "
                    f"admission controller computed {computed} from the given PriorityClass name"
                )
                raise refusal(request, why)
            spec.priority = computed
            if spec.preemption_policy is None:
                spec.preemption_policy = _PREEMPTS

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge nothing more."""

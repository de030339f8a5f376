"""Since when endpoints are out of date, as they themselves tell once they are not."""

from __future__ import annotations

from typing import Any

import msgspec

from api.core.endpoints import Endpoints
from api.core.pod import Pod
from api.core.service import Service
from controllers import endpoints, endpointslice
from controllers.actions import Create, Patch
from controllers.endpoint_trigger import LAST_CHANGE
from tests.unit.controllers.carry_out import Objects, carry_out, of

CREATED = "2024-01-01T00:00:00Z"


def service(**spec: Any) -> Service:
    metadata = {"name": "web", "namespace": "default", "uid": "u-web", "creationTimestamp": CREATED}
    return msgspec.convert(
        {"metadata": metadata, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec}}, Service
    )


def pod(number: int, minute: int, *, ready: bool = True, deleted: bool = False, phase: str = "Running") -> Pod:
    """A pod that became ready, or ceased to be, at a minute past twelve."""
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": at(minute)}
    metadata = {"name": f"p{number}", "namespace": "default", "uid": f"u{number}"}
    if deleted:
        metadata["deletionTimestamp"] = at(59)
    status = {"podIP": f"10.0.0.{number}", "phase": phase, "conditions": [condition]}
    return msgspec.convert({"metadata": metadata, "spec": {"containers": []}, "status": status}, Pod)


def at(minute: int) -> str:
    return f"2024-01-01T12:{minute:02}:00Z"


class Slices:
    """The slices of one Service, written again and again."""

    def __init__(self) -> None:
        self.objects: Objects = {}

    def write(self, *pods: Pod, **spec: Any) -> str | None:
        """Bring them up to date; what they tell of the cause."""
        found = of(self.objects, "endpointslices")
        observed = endpointslice.Observed(service(**spec), pods, found, frozenset(), {})
        carry_out(endpointslice.reconcile(observed, 0.0), self.objects)
        (only,) = of(self.objects, "endpointslices")
        told: str | None = only.metadata.annotations.get(LAST_CHANGE)
        return told


def test_the_first_slice_is_due_to_its_services_creation() -> None:
    assert Slices().write(pod(1, 5)) == CREATED


def test_a_change_is_as_old_as_the_first_pod_that_made_it() -> None:
    slices = Slices()
    slices.write(pod(1, 5))
    assert slices.write(pod(1, 5), pod(2, 8), pod(3, 7)) == at(7)
    assert slices.write(pod(1, 9, ready=False), pod(2, 8), pod(3, 7)) == at(9)
    assert slices.write(pod(1, 9, ready=False), pod(2, 11, ready=False, phase="Failed"), pod(3, 7)) == at(11)


def test_a_change_without_a_time_says_none() -> None:
    slices = Slices()
    slices.write(pod(1, 5), pod(2, 6))
    assert slices.write(pod(1, 5, deleted=True), pod(2, 6)) is None
    assert slices.write(pod(2, 6)) is None


def test_what_did_not_change_is_not_written_for_its_cause() -> None:
    slices = Slices()
    slices.write(pod(1, 5))
    observed = endpointslice.Observed(service(), [pod(1, 5)], of(slices.objects, "endpointslices"), frozenset(), {})
    assert endpointslice.reconcile(observed, 0.0).actions == ()


def test_endpoints_tell_the_same_as_slices() -> None:
    (made,) = endpoints.reconcile(endpoints.Observed(service(), [pod(1, 5)], None), 0.0).actions
    assert isinstance(made, Create)
    written: Endpoints = made.object
    assert written.metadata.annotations == {LAST_CHANGE: CREATED}

    def patched(*pods: Pod, **spec: Any) -> Any:
        (action,) = endpoints.reconcile(endpoints.Observed(service(**spec), pods, written), 0.0).actions
        assert isinstance(action, Patch)
        return action.patch["metadata"]["annotations"][LAST_CHANGE]

    assert patched(pod(1, 5), pod(2, 8), pod(3, 7)) == at(7)
    assert patched(pod(1, 9, ready=False)) == at(9)
    assert patched() is None
    assert patched(pod(1, 9, ready=False), pod(2, 10, ready=False), publishNotReadyAddresses=True) == at(10)

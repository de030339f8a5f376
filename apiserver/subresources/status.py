"""status: what the system observed, written apart from what the user wants.

A write here changes status, and leaves the spec alone; a write of the object itself leaves status alone (API
conventions, "Spec and Status"). Labels, annotations and the rest of metadata may come along with a status, as
upstream has it, but for the few kinds whose metadata stays as it is.
"""

from __future__ import annotations

from typing import Any, Final

from api.resource import Resource
from apiserver.request import Answer, Call
from apiserver.verbs import patch as patch_verb
from apiserver.verbs import update as update_verb
from apiserver.verbs.context import Context, resource_of
from apiserver.verbs.get import get as get_status
from apiserver.verbs.writing import Prepare

__all__ = ["get_status", "patch_status", "update_status"]


async def update_status(context: Context, call: Call) -> Answer:
    """Replace the status by the body's."""
    return await update_verb.update(context, call, prepare=_prepare(resource_of(call)), is_status=True)


async def patch_status(context: Context, call: Call) -> Answer:
    """Patch the object, and keep what that made of its status."""
    return await patch_verb.patch(context, call, prepare=_prepare(resource_of(call)), is_status=True)


_METADATA_STAYS: Final = frozenset(
    {
        "apiservices.apiregistration.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
    }
)


def _prepare(resource: Resource[Any]) -> Prepare:
    if resource.prepare_for_status_update is not None:
        return resource.prepare_for_status_update
    return keep_all_but_status if f"{resource.plural}.{resource.group}" in _METADATA_STAYS else keep_spec


def keep_spec(new: Any, old: Any) -> None:
    """Put back in `new` everything but its status and metadata."""
    for name in new.__struct_fields__:
        if name not in ("status", "metadata"):
            setattr(new, name, getattr(old, name))


def keep_all_but_status(new: Any, old: Any) -> None:
    """Put back in `new` everything but its status."""
    keep_spec(new, old)
    new.metadata = old.metadata

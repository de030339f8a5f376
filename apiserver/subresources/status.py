"""status: what the system observed, written apart from what the user wants.

A write here changes status, and of most kinds such metadata as labels and annotations, never the spec; a write of the
object itself leaves status alone (API conventions, "Spec and Status").
"""

from __future__ import annotations

from typing import Any

from api.certificates import certificatesigningrequest
from apiserver.request import Answer, Call
from apiserver.verbs import patch as patch_verb
from apiserver.verbs import update as update_verb
from apiserver.verbs.context import Context, resource_of
from apiserver.verbs.get import get as get_status
from apiserver.verbs.writing import Prepare

__all__ = ["get_status", "patch_status", "update_status"]


async def update_status(context: Context, call: Call) -> Answer:
    """Replace the status by the body's."""
    return await update_verb.update(context, call, prepare=_prepare(context, call), is_status=True)


async def patch_status(context: Context, call: Call) -> Answer:
    """Patch the object, and keep what that made of its status."""
    return await patch_verb.patch(context, call, prepare=_prepare(context, call), is_status=True)


def _prepare(context: Context, call: Call) -> Prepare:
    resource = resource_of(call)
    if resource is not certificatesigningrequest.RESOURCE:
        return resource.prepare_for_status_update

    def prepare(new: Any, old: Any) -> None:
        resource.prepare_for_status_update(new, old)
        certificatesigningrequest.note_times(new, old, context.clock.now())

    return prepare

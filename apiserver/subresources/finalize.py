"""namespaces/finalize: how the namespace controller takes its hold off a namespace whose content is gone.

Only `spec.finalizers` is written. When the last is gone from a namespace that is being deleted, so is the namespace.
"""

from __future__ import annotations

from typing import Any

from apiserver.request import Answer, Call
from apiserver.verbs import update as update_verb
from apiserver.verbs.context import Context


async def update_finalize(context: Context, call: Call) -> Answer:
    """Replace `spec.finalizers` by the body's."""
    return await update_verb.update(context, call, prepare=_keep_all_but_finalizers)


def _keep_all_but_finalizers(new: Any, old: Any) -> None:
    finalizers = new.spec.finalizers
    new.metadata, new.spec, new.status = old.metadata, old.spec, old.status
    new.spec.finalizers = finalizers

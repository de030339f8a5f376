"""approval: the decision about a CertificateSigningRequest, apart from what the signer then writes into its status.

A write here changes the conditions Approved and Denied and nothing else (`kubectl certificate approve`).
"""

from __future__ import annotations

from api.certificates.certificatesigningrequest import CertificateSigningRequest, note_times, prepare_for_approval
from apiserver.request import Answer, Call
from apiserver.verbs import patch as patch_verb
from apiserver.verbs import update as update_verb
from apiserver.verbs.context import Context
from apiserver.verbs.get import get as get_approval
from apiserver.verbs.writing import Prepare

__all__ = ["get_approval", "patch_approval", "update_approval"]


async def update_approval(context: Context, call: Call) -> Answer:
    """Replace the decision by the body's."""
    return await update_verb.update(context, call, prepare=_prepare(context), is_status=True)


async def patch_approval(context: Context, call: Call) -> Answer:
    """Patch the request, and keep what that made of the decision."""
    return await patch_verb.patch(context, call, prepare=_prepare(context), is_status=True)


def _prepare(context: Context) -> Prepare:
    def prepare(new: CertificateSigningRequest, old: CertificateSigningRequest) -> None:
        prepare_for_approval(new, old)
        note_times(new, old, context.clock.now())

    return prepare

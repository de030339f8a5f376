"""OwnerReferencesPermissionEnforcement: who says who owns an object must be allowed what follows from it.

An object goes when its owners are gone, so that to name owners takes the right to delete it; an owner may have to wait
for it to go (`blockOwnerDeletion`), which takes the right to set that owner's finalizers.
"""

from __future__ import annotations

from typing import Any

from api.core import pod
from api.meta import OwnerReference
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.registry.kinds import Kinds
from apiserver.request import AdmissionRequest, Authorizer, Decision, RequestInfo, decided


class OwnerReferencesPermissionEnforcement:
    """The plugin.

    Args:
        authorizer: says what the writer may do.
        kinds: what resource an owner's kind is.
    """

    def __init__(self, authorizer: Authorizer, kinds: Kinds) -> None:
        self._authorizer = authorizer
        self._kinds = kinds

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge changes of owners.

        Raises:
            Forbidden: the writer may not delete the object, or not set an owner's finalizers.
        """
        if request.operation not in ("CREATE", "UPDATE"):
            return
        if request.resource is pod.RESOURCE and request.subresource == "status":
            return
        owners, before = _owners(request.object), _owners(request.old)
        if owners == before:
            return
        if request.operation != "CREATE":
            resource = request.resource
            decision = await self._decide(
                request,
                RequestInfo("delete", "", resource.group, resource.version, resource.plural, request.subresource,
                            request.namespace, request.name),
            )  # fmt: skip
            if not decision.allowed:
                why = f"cannot set an ownerRef on a resource you can't delete: {_said(decision)}"
                raise refusal(request, why)
        was_blocking = {owner.uid for owner in before if owner.block_owner_deletion}
        for owner in owners:
            if owner.block_owner_deletion and owner.uid not in was_blocking:
                await self._check_blocking(request, owner)

    async def _check_blocking(self, request: AdmissionRequest, owner: OwnerReference) -> None:
        wanted = (owner.api_version, owner.kind)
        kind = next((each for each in self._kinds.all if (each.api_version, each.kind) == wanted), None)
        if kind is None:
            group, _, version = owner.api_version.rpartition("/")
            shown = f"{owner.kind}.{group}" if group else owner.kind
            raise refusal(
                request,
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
                f'{owner.api_version} Kind {owner.kind}: no matches for kind "{shown}" in version "{version}"',
            )
        namespace = request.namespace if kind.namespaced else ""
        asked = RequestInfo("update", "", kind.group, kind.version, kind.plural, "finalizers", namespace, owner.name)
        decision = await self._decide(request, asked)
        if not decision.allowed:
            raise refusal(
                request,
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: "
                f"{_said(decision)}",
            )

    async def _decide(self, request: AdmissionRequest, asked: RequestInfo) -> Decision:
        return await decided(self._authorizer.authorize(request.user, asked))


def _owners(of: Any) -> list[OwnerReference]:
    owners: list[OwnerReference] = of.metadata.owner_references if of is not None else []
    return owners


def _said(decision: Decision) -> str:
    """Return reason and error as Go prints them, nothing included."""
    return f"{decision.reason}, {decision.error or '<nil>'}"

"""Who puts a policy into force must be able to read its parameters, since messages can tell what stands there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api import validation as v
from api.admissionregistration import validatingadmissionpolicy, validatingadmissionpolicybinding
from api.admissionregistration.validatingadmissionpolicy import ParamKind
from api.admissionregistration.validatingadmissionpolicybinding import ParamRef
from api.errors import NotFound
from api.resource import FieldError, ObjectKey, Resource
from apiserver.auth.rbac import SUPERUSERS
from apiserver.auth.tokens import Read
from apiserver.registry.kinds import Kinds
from apiserver.request import AdmissionRequest, Authorizer, RequestInfo, decided


class ParamRights:
    """The plugin.

    Args:
        authorizer: says what the writer may read.
        kinds: what resource a kind is.
        read: any object as stored; raises NotFound.
    """

    def __init__(self, authorizer: Authorizer, kinds: Kinds, read: Read) -> None:
        self._authorizer = authorizer
        self._kinds = kinds
        self._read = read

    async def validate(self, request: AdmissionRequest) -> None:
        """Require the right to read what is newly referred to; raises Invalid."""
        if request.operation not in ("CREATE", "UPDATE") or request.subresource or SUPERUSERS in request.user.groups:
            return
        new: Any = request.object
        old: Any = request.old
        errors: Sequence[FieldError] = ()
        if request.resource is validatingadmissionpolicy.RESOURCE:
            kind = new.spec.param_kind
            if kind is not None and (old is None or old.spec.param_kind != kind):
                errors = await self._check_kind(request, kind)
        elif request.resource is validatingadmissionpolicybinding.RESOURCE:
            spec = new.spec
            if spec.param_ref is not None and (
                old is None or (old.spec.param_ref, old.spec.policy_name) != (spec.param_ref, spec.policy_name)
            ):
                errors = await self._check_ref(request, await self._kind_of(spec.policy_name), spec.param_ref)
        if errors:
            raise v.refuse(request.resource, new, list(errors))

    async def _kind_of(self, policy_name: str) -> ParamKind | None:
        try:
            policy = await self._read(validatingadmissionpolicy.RESOURCE, ObjectKey("", policy_name))
        except NotFound:
            return None
        found: ParamKind | None = policy.spec.param_kind
        return found

    async def _check_kind(self, request: AdmissionRequest, kind: ParamKind) -> Sequence[FieldError]:
        if await self._may(request, "get", kind, "", "*"):
            return ()
        why = (
            f'user {request.user.name} must have "get" permission on all objects of the referenced paramKind '
            f"(kind={kind.kind}, apiVersion={kind.api_version})"
        )
        return [v.forbidden("spec.paramKind", why)]

    async def _check_ref(
        self, request: AdmissionRequest, kind: ParamKind | None, ref: ParamRef
    ) -> Sequence[FieldError]:
        verb = "get" if ref.name else "list"
        if await self._may(request, verb, kind, ref.namespace, ref.name):
            return ()
        why = f'user {request.user.name} does not have "{verb}" permission on the object referenced by paramRef'
        return [v.forbidden("spec.paramRef", why)]

    async def _may(
        self, request: AdmissionRequest, verb: str, kind: ParamKind | None, namespace: str, name: str
    ) -> bool:
        """Ask about a kind; about everything of its group, or of all groups, where it is not known what it is."""
        group, version, plural = "*", "*", "*"
        if kind is not None:
            group, _, version = kind.api_version.rpartition("/")
            resource = self._resource(kind)
            plural = resource.plural if resource is not None else "*"
        asked = RequestInfo(verb, "", group, version, plural, "", namespace, name)
        return (await decided(self._authorizer.authorize(request.user, asked))).allowed

    def _resource(self, kind: ParamKind) -> Resource[Any] | None:
        wanted = (kind.api_version, kind.kind)
        return next((each for each in self._kinds.all if (each.api_version, each.kind) == wanted), None)

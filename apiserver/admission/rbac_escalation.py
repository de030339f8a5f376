"""Nobody grants what they do not hold.

Whoever writes a role must hold every rule in it, or the verb `escalate` on it; whoever writes a binding must hold
every rule of the role it refers to, or the verb `bind` on it. Else the right to write roles would be the right to
everything ("privilege escalation prevention and bootstrapping" in Kubernetes' RBAC documentation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.errors import NotFound
from api.rbac import clusterrole, clusterrolebinding, role, rolebinding
from api.rbac.rules import PolicyRule
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.auth.rbac import RBAC_GROUP, SUPERUSERS, RbacAuthorizer, describe, uncovered
from apiserver.request import AdmissionRequest, Authorizer, RequestInfo, User, decided

_ROLES = (role.RESOURCE, clusterrole.RESOURCE)
_BINDINGS = (rolebinding.RESOURCE, clusterrolebinding.RESOURCE)


class RbacEscalation:
    """Compares what a role or binding would give with what its writer has."""

    def __init__(self, rbac: RbacAuthorizer, authorizer: Authorizer | None = None) -> None:
        """Compare by the roles that `rbac` knows; `authorizer` says who may go beyond them, `rbac` without it."""
        self._rbac = rbac
        self._authorizer: Authorizer = authorizer or rbac

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge the object as it will be stored.

        Raises:
            Forbidden: it gives more than its writer has.
            NotFound: a binding to a role that does not exist, by somebody who may not bind just anything.
        """
        if request.operation not in ("CREATE", "UPDATE") or SUPERUSERS in request.user.groups:
            return
        new: Any = request.object
        old: Any = request.old
        if request.resource in _ROLES:
            gains_selection = getattr(new, "aggregation_rule", None) is not None and (
                old is None or new.aggregation_rule != old.aggregation_rule
            )
            if (old is not None and new.rules == old.rules and not gains_selection) or await self._may(
                request, "escalate"
            ):
                return
            wanted = list(new.rules)
            if gains_selection:
                # A selector takes in roles that are yet to be made: only who holds everything may say so.
                wanted.append(PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"]))
                wanted.append(PolicyRule(verbs=["*"], non_resource_urls=["*"]))
        elif request.resource in _BINDINGS:
            if old is not None and (new.role_ref, new.subjects) == (old.role_ref, old.subjects):
                return
            ref = new.role_ref
            plural = "clusterroles" if ref.kind == "ClusterRole" else "roles"
            bind = RequestInfo("bind", "", RBAC_GROUP, "v1", plural, "", request.namespace, ref.name)
            if (await decided(self._authorizer.authorize(request.user, bind))).allowed:
                return
            rules = self._rbac.rules_of_role(ref, request.namespace)
            if rules is None:
                raise NotFound(
                    f'{plural}.{RBAC_GROUP} "{ref.name}" not found', group=RBAC_GROUP, kind=plural, name=ref.name
                )
            wanted = rules
        else:
            return
        missing = uncovered(self._rbac.rules_of(request.user, request.namespace), wanted)
        if missing:
            raise refusal(
                request,
                f"{_named(request.user)} is attempting to grant RBAC permissions not currently held:\n"
                f"{describe(missing)}",
            )

    async def _may(self, request: AdmissionRequest, verb: str) -> bool:
        name = request.name or str(request.object.metadata.name)  # type: ignore[union-attr]
        asked = RequestInfo(verb, "", RBAC_GROUP, "v1", request.resource.plural, "", request.namespace, name)
        return (await decided(self._authorizer.authorize(request.user, asked))).allowed


def _named(user: User) -> str:
    def listed(values: Sequence[str]) -> str:
        return "[" + " ".join(f'"{value}"' for value in values) + "]"

    return f'user "{user.name}" (groups={listed(user.groups)})'

"""Lets the controllers look after custom objects: namespaces are emptied of them, and they are collected as garbage.

The roles of the cluster's own processes name each kind, since `*` would take in subresources such as pods/exec; kinds
that users define cannot be named there, so they are allowed here: reading, deleting, and changing who owns them.
"""

from __future__ import annotations

from typing import Final

from api.rbac.rules import PolicyRule
from apiserver.registry.kinds import Kinds
from apiserver.request import Authorizer, Deciding, Decision, RequestInfo, RuleSource, User

CARETAKER: Final = "system:kube-controller-manager"
_VERBS: Final = frozenset({"get", "list", "watch", "delete", "deletecollection", "patch", "update"})


class CaretakerAuthorizer:
    """Allows the controllers what they need with custom kinds, and asks `then` about everything else."""

    def __init__(self, kinds: Kinds, then: Authorizer) -> None:
        self._kinds = kinds
        self._then = then

    def authorize(self, user: User, request: RequestInfo) -> Deciding:
        """Say whether a user may do what is asked."""
        if user.name == CARETAKER and request.verb in _VERBS and not request.subresource:
            kind = self._kinds.by_gvr(request.group, request.version, request.plural)
            if kind is not None and kind in self._kinds.custom:
                return Decision(True, "controllers look after objects of every kind that users define")
        return self._then.authorize(user, request)

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return the rules that `then` knows of."""
        return self._then.rules_of(user, namespace) if isinstance(self._then, RuleSource) else []

    def why_incomplete(self, user: User) -> str:
        """Return what `then` says."""
        return self._then.why_incomplete(user) if isinstance(self._then, RuleSource) else ""

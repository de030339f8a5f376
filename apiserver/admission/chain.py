"""The plugins in their order: all that change the object, then, after its validation, all that judge it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from api.core.namespace import Namespace
from api.core.serviceaccount import ServiceAccount
from api.lister import Lister
from api.scheduling.priorityclass import PriorityClass
from apiserver.admission.certificates import Certificates
from apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from apiserver.admission.node_restriction import NodeRestriction
from apiserver.admission.priority import Priority
from apiserver.admission.rbac_escalation import RbacEscalation
from apiserver.admission.service_account import ServiceAccountAdmission
from apiserver.auth.rbac import RbacAuthorizer
from apiserver.auth.tokens import Read
from apiserver.crd.definition import DefinitionRules
from apiserver.request import AdmissionPlugin, AdmissionRequest


class AdmissionChain:
    """Plugins as one plugin; the first refusal ends it."""

    def __init__(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self._plugins = tuple(plugins)

    async def admit(self, request: AdmissionRequest) -> None:
        """Let every plugin change the object, in order; twice, if one changed it after others had seen it."""
        for plugin in self._plugins:
            await plugin.admit(request)
        if request.wants_another_round:
            request.is_reinvocation = True
            for plugin in self._plugins:
                await plugin.admit(request)

    async def validate(self, request: AdmissionRequest) -> None:
        """Let every plugin judge the object as it will be stored."""
        for plugin in self._plugins:
            await plugin.validate(request)


def build(
    *,
    namespaces: Lister[Namespace],
    service_accounts: Lister[ServiceAccount],
    priority_classes: Lister[PriorityClass],
    read: Read,
    authorizer: RbacAuthorizer,
    random: Random,
    toleration_s: int = 300,
) -> AdmissionChain:
    """Return the chain of a cluster.

    Args:
        namespaces: a cache; what is not in it is looked up with `read`.
        service_accounts: likewise.
        priority_classes: a cache, for the class of pods that name none.
        read: any object as stored; raises NotFound.
        authorizer: says what somebody who writes roles and bindings holds.
        random: makes volume names unique within a pod.
        toleration_s: how long pods stay on a node that is gone, when they don't say.
    """
    return AdmissionChain(
        [
            NamespaceLifecycle(namespaces, read),
            NodeRestriction(read),
            ServiceAccountAdmission(service_accounts, read, random),
            Priority(priority_classes, read),
            DefaultTolerationSeconds(toleration_s),
            RbacEscalation(authorizer),
            DefinitionRules(),
            Certificates(authorizer),
        ]
    )

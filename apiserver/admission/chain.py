"""The plugins in their order: all that change the object, then, after its validation, all that judge it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from api.core import (
    limitrange,
    namespace,
    pod,
    resourcequota,
    serviceaccount,
)
from api.lister import Lister
from api.networking import ingressclass
from api.resource import Resource
from api.scheduling import priorityclass
from api.storage import storageclass
from apiserver.admission.certificates import Certificates
from apiserver.admission.default_ingress_class import DefaultIngressClass
from apiserver.admission.default_storage_class import DefaultStorageClass
from apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from apiserver.admission.dynamic import Dynamic
from apiserver.admission.expression_rules import ExpressionRules
from apiserver.admission.limit_ranger import LimitRanger
from apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from apiserver.admission.node_restriction import NodeRestriction
from apiserver.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from apiserver.admission.pod_security import PodSecurity
from apiserver.admission.priority import Priority
from apiserver.admission.rbac_escalation import RbacEscalation
from apiserver.admission.resource_quota import ResourceQuotaAdmission, Rewrite
from apiserver.admission.runtime_class import RuntimeClassAdmission
from apiserver.admission.service_account import ServiceAccountAdmission
from apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from apiserver.auth.rbac import RbacAuthorizer
from apiserver.auth.tokens import Read
from apiserver.crd.definition import DefinitionRules
from apiserver.request import AdmissionPlugin, AdmissionRequest
from component.clock import Clock


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
    lister: Callable[[Resource[Any]], Lister[Any]],
    read: Read,
    rewrite_quota: Rewrite,
    authorizer: RbacAuthorizer,
    clock: Clock,
    random: Random,
    toleration_s: int = 300,
    dynamic: Dynamic | None = None,
) -> AdmissionChain:
    """Return the chain of a cluster: upstream's plugins that are on by default, in upstream's order.

    Args:
        lister: the cache of a kind. What must not be missed is looked up with `read` if it is not there.
        read: any object as stored; raises NotFound.
        rewrite_quota: writes a ResourceQuota, as often as it changes meanwhile.
        authorizer: says what somebody who writes roles and bindings holds.
        clock: says which pods should be gone by now.
        random: makes volume names unique within a pod.
        toleration_s: how long pods stay on a node that is gone, when they don't say.
        dynamic: the webhooks and policies of users, who see what all others have made of the object.
    """
    return AdmissionChain(
        [
            NamespaceLifecycle(lister(namespace.RESOURCE), read),
            LimitRanger(lister(limitrange.RESOURCE)),
            ServiceAccountAdmission(lister(serviceaccount.RESOURCE), read, random),
            NodeRestriction(read),
            TaintNodesByCondition(),
            PodSecurity(lister(namespace.RESOURCE), lister(pod.RESOURCE), read),
            Priority(lister(priorityclass.RESOURCE), read),
            DefaultTolerationSeconds(toleration_s),
            DefaultStorageClass(lister(storageclass.RESOURCE)),
            StorageObjectInUseProtection(),
            PersistentVolumeClaimResize(lister(storageclass.RESOURCE)),
            RuntimeClassAdmission(read),
            RbacEscalation(authorizer),
            DefinitionRules(),
            ExpressionRules(),
            Certificates(authorizer),
            DefaultIngressClass(lister(ingressclass.RESOURCE)),
            *((dynamic.mutating_webhooks, dynamic.policies, dynamic.validating_webhooks) if dynamic else ()),
            ResourceQuotaAdmission(lister(resourcequota.RESOURCE), rewrite_quota, clock),
        ]
    )

"""The plugins in their order: all that change the object, then, after its validation, all that judge it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final, TypeVar

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
from apiserver.admission.always_admit import AlwaysAdmit
from apiserver.admission.always_deny import AlwaysDeny
from apiserver.admission.always_pull_images import AlwaysPullImages
from apiserver.admission.certificate_approval import CertificateApproval
from apiserver.admission.certificate_signing import CertificateSigning
from apiserver.admission.certificate_subject_restriction import CertificateSubjectRestriction
from apiserver.admission.certificates import Certificates
from apiserver.admission.configuration import AdmissionSettings
from apiserver.admission.default_ingress_class import DefaultIngressClass
from apiserver.admission.default_storage_class import DefaultStorageClass
from apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from apiserver.admission.deny_service_external_ips import DenyServiceExternalIPs
from apiserver.admission.dynamic import Dynamic
from apiserver.admission.event_rate_limit import EventRateLimit
from apiserver.admission.expression_rules import ExpressionRules
from apiserver.admission.extended_resource_toleration import ExtendedResourceToleration
from apiserver.admission.image_policy_webhook import ImagePolicyWebhook
from apiserver.admission.limit_pod_hard_anti_affinity_topology import LimitPodHardAntiAffinityTopology
from apiserver.admission.limit_ranger import LimitRanger
from apiserver.admission.metrics import plugin_durations
from apiserver.admission.namespace_auto_provision import Ensure, NamespaceAutoProvision
from apiserver.admission.namespace_exists import NamespaceExists
from apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from apiserver.admission.node_restriction import NodeRestriction
from apiserver.admission.owner_references_permission_enforcement import OwnerReferencesPermissionEnforcement
from apiserver.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from apiserver.admission.plugin_names import ORDER
from apiserver.admission.pod_node_selector import PodNodeSelector
from apiserver.admission.pod_security import PodSecurity
from apiserver.admission.pod_toleration_restriction import PodTolerationRestriction
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
from apiserver.registry.kinds import Kinds
from apiserver.request import AdmissionRequest, Admits, Authorizer, Judges
from component.clock import Clock
from component.metrics import Series, Spread

_NAMES: Final = {
    "MutatingWebhooks": "MutatingAdmissionWebhook",
    "ResourceQuotaAdmission": "ResourceQuota",
    "RuntimeClassAdmission": "RuntimeClass",
    "ServiceAccountAdmission": "ServiceAccount",
    "ValidatingPolicies": "ValidatingAdmissionPolicy",
    "ValidatingWebhooks": "ValidatingAdmissionWebhook",
}
"""What upstream calls plugins that have another name here."""
_BEFORE_OWN: Final = "RuntimeClass"
T = TypeVar("T")


class AdmissionChain:
    """Plugins as one plugin; the first refusal ends it.

    Args:
        plugins: in order; each is asked for what it has, as upstream counts them too.
        durations: how long each took, by its name, operation, whether it refused, and round.
        monotonic: the time in seconds.
    """

    def __init__(
        self,
        plugins: Sequence[Admits | Judges],
        durations: Spread | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        durations = durations if durations is not None else plugin_durations()
        named = [(plugin, type(plugin).__name__) for plugin in plugins]
        named = [(plugin, _NAMES.get(name, name)) for plugin, name in named]
        self._admitting = [
            (plugin.admit, _Timed(durations, name, "admit")) for plugin, name in named if isinstance(plugin, Admits)
        ]
        self._validating = [
            (plugin.validate, _Timed(durations, name, "validate"))
            for plugin, name in named
            if isinstance(plugin, Judges)
        ]
        self._monotonic = monotonic

    async def admit(self, request: AdmissionRequest) -> None:
        """Let every plugin change the object, in order; twice, if one changed it after others had seen it."""
        await self._run(self._admitting, request)
        if request.wants_another_round:
            request.is_reinvocation = True
            await self._run(self._admitting, request)

    async def validate(self, request: AdmissionRequest) -> None:
        """Have every plugin judge the object."""
        await self._run(self._validating, request)

    async def _run(self, steps: Sequence[tuple[_Step, _Timed]], request: AdmissionRequest) -> None:
        operation, monotonic = request.operation, self._monotonic
        at = monotonic()
        for step, timed in steps:
            try:
                await step(request)
            except BaseException:
                timed.of(operation, "true").observe(monotonic() - at)
                raise
            now = monotonic()
            timed.of(operation, "false").observe(now - at)
            at = now


_Step = Callable[[AdmissionRequest], Awaitable[None]]


class _Timed:
    """One plugin's series of one round."""

    __slots__ = ("_durations", "_kind", "_name", "_series")

    def __init__(self, durations: Spread, name: str, kind: str) -> None:
        self._durations = durations
        self._name = name
        self._kind = kind
        self._series: dict[tuple[str, str], Series] = {}

    def of(self, operation: str, rejected: str) -> Series:
        found = self._series.get((operation, rejected))
        if found is None:
            labels = (self._name, operation, rejected, self._kind)
            found = self._series[operation, rejected] = self._durations.of(labels)
        return found


def build(
    *,
    lister: Callable[[Resource[Any]], Lister[Any]],
    read: Read,
    rewrite_quota: Rewrite,
    rbac: RbacAuthorizer,
    authorizer: Authorizer | None = None,
    clock: Clock,
    random: Random,
    toleration_s: int = 300,
    dynamic: Dynamic | None = None,
    durations: Spread | None = None,
    settings: AdmissionSettings | None = None,
    ensure: Ensure | None = None,
    kinds: Kinds | None = None,
    images: ImagePolicyWebhook | None = None,
) -> AdmissionChain:
    """Return the chain of a cluster: upstream's plugins that are on, in upstream's order.

    Args:
        lister: the cache of a kind. What must not be missed is looked up with `read` if it is not there.
        read: any object as stored; raises NotFound.
        rewrite_quota: writes a ResourceQuota, as often as it changes meanwhile.
        rbac: says what somebody who writes roles and bindings holds.
        authorizer: says who may do more than write; `rbac` without it.
        clock: says which pods should be gone by now.
        random: makes volume names unique within a pod.
        toleration_s: how long pods stay on a node that is gone, when they don't say.
        dynamic: the webhooks and policies of users, who see what all others have made of the object.
        durations: of single plugins.
        settings: which are on, and what some of them are told.
        ensure: makes an object, for NamespaceAutoProvision.
        kinds: what resource a kind is, for OwnerReferencesPermissionEnforcement.
        images: the plugin that asks about them, if it is on.
    """
    settings = settings or AdmissionSettings()
    judge = authorizer or rbac
    namespaces = lister(namespace.RESOURCE)
    makers: dict[str, Callable[[], Admits | Judges]] = {
        "AlwaysAdmit": AlwaysAdmit,
        "NamespaceAutoProvision": lambda: NamespaceAutoProvision(namespaces, _needed(ensure)),
        "NamespaceLifecycle": lambda: NamespaceLifecycle(namespaces, read),
        "NamespaceExists": lambda: NamespaceExists(namespaces, read),
        "LimitPodHardAntiAffinityTopology": LimitPodHardAntiAffinityTopology,
        "LimitRanger": lambda: LimitRanger(lister(limitrange.RESOURCE)),
        "ServiceAccount": lambda: ServiceAccountAdmission(lister(serviceaccount.RESOURCE), read, random),
        "NodeRestriction": lambda: NodeRestriction(read),
        "TaintNodesByCondition": TaintNodesByCondition,
        "AlwaysPullImages": AlwaysPullImages,
        "ImagePolicyWebhook": lambda: _needed(images),
        "PodSecurity": lambda: PodSecurity(
            namespaces, lister(pod.RESOURCE), read, settings.pod_security, settings.exemptions
        ),
        "PodNodeSelector": lambda: PodNodeSelector(namespaces, read, settings.node_selectors),
        "Priority": lambda: Priority(lister(priorityclass.RESOURCE), read),
        "DefaultTolerationSeconds": lambda: DefaultTolerationSeconds(toleration_s),
        "PodTolerationRestriction": lambda: PodTolerationRestriction(namespaces, read, settings.tolerations),
        "EventRateLimit": lambda: EventRateLimit(settings.event_limits, clock),
        "ExtendedResourceToleration": ExtendedResourceToleration,
        "DefaultStorageClass": lambda: DefaultStorageClass(lister(storageclass.RESOURCE)),
        "StorageObjectInUseProtection": StorageObjectInUseProtection,
        "OwnerReferencesPermissionEnforcement": lambda: OwnerReferencesPermissionEnforcement(judge, _needed(kinds)),
        "PersistentVolumeClaimResize": lambda: PersistentVolumeClaimResize(lister(storageclass.RESOURCE)),
        "RuntimeClass": lambda: RuntimeClassAdmission(read),
        "CertificateApproval": lambda: CertificateApproval(judge),
        "CertificateSigning": lambda: CertificateSigning(judge),
        "CertificateSubjectRestriction": CertificateSubjectRestriction,
        "DefaultIngressClass": lambda: DefaultIngressClass(lister(ingressclass.RESOURCE)),
        "DenyServiceExternalIPs": DenyServiceExternalIPs,
        "ResourceQuota": lambda: ResourceQuotaAdmission(
            lister(resourcequota.RESOURCE), rewrite_quota, clock, settings.limited
        ),
        "AlwaysDeny": AlwaysDeny,
    }
    if dynamic is not None:
        makers["MutatingAdmissionWebhook"] = lambda: dynamic.mutating_webhooks
        makers["ValidatingAdmissionPolicy"] = lambda: dynamic.policies
        makers["ValidatingAdmissionWebhook"] = lambda: dynamic.validating_webhooks
    # What is no plugin of upstream's is on always: rules that stand elsewhere there.
    own: list[Admits | Judges] = [RbacEscalation(rbac, authorizer), DefinitionRules(), ExpressionRules()]
    own += [Certificates(clock), *((dynamic.param_rights,) if dynamic is not None else ())]
    chosen = [makers[name]() for name in ORDER if name in settings.on and name in makers]
    first = sum(name in settings.on for name in ORDER[: ORDER.index(_BEFORE_OWN) + 1])
    return AdmissionChain([*chosen[:first], *own, *chosen[first:]], durations, clock.monotonic)


def _needed(given: T | None) -> T:
    assert given is not None, "whoever builds a server gives it"
    return given

"""Which admission plugins are on: upstream's names in upstream's order, and what flags make of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from api.errors import as_one

ORDER: Final = (
    "AlwaysAdmit",
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "ImagePolicyWebhook",
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "PodTolerationRestriction",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
    "AlwaysDeny",
)
"""ClusterTrustBundleAttest and MutatingAdmissionPolicy are about kinds that 1.32 serves behind feature gates alone, and
this server does not: they may be named, and there is nothing for them to do."""
OFF: Final = frozenset(
    {
        "AlwaysAdmit",
        "AlwaysDeny",
        "AlwaysPullImages",
        "DenyServiceExternalIPs",
        "EventRateLimit",
        "ExtendedResourceToleration",
        "ImagePolicyWebhook",
        "LimitPodHardAntiAffinityTopology",
        "NamespaceAutoProvision",
        "NamespaceExists",
        "OwnerReferencesPermissionEnforcement",
        "PodNodeSelector",
        "PodTolerationRestriction",
    }
)
"""Off unless a flag says otherwise. NodeRestriction is on here, as kubeadm has it."""
DEFAULT: Final = frozenset(ORDER) - OFF


class BadNames(ValueError):
    """Flags that make no sense."""


def choose(enable: Sequence[str], disable: Sequence[str]) -> frozenset[str]:
    """Return the plugins that are on.

    Raises:
        BadNames: there is no such plugin, or one is to be both.
    """
    wrong = [
        f'{flag} plugin "{name}" is unknown'
        for flag, names in (("enable-admission-plugins", enable), ("disable-admission-plugins", disable))
        for name in names
        if name not in ORDER
    ]
    both = sorted(set(enable) & set(disable))
    if both:
        shown = f"[{' '.join(both)}]"
        wrong.append(f"{shown} in enable-admission-plugins and disable-admission-plugins overlapped")
    if wrong:
        raise BadNames(as_one(wrong))
    return (DEFAULT | set(enable)) - set(disable)

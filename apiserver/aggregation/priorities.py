"""In which order groups and versions are shown: clients take the first that has what they want. Upstream's facts."""

from __future__ import annotations

from typing import Final

CUSTOM: Final = (1000, 100)
"""Of custom kinds: the group's, and each version's."""
_OWN: Final = 20_000
"""The group that describes all this comes first."""

_GROUPS: Final = {
    "apiregistration.k8s.io": _OWN,
    "": 18_000,
    "apps": 17_800,
    "events.k8s.io": 17_750,
    "authentication.k8s.io": 17_700,
    "authorization.k8s.io": 17_600,
    "autoscaling": 17_500,
    "batch": 17_400,
    "certificates.k8s.io": 17_300,
    "networking.k8s.io": 17_200,
    "policy": 17_100,
    "rbac.authorization.k8s.io": 17_000,
    "storage.k8s.io": 16_800,
    "apiextensions.k8s.io": 16_700,
    "admissionregistration.k8s.io": 16_700,
    "scheduling.k8s.io": 16_600,
    "coordination.k8s.io": 16_500,
    "node.k8s.io": 16_300,
    "discovery.k8s.io": 16_200,
    "flowcontrol.apiserver.k8s.io": 16_100,
    "internal.apiserver.k8s.io": 16_000,
    "resource.k8s.io": 15_900,
    "storagemigration.k8s.io": 15_800,
}
_VERSIONS: Final = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}
_STABLE, _BETA, _ALPHA = 15, 9, 1


def of(group: str, version: str) -> tuple[int, int]:
    """Return the priorities of a group and of its version, as served here."""
    if group not in _GROUPS:
        return CUSTOM
    by_stage = _ALPHA if "alpha" in version else _BETA if "beta" in version else _STABLE
    return _GROUPS[group], _VERSIONS.get((group, version), by_stage)

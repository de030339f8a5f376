"""What resources may be called, in containers, quotas and elsewhere, and how much of one may be asked for. Pure.

Sources: "Resource Management for Pods and Containers", "Resource Quotas" in Kubernetes' documentation.
"""

from __future__ import annotations

import contextlib
from typing import Final

from api import names, quantity
from api import validation as v

HUGE_PAGES: Final = "hugepages-"
_OF_CONTAINERS: Final = frozenset(("cpu", "memory", "ephemeral-storage"))
_COUNTED: Final = frozenset(
    (
        "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps",
        "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    )
)  # fmt: skip
_OF_QUOTAS: Final = (
    _OF_CONTAINERS
    | _COUNTED
    | {f"{side}.{name}" for side in ("requests", "limits") for name in _OF_CONTAINERS}
    | {"requests.storage"}
)
_STANDARD: Final = _OF_QUOTAS | {"storage"}


def is_native(name: str) -> bool:
    """Return whether a resource is Kubernetes' own rather than a device plugin's."""
    return "/" not in name or "kubernetes.io/" in name


def may_overcommit(name: str) -> bool:
    """Return whether pods may ask for less than they may use: not of devices, nor of huge pages."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def is_extended(name: str) -> bool:
    """Whether a resource is none of Kubernetes' own, such as a device: of a domain, and fit for a quota."""
    return not is_native(name) and _is_extended(name)


def check_resource_name(path: str, name: str) -> v.Errors:
    """Require a standard resource, or one with a domain."""
    wrong = names.check_qualified_name(name)
    for message in wrong:
        yield v.invalid(path, name, message)
    if not wrong and "/" not in name and name not in _STANDARD and not _is_huge(name):
        yield v.invalid(path, name, "must be a standard resource type or fully qualified")


def check_container_resource_name(path: str, name: str) -> v.Errors:
    """Require a resource that a container can have."""
    yield from check_resource_name(path, name)
    if "/" not in name:
        if name not in _OF_CONTAINERS and not name.startswith(HUGE_PAGES):
            yield v.invalid(path, name, "must be a standard resource for containers")
    elif not is_native(name) and not _is_extended(name):
        yield v.invalid(path, name, "doesn't follow extended resource name standard")


def check_quota_resource_name(path: str, name: str) -> v.Errors:
    """Require a resource that can be counted in a namespace."""
    yield from check_resource_name(path, name)
    if "/" not in name and name not in _OF_QUOTAS and not _is_huge(name):
        yield v.invalid(path, name, "must be a standard resource for quota")


def check_amount(path: str, name: str, amount: str) -> v.Errors:
    """Require an amount that there can be: not negative, and whole where things are counted."""
    parsed = quantity.parse(amount)
    if parsed.nanos < 0:
        yield v.invalid(path, amount, "must be greater than or equal to 0")
    is_whole = name in _COUNTED or (not is_native(name) and _is_extended(name))
    if is_whole and parsed.nanos % quantity.NANOS:
        yield v.invalid(path, amount, "must be an integer")


def check_pages(path: str, name: str, amount: str) -> v.Errors:
    """Require whole huge pages; of other resources, nothing."""
    if not name.startswith(HUGE_PAGES):
        return
    with contextlib.suppress(ValueError):
        page, asked = quantity.parse(name.removeprefix(HUGE_PAGES)).nanos, quantity.parse(amount).nanos
        if page <= 0 or asked <= 0 or asked % page:
            yield v.invalid(path, amount, f"{amount} is not positive integer multiple of {name}")


def _is_huge(name: str) -> bool:
    return name.startswith((HUGE_PAGES, f"requests.{HUGE_PAGES}"))


def _is_extended(name: str) -> bool:
    return not name.startswith("requests.") and not names.check_qualified_name(f"requests.{name}")

"""What a definition's status says: which names it got, and whether its kind is served. Pure.

Names are taken within a group. Plural, singular and short names are of one space, kind and list kind of another; who
was accepted first keeps a name. A definition whose names are all its own, and whose converting webhook can be known, is
established, and stays so whatever it becomes afterwards: its objects are there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from api import timestamps
from api.apiextensions.customresourcedefinition import (
    CustomResourceConversion,
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
    is_condition,
)
from api.certificates.reading import read_certificates

APPROVED: Final = "api-approved.kubernetes.io"


def compute_status(
    crd: CustomResourceDefinition, others: Iterable[CustomResourceDefinition], now: float
) -> CustomResourceDefinitionStatus:
    """Return the status that `crd` should have, beside the `others` of its group."""
    taken: set[str] = set()
    taken_kinds: set[str] = set()
    for other in others:
        names = other.status.accepted_names
        taken.update(name for name in (names.plural, names.singular, *names.short_names) if name)
        taken_kinds.update(name for name in (names.kind, names.list_kind) if name)
    accepted, conflict = _accept(crd.spec.names, crd.status.accepted_names, taken, taken_kinds)
    conditions = list(crd.status.conditions)
    if conflict is None:
        _set(conditions, "NamesAccepted", True, "NoConflicts", "no conflicts found", now)
    else:
        _set(conditions, "NamesAccepted", False, conflict[0], conflict[1], now)
    if not is_condition(crd, "Established"):
        if conflict is not None:
            _set(conditions, "Established", False, "NotAccepted", "not all names are accepted", now)
        elif trust_fault(crd.spec.conversion):
            why = "The conversion webhook CABundle is invalid"
            _set(conditions, "Established", False, "InvalidCABundle", why, now)
        else:
            _set(conditions, "Established", True, "InitialNamesAccepted", "the initial names have been accepted", now)
    _set_approval(crd, conditions, now)
    return CustomResourceDefinitionStatus(
        conditions=conditions, accepted_names=accepted, stored_versions=crd.status.stored_versions
    )


def trust_fault(conversion: CustomResourceConversion | None) -> str:
    """Say why the certificates by which a converting webhook is to be known are none; empty where they are well."""
    webhook = conversion.webhook if conversion is not None else None
    bundle = webhook.client_config.ca_bundle if webhook is not None and webhook.client_config is not None else b""
    if not bundle:
        return ""
    try:
        read_certificates(bundle)
    except ValueError:
        return "unable to load root certificates: unable to parse bytes as PEM block"
    return ""


def with_terminating(
    crd: CustomResourceDefinition, status: bool, reason: str, message: str, now: float
) -> CustomResourceDefinitionStatus:
    """Return the status of a definition that is being deleted."""
    conditions = list(crd.status.conditions)
    _set(conditions, "Terminating", status, reason, message, now)
    return msgspec.structs.replace(crd.status, conditions=conditions)


def _accept(
    wanted: CustomResourceDefinitionNames, before: CustomResourceDefinitionNames, taken: set[str], kinds: set[str]
) -> tuple[CustomResourceDefinitionNames, tuple[str, str] | None]:
    accepted = msgspec.structs.replace(before)
    conflict: tuple[str, str] | None = None
    for name, reason, space in (
        ("plural", "PluralConflict", taken),
        ("singular", "SingularConflict", taken),
        ("short_names", "ShortNamesConflict", taken),
        ("kind", "KindConflict", kinds),
        ("list_kind", "ListKindConflict", kinds),
    ):
        value = getattr(wanted, name)
        used = [each for each in (value if isinstance(value, list) else [value]) if each in space]
        if used:
            conflict = (reason, ", ".join(f'"{each}" is already in use' for each in used))
        else:
            setattr(accepted, name, value)
    accepted.categories = wanted.categories
    return accepted, conflict


def _set_approval(
    crd: CustomResourceDefinition, conditions: list[CustomResourceDefinitionCondition], now: float
) -> None:
    if not is_protected(crd.spec.group):
        return
    approval = crd.metadata.annotations.get(APPROVED, "")
    type_ = "KubernetesAPIApprovalPolicyConformant"
    if approval.startswith("unapproved"):
        why = f'not approved: "{approval}"'
        _set(conditions, type_, False, "UnapprovedAnnotation", why, now)
    elif approval.startswith(("https://", "http://")):
        _set(conditions, type_, True, "ApprovedAnnotation", f"approved in {approval}", now)


def is_protected(group: str) -> bool:
    """Whether a group is the Kubernetes community's own, where new kinds need its approval."""
    return group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io")


def _set(
    conditions: list[CustomResourceDefinitionCondition], type_: str, status: bool, reason: str, message: str, now: float
) -> None:
    told = "True" if status else "False"
    for i, each in enumerate(conditions):
        if each.type == type_:
            if (each.status, each.reason, each.message) == (told, reason, message):
                return
            since = each.last_transition_time if each.status == told else timestamps.render(now)
            conditions[i] = CustomResourceDefinitionCondition(
                type=type_, status=told, last_transition_time=since, reason=reason, message=message
            )
            return
    conditions.append(
        CustomResourceDefinitionCondition(
            type=type_, status=told, last_transition_time=timestamps.render(now), reason=reason, message=message
        )
    )

"""PodSecurity: labels of a namespace say what its pods may not do, and whether that is refused, told, or only noted.

`pod-security.kubernetes.io/enforce`, `warn` and `audit` name a level, and with `-version` the policy's version. Pods
are refused; what makes pods is only warned about, since its pods will be looked at one by one. A namespace whose level
is raised is told which of its pods would no longer get in. What holds where labels say nothing can be configured, and
which users, namespaces and runtime classes are exempt (KEP-2579).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.apps import daemonset, deployment, replicaset, statefulset
from api.batch import cronjob, job
from api.core import namespace, pod, podtemplate, replicationcontroller
from api.errors import Cause, Invalid, as_one
from api.lister import Lister
from api.resource import ObjectKey, Resource
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.admission.pod_security_checks import LATEST, Violation, containers_of, detail_of, evaluate, reasons_of
from apiserver.auth.tokens import Read
from apiserver.request import AdmissionRequest

_PREFIX: Final = "pod-security.kubernetes.io/"
LEVELS: Final = ("privileged", "baseline", "restricted")
"""From the one that allows everything."""
_VERSION: Final = re.compile(r"v1\.(0|[1-9][0-9]{0,5})")
_PODS_MAX: Final = 3000
"""How many pods of a namespace are looked at when its level is raised."""
_IGNORED: Final = frozenset({"attach", "binding", "eviction", "exec", "log", "portforward", "proxy", "status"})
"""Subresources of pods that don't write a pod's spec."""
_SECCOMP: Final = "seccomp.security.alpha.kubernetes.io/pod"

_TEMPLATES: Final[dict[Resource[Any], Callable[[Any], Any]]] = {
    podtemplate.RESOURCE: lambda obj: obj.template,
    cronjob.RESOURCE: lambda obj: obj.spec.job_template.spec.template,
    **dict.fromkeys(
        (
            daemonset.RESOURCE,
            deployment.RESOURCE,
            job.RESOURCE,
            replicaset.RESOURCE,
            replicationcontroller.RESOURCE,
            statefulset.RESOURCE,
        ),
        lambda obj: obj.spec.template,
    ),
}
"""Where kinds that make pods say what these are to be."""


@dataclass(frozen=True, slots=True)
class Standard:
    """A level, as it was in a version."""

    level: str = "privileged"
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:" + ("latest" if self.version == LATEST else f"v1.{self.version}")

    def is_stricter_than(self, other: Standard) -> bool:
        """Whether its level is, whatever the versions."""
        return LEVELS.index(self.level) > LEVELS.index(other.level)

    def violations(self, metadata: Any, spec: Any) -> list[Violation]:
        """Return what a pod violates of it."""
        return evaluate(self.level, self.version, metadata, spec)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace's labels say."""

    enforce: Standard
    audit: Standard
    warn: Standard
    causes: tuple[Cause, ...] = ()
    """What is wrong with the labels."""


DEFAULTS: Final = Policy(Standard(), Standard(), Standard())
"""What holds where labels say nothing, unless it is configured otherwise."""


@dataclass(frozen=True, slots=True)
class Exemptions:
    """Whose pods are not judged."""

    users: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


def version_of(text: str) -> int | None:
    """Return the version a text names; None where it names none."""
    if text == "latest":
        return LATEST
    number = _VERSION.fullmatch(text)
    return int(number[1]) if number is not None else None


def policy_of(labels: Mapping[str, str], defaults: Policy = DEFAULTS) -> Policy:
    """Read a namespace's labels. What can't be read is enforced strictly, and neither warned about nor noted."""
    found: dict[str, Standard] = {}
    causes: list[Cause] = []

    def complain(label: str, value: str, why: str) -> None:
        message = f'Invalid value: "{value}": {why}'
        causes.append(Cause("FieldValueInvalid", message, f"metadata.labels[{label}]"))

    for mode, default in (("enforce", defaults.enforce), ("audit", defaults.audit), ("warn", defaults.warn)):
        level = labels.get(_PREFIX + mode, default.level)
        if level not in LEVELS:
            complain(_PREFIX + mode, level, f"must be one of {', '.join(LEVELS)}")
            level = "restricted" if mode == "enforce" else "privileged"
        label = f"{_PREFIX}{mode}-version"
        version: int | None = default.version
        if label in labels:
            version = version_of(labels[label])
            if version is None:
                complain(label, labels[label], 'must be "latest" or "v1.x"')
        found[mode] = Standard(level, LATEST if version is None else version)
    said, enforce = labels.get(_PREFIX + "enforce"), found["enforce"]
    if said in LEVELS and _PREFIX + "warn" not in labels and enforce.is_stricter_than(found["warn"]):
        # Whoever makes pods in a way that will be refused wants to hear of it at once.
        version = found["warn"].version if f"{_PREFIX}warn-version" in labels else enforce.version
        found["warn"] = Standard(enforce.level, version)
    return Policy(enforce, found["audit"], found["warn"], tuple(causes))


class PodSecurity:
    """Judges pods, what makes pods, and the labels themselves."""

    def __init__(
        self,
        namespaces: Lister[namespace.Namespace],
        pods: Lister[pod.Pod],
        read: Read,
        defaults: Policy = DEFAULTS,
        exemptions: Exemptions | None = None,
    ) -> None:
        self._namespaces = namespaces
        self._pods = pods
        self._read = read
        self._defaults = defaults
        self._exemptions = exemptions or Exemptions()

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge.

        Raises:
            Forbidden: a pod violates what its namespace enforces.
            Invalid: labels of a namespace that were just written can't be understood.
        """
        if request.operation not in ("CREATE", "UPDATE"):
            return
        new: Any = request.object
        if request.resource is namespace.RESOURCE:
            if not request.subresource:
                self._judge_namespace(request)
        elif request.resource is pod.RESOURCE:
            if request.subresource not in _IGNORED and _is_significant(new, request.old):
                await self._judge(request, new.metadata, new.spec, is_pod=True)
        elif request.resource in _TEMPLATES and not request.subresource:
            template = _TEMPLATES[request.resource](new)
            if template is not None:
                await self._judge(request, template.metadata, template.spec, is_pod=False)

    async def _judge(self, request: AdmissionRequest, metadata: Any, spec: Any, *, is_pod: bool) -> None:
        exempt = self._exemption_of(request, spec)
        if exempt:
            request.annotations["pod-security.kubernetes.io/exempt"] = exempt
            return
        key = ObjectKey("", request.namespace)
        found: Any = self._namespaces.get(key)
        if found is None:
            found = await self._read(namespace.RESOURCE, key)
        policy = policy_of(found.metadata.labels, self._defaults)
        if policy.causes:
            request.annotations["pod-security.kubernetes.io/error"] = f"Failed to parse policy: {_told(policy.causes)}"
        bad = policy.enforce.violations(metadata, spec) if is_pod else []
        noted = policy.audit.violations(metadata, spec)
        if noted:
            why = f'would violate PodSecurity "{policy.audit}": {detail_of(noted)}'
            request.annotations["pod-security.kubernetes.io/audit-violations"] = why
        if is_pod:
            request.annotations["pod-security.kubernetes.io/enforce-policy"] = str(policy.enforce)
        if bad:
            raise refusal(request, f'violates PodSecurity "{policy.enforce}": {detail_of(bad)}')
        told = policy.warn.violations(metadata, spec)
        if told:
            request.warnings.append(f'would violate PodSecurity "{policy.warn}": {detail_of(told)}')

    def _judge_namespace(self, request: AdmissionRequest) -> None:
        new: Any = request.object
        policy = policy_of(new.metadata.labels, self._defaults)
        old: Any = request.old
        had = policy_of(old.metadata.labels, self._defaults) if old is not None else None
        if policy.causes and (had is None or had.causes != policy.causes):
            name = new.metadata.name
            message = f'Namespace "{name}" is invalid: {_told(policy.causes)}'
            raise Invalid(message, kind="Namespace", name=name, causes=policy.causes)
        enforce = policy.enforce
        is_exempt = new.metadata.name in self._exemptions.namespaces
        if had is not None:
            if enforce == had.enforce or enforce.level == "privileged":
                return
            if enforce.version == had.enforce.version and not enforce.is_stricter_than(had.enforce):
                return
            if not is_exempt:
                request.warnings += self._existing(new.metadata.name, enforce)
        if is_exempt and (said := self._said_in_vain(new.metadata.labels, policy)):
            request.warnings.append(
                f'namespace "{new.metadata.name}" is exempt from Pod Security, and the policy ({said}) will be ignored'
            )

    def _exemption_of(self, request: AdmissionRequest, spec: Any) -> str:
        """Return why a pod is not judged, empty if it is."""
        if request.namespace in self._exemptions.namespaces:
            return "namespace"
        if request.user.name in self._exemptions.users:
            return "user"
        return "runtimeClass" if spec.runtime_class_name in self._exemptions.runtime_classes else ""

    def _said_in_vain(self, labels: Mapping[str, str], policy: Policy) -> str:
        """Return what labels of a namespace that is exempt ask for, empty where that is nothing new."""
        modes = {"enforce": policy.enforce, "audit": policy.audit, "warn": policy.warn}
        if (policy.enforce, policy.audit, policy.warn) == (
            self._defaults.enforce,
            self._defaults.audit,
            self._defaults.warn,
        ):
            return ""
        return ", ".join(
            f"{mode}={standard}"
            for mode, standard in modes.items()
            if standard.level != "privileged"
            and not labels.keys().isdisjoint((_PREFIX + mode, f"{_PREFIX}{mode}-version"))
        )

    def _existing(self, name: str, enforce: Standard) -> list[str]:
        """Say which pods that are there would no longer get in."""
        pods = self._pods.list(name)
        by_reasons: dict[str, list[str]] = {}
        for each in pods[:_PODS_MAX]:
            if each.spec.runtime_class_name in self._exemptions.runtime_classes:
                continue
            found = enforce.violations(each.metadata, each.spec)
            if found:
                by_reasons.setdefault(reasons_of(found), []).append(each.metadata.name)
        warnings = []
        if len(pods) > _PODS_MAX:
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {_PODS_MAX} of {len(pods)} existing pods"
            )
        if by_reasons:
            warnings.append(
                f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{enforce}"'
            )
        return warnings + sorted(f"{_first(names)}: {reasons}" for reasons, names in by_reasons.items())


def _first(names: list[str]) -> str:
    others = len(names) - 1
    more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
    return min(names) + more


def _told(causes: tuple[Cause, ...]) -> str:
    told = [f"{cause.field}: {cause.message}" for cause in causes]
    return as_one(told)


def _is_significant(new: Any, old: Any) -> bool:
    """Whether a write of a pod changes anything that is judged: of what may change, images and new containers."""
    if old is None or old.metadata.annotations.get(_SECCOMP) != new.metadata.annotations.get(_SECCOMP):
        return True
    return {one.name: one.image for one in containers_of(new.spec)} != {
        one.name: one.image for one in containers_of(old.spec)
    }

"""PodSecurity: labels of a namespace say what its pods may not do, and whether that is refused, told, or only noted.

`pod-security.kubernetes.io/enforce`, `warn` and `audit` name a level, and with `-version` the policy's version. Pods
are refused; what makes pods is only warned about, since its pods will be looked at one by one. A namespace whose level
is raised is told which of its pods would no longer get in. No user, namespace or runtime class is exempt (KEP-2579).
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
_LEVELS: Final = ("privileged", "baseline", "restricted")
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


def policy_of(labels: Mapping[str, str]) -> Policy:
    """Read a namespace's labels. What can't be read is enforced strictly, and neither warned about nor noted."""
    found: dict[str, Standard] = {}
    causes: list[Cause] = []

    def complain(label: str, value: str, why: str) -> None:
        message = f'Invalid value: "{value}": {why}'
        causes.append(Cause("FieldValueInvalid", message, f"metadata.labels[{label}]"))

    for mode in ("enforce", "audit", "warn"):
        level = labels.get(_PREFIX + mode, "privileged")
        if level not in _LEVELS:
            complain(_PREFIX + mode, level, f"must be one of {', '.join(_LEVELS)}")
            level = "restricted" if mode == "enforce" else "privileged"
        label = f"{_PREFIX}{mode}-version"
        text = labels.get(label, "latest")
        number = _VERSION.fullmatch(text)
        if number is None and text != "latest":
            complain(label, text, 'must be "latest" or "v1.x"')
        found[mode] = Standard(level, int(number[1]) if number else LATEST)
    if labels.get(_PREFIX + "enforce") in _LEVELS and _PREFIX + "warn" not in labels:
        # Whoever makes pods in a way that will be refused wants to hear of it at once.
        version = found["warn" if f"{_PREFIX}warn-version" in labels else "enforce"].version
        found["warn"] = Standard(found["enforce"].level, version)
    return Policy(found["enforce"], found["audit"], found["warn"], tuple(causes))


class PodSecurity:
    """Judges pods, what makes pods, and the labels themselves."""

    def __init__(self, namespaces: Lister[namespace.Namespace], pods: Lister[pod.Pod], read: Read) -> None:
        self._namespaces = namespaces
        self._pods = pods
        self._read = read

    async def admit(self, request: AdmissionRequest) -> None:
        """Change nothing."""

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
        key = ObjectKey("", request.namespace)
        found: Any = self._namespaces.get(key)
        if found is None:
            found = await self._read(namespace.RESOURCE, key)
        policy = policy_of(found.metadata.labels)
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
        policy = policy_of(new.metadata.labels)
        had = policy_of(request.old.metadata.labels) if request.old is not None else None  # type: ignore[attr-defined]
        if policy.causes and (had is None or had.causes != policy.causes):
            name = new.metadata.name
            message = f'Namespace "{name}" is invalid: {_told(policy.causes)}'
            raise Invalid(message, kind="Namespace", name=name, causes=policy.causes)
        enforce = policy.enforce
        if had is None or enforce == had.enforce or enforce.level == "privileged":
            return
        is_relaxed = _LEVELS.index(enforce.level) <= _LEVELS.index(had.enforce.level)
        if enforce.version == had.enforce.version and is_relaxed:
            return
        request.warnings += self._existing(new.metadata.name, enforce)

    def _existing(self, name: str, enforce: Standard) -> list[str]:
        """Say which pods that are there would no longer get in."""
        pods = self._pods.list(name)
        by_reasons: dict[str, list[str]] = {}
        for each in pods[:_PODS_MAX]:
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

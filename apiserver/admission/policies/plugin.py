"""ValidatingAdmissionPolicy, the plugin: judges a write by every policy that is about it, as its bindings have it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from api.errors import ApiError, Cause, Forbidden
from api.resource import Resource
from apiserver.admission.matching import Matcher, is_exempt
from apiserver.admission.metrics import AdmissionMetrics
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.admission.policies.params import BadParams, Params
from apiserver.admission.policies.policy import Decision, merged
from apiserver.admission.policies.registered import Binding, Bound, Registered
from apiserver.admission.variables import Variables
from apiserver.admission.versions import Versions
from apiserver.evaluating import Evaluating
from apiserver.request import AdmissionRequest, Authorizer

_CODES: Final = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
_FAILURES: Final = "validation.policy.admission.k8s.io/validation_failure"
_QUESTIONS: Final = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Groups whose objects are questions, which no policy judges."""


class Denied(Forbidden):
    """A policy refuses; it says with which reason."""

    def __init__(self, error: Forbidden, reason: str, causes: tuple[Cause, ...]) -> None:
        super().__init__(error.message, group=error.group, kind=error.kind, name=error.name, causes=causes)
        self.reason = reason  # type: ignore[misc]
        self.code = _CODES.get(reason, 422)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class _Denial:
    """What a request is refused for."""

    message: str
    reason: str


class ValidatingPolicies:
    """The plugin."""

    def __init__(
        self,
        registered: Registered,
        matcher: Matcher,
        versions: Versions,
        params: Params,
        authorizer: Authorizer,
        metrics: AdmissionMetrics,
        evaluating: Evaluating,
    ) -> None:
        self._evaluating = evaluating
        self._metrics = metrics
        self._registered = registered
        self._matcher = matcher
        self._versions = versions
        self._params = params
        self._authorizer = authorizer

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge the object by all policies; the first denial is told.

        Raises:
            Denied: a rule is broken whose binding says Deny, or a policy cannot be evaluated and is to fail then.
        """
        bound = self._registered.bound()
        if not bound or is_exempt(request) or request.resource.group in _QUESTIONS:
            return
        denials: list[_Denial] = []
        seen: dict[str, Variables] = {}
        for each in bound:
            denials += await self._judge(each, request, seen)
        if denials:
            first = denials[0]
            raise Denied(refusal(request, first.message), first.reason, (Cause("", first.message),))

    async def _judge(self, bound: Bound, request: AdmissionRequest, seen: dict[str, Variables]) -> list[_Denial]:
        policy = bound.policy
        try:
            matched = await self._matcher.match(policy.criteria, request)
        except ApiError as error:
            return self._misconfigured(bound, None, error.message)
        if matched is None:
            return []
        try:
            self._params.check(policy.param_kind)
        except BadParams as bad:
            return self._misconfigured(bound, None, str(bad))
        denials: list[_Denial] = []
        annotations: dict[str, list[str]] = {}
        for binding in bound.bindings:
            try:
                if await self._matcher.match(binding.criteria, request) is None:
                    continue
                found = self._params.find(policy.param_kind, binding.ref, request.namespace)
                variables = await self._variables(request, matched, seen) if found else None
                namespace = await self._matcher.find_namespace(request)
            except BadParams as bad:
                denials += self._misconfigured(bound, binding, str(bad))
                continue
            except ApiError as error:
                denials += self._misconfigured(bound, binding, error.message)
                continue
            for params in found:
                assert variables is not None
                verdict = await self._evaluating.run(partial(policy.evaluate, variables, params, namespace))
                for decision in verdict.decisions:
                    denials += self._act(bound, binding, decision, request)
                denials += [self._denial(bound, binding, why, "Invalid") for why in verdict.failures]
                for key, value in verdict.annotations.items():
                    annotations.setdefault(f"{policy.name}/{key}", []).append(value)
        request.annotations.update(merged(annotations))
        return denials

    async def _variables(
        self, request: AdmissionRequest, matched: Resource[Any], seen: dict[str, Variables]
    ) -> Variables:
        """Return what expressions see, the same for all policies that are about the same version."""
        key = f"{matched.group}/{matched.version}/{matched.plural}"
        if key not in seen:
            obj = await self._versions.convert(request.object, request.resource, matched)
            old = await self._versions.convert(request.old, request.resource, matched)
            seen[key] = Variables(request, matched, obj, old, self._authorizer)
        return seen[key]

    def _act(self, bound: Bound, binding: Binding, decision: Decision, request: AdmissionRequest) -> list[_Denial]:
        name = bound.policy.name
        for action in ("allow",) if decision.lets_be else binding.actions:
            self._metrics.checked(name, binding.name, decision.error, action.lower(), decision.took_s)
        if decision.lets_be:
            return []
        if "Warn" in binding.actions:
            request.warn(
                f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{binding.name}': "
                f"{decision.message}"
            )
        if "Audit" in binding.actions:
            told = {
                "message": decision.message,
                "policy": name,
                "binding": binding.name,
                "expressionIndex": decision.index,
                "validationActions": sorted(binding.actions),
            }
            failures = request.memory.setdefault(_FAILURES, [])
            failures.append(told)
            request.annotations[_FAILURES] = msgspec.json.encode(failures).decode()
        return [self._denial(bound, binding, decision.message, decision.reason)] if "Deny" in binding.actions else []

    def _denial(self, bound: Bound, binding: Binding, message: str, reason: str) -> _Denial:
        text = (
            f"ValidatingAdmissionPolicy '{bound.policy.name}' with binding '{binding.name}' denied request: {message}"
        )
        return _Denial(text, reason)

    def _misconfigured(self, bound: Bound, binding: Binding | None, why: str) -> list[_Denial]:
        if not bound.policy.fails_closed:
            return []
        if binding is None:
            text = f"ValidatingAdmissionPolicy '{bound.policy.name}' denied request: failed to configure policy: {why}"
            return [_Denial(text, "Invalid")]
        return [self._denial(bound, binding, f"failed to configure binding: {why}", "Invalid")]

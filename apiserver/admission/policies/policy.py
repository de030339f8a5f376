"""One policy, compiled; and what it says of a request. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.admissionregistration.validatingadmissionpolicy import (
    AuditAnnotation,
    ValidatingAdmissionPolicy,
    Validation,
)
from apiserver.admission.conditions import ConditionFailed, Conditions
from apiserver.admission.expressions import Budget, Expression, ExpressionFailed
from apiserver.admission.matching import Criteria, of_match
from apiserver.admission.variables import CONDITION_NAMES, Composed, Variables
from apiserver.cel.values import Failure, type_name

MESSAGE_LENGTH_MAX: Final = 5 * 1024
ANNOTATION_LENGTH_MAX: Final = 10 * 1024
_REASON: Final = "Invalid"


@dataclass(frozen=True, slots=True)
class Names:
    """The variables that a policy's expressions see, by what they are for."""

    conditions: frozenset[str]
    expressions: frozenset[str]
    messages: frozenset[str]


def names_of(policy: ValidatingAdmissionPolicy) -> Names:
    """Return what the expressions of a policy see: `params` only where it has them."""
    params = frozenset({"params"}) if policy.spec.param_kind is not None else frozenset()
    conditions = CONDITION_NAMES | params
    expressions = conditions | {"namespaceObject", "variables"}
    return Names(conditions, expressions, expressions - {"authorizer"})


@dataclass(frozen=True, slots=True)
class Decision:
    """A rule that is broken, or that could not be evaluated where that counts as much."""

    index: int
    """Which of the validations."""
    message: str
    reason: str = _REASON
    error: str = "no_error"
    """What kept it from being evaluated, as metrics name it."""
    took_s: float = 0.0
    lets_be: bool = False
    """Whether it refuses nothing, as what cannot be evaluated does under `failurePolicy: Ignore`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of one request with one set of parameters."""

    decisions: list[Decision] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log, by their keys without the policy's name."""
    failures: list[str] = field(default_factory=list)
    """Annotations that could not be evaluated, where that refuses the request whatever the binding does."""


class _Rule:
    """One validation."""

    def __init__(self, declared: Validation, names: Names) -> None:
        self.expression = Expression(declared.expression, names.expressions)
        self._message = declared.message.strip()
        self._message_expression = (
            Expression(declared.message_expression, names.messages) if declared.message_expression.strip() else None
        )
        self.reason = declared.reason or _REASON

    def message(self, variables: Variables, budget: Budget) -> str:
        """Return what to say to who breaks it."""
        if self._message_expression is not None:
            try:
                text = self._message_expression.evaluate(variables, budget)
            except ExpressionFailed:
                text = None
            if isinstance(text, str):
                text = text.strip()
                if text and len(text) <= MESSAGE_LENGTH_MAX and "\n" not in text:
                    return text
        return self._message or f"failed expression: {self.expression.text.strip()}"


class Policy:
    """A compiled policy."""

    def __init__(self, source: ValidatingAdmissionPolicy) -> None:
        names, spec = names_of(source), source.spec
        self.name = source.metadata.name
        self.fails_closed = spec.failure_policy != "Ignore"
        self.param_kind = spec.param_kind
        self.criteria: Criteria = of_match(spec.match_constraints)
        self._conditions = Conditions(spec.match_conditions, fails_closed=self.fails_closed, names=names.conditions)
        self._variables = {each.name: Expression(each.expression, names.expressions) for each in spec.variables}
        self._rules = [_Rule(each, names) for each in spec.validations]
        self._annotations = [_Annotation(each, names) for each in spec.audit_annotations]

    def evaluate(self, variables: Variables, params: Any, namespace: Any) -> Verdict:
        """Return what it says of a request."""
        composed = Composed(frozenset(self._variables), self._variable)
        sees = variables.with_policy(params=params, namespace=namespace, composed=composed)
        verdict = Verdict()
        try:
            if self._conditions and not self._conditions.hold(sees):
                return verdict
        except ConditionFailed as failed:
            verdict.decisions.append(Decision(0, str(failed)))
            return verdict
        budget = Budget()
        for index, rule in enumerate(self._rules):
            decision = self._judge(index, rule, sees, budget)
            if decision is not None:
                verdict.decisions.append(decision)
        for annotation in self._annotations:
            try:
                value = annotation.evaluate(sees, budget)
            except ExpressionFailed as failed:
                if self.fails_closed:
                    verdict.failures.append(str(failed))
                continue
            if value:
                verdict.annotations[annotation.key] = value[:ANNOTATION_LENGTH_MAX]
        return verdict

    def _judge(self, index: int, rule: _Rule, variables: Variables, budget: Budget) -> Decision | None:
        began = time.perf_counter()
        try:
            result = rule.expression.evaluate(variables, budget)
        except ExpressionFailed as failed:
            took_s = time.perf_counter() - began
            lets_be = not self.fails_closed  # The rule's own reason is for values that break it.
            return Decision(index, str(failed), error=failed.kind, took_s=took_s, lets_be=lets_be)
        took_s = time.perf_counter() - began
        return None if result is True else Decision(index, rule.message(variables, budget), rule.reason, took_s=took_s)

    def _variable(self, name: str, variables: Variables, budget: Budget) -> Any:
        expression = self._variables.get(name)
        if expression is None:
            raise Failure(f"no such key: {name}")
        try:
            return expression.evaluate(variables, budget)
        except ExpressionFailed as failed:
            raise Failure(f'composited variable "{name}" fails to evaluate: {failed.bare}') from None


class _Annotation:
    """One audit annotation."""

    def __init__(self, declared: AuditAnnotation, names: Names) -> None:
        self.key = declared.key
        self._expression = Expression(declared.value_expression, names.expressions)

    def evaluate(self, variables: Variables, budget: Budget) -> str:
        """Return the value, empty for none; raises ExpressionFailed."""
        value = self._expression.evaluate(variables, budget)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ExpressionFailed(
                f"valueExpression '{self._expression.text}' resulted in unsupported return type: {type_name(value)}. "
                "Return type must be either string or null."
            )
        return value.strip()


def merged(values: Mapping[str, list[str]]) -> dict[str, str]:
    """Return annotations with all that several bindings and parameters say under a key, each once."""
    return {key: ", ".join(dict.fromkeys(each)) for key, each in values.items()}

"""Refuses webhooks and policies whose expressions don't compile or give the wrong type, when they are written.

What is stored can then be evaluated; where an expression does not fit the objects that it meets, `type_check.py` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from api import validation as v
from api.admissionregistration import (
    mutatingwebhookconfiguration,
    validatingadmissionpolicy,
    validatingwebhookconfiguration,
)
from api.admissionregistration.validatingadmissionpolicy import ValidatingAdmissionPolicy
from api.admissionregistration.webhooks import MatchCondition
from api.resource import FieldError
from apiserver.admission.environment import types_of
from apiserver.admission.policies.policy import names_of
from apiserver.admission.variables import CONDITION_NAMES
from apiserver.cel.authorization import LIBRARY
from apiserver.cel.check import check
from apiserver.cel.program import BadProgram, compile_
from apiserver.cel.types import BOOL, DYN, NULL, STRING, Type
from apiserver.request import AdmissionRequest

_WEBHOOKS: Final = (mutatingwebhookconfiguration.RESOURCE, validatingwebhookconfiguration.RESOURCE)


class ExpressionRules:
    """The plugin."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Check the expressions of what is written; raises Invalid."""
        if request.operation not in ("CREATE", "UPDATE") or request.subresource:
            return
        new: Any = request.object
        old: Any = request.old
        if request.resource in _WEBHOOKS:
            errors = list(_webhook_errors(new, old))
        elif request.resource is validatingadmissionpolicy.RESOURCE:
            errors = list(policy_errors(new)) if old is None or old.spec != new.spec else []
        else:
            return
        if errors:
            raise v.refuse(request.resource, new, errors)


def _webhook_errors(new: Any, old: Any) -> Iterator[FieldError]:
    known = {condition.expression for webhook in old.webhooks for condition in webhook.match_conditions} if old else ()
    types = types_of(CONDITION_NAMES)
    for i, webhook in enumerate(new.webhooks):
        conditions = webhook.match_conditions
        if any(condition.expression not in known for condition in conditions):
            yield from _condition_errors(f"webhooks[{i}].matchConditions", conditions, types)


def policy_errors(policy: ValidatingAdmissionPolicy) -> Iterator[FieldError]:
    """Yield what is wrong with the expressions of a policy. Pure."""
    spec, names = policy.spec, names_of(policy)
    yield from _condition_errors("spec.matchConditions", spec.match_conditions, types_of(names.conditions))
    variables: dict[str, Type] = {}
    composed = Type("kubernetes.variables", fields=lambda name: variables.get(name))
    types = types_of(names.expressions, variables=composed)
    for i, variable in enumerate(spec.variables):
        if variable.expression.strip():
            error, found = _compiled(f"spec.variables[{i}].expression", variable.expression, types, ())
            if error is not None:
                yield error
            variables[variable.name] = found  # Those after it see it.
    for i, validation in enumerate(spec.validations):
        where = f"spec.validations[{i}]"
        yield from _errors(f"{where}.expression", validation.expression, types, (BOOL,))
        if validation.message_expression:
            message_types = types_of(names.messages, variables=composed)
            yield from _errors(f"{where}.messageExpression", validation.message_expression, message_types, (STRING,))
    for i, annotation in enumerate(spec.audit_annotations):
        where = f"spec.auditAnnotations[{i}].valueExpression"
        yield from _errors(where, annotation.value_expression, types, (STRING, NULL))


def _condition_errors(path: str, conditions: Sequence[MatchCondition], types: dict[str, Type]) -> Iterator[FieldError]:
    for i, condition in enumerate(conditions):
        yield from _errors(f"{path}[{i}].expression", condition.expression, types, (BOOL,))


def _errors(path: str, text: str, types: dict[str, Type], wanted: tuple[Type, ...]) -> Iterator[FieldError]:
    if text.strip():  # What is empty, the kind's own validation refuses.
        error, _ = _compiled(path, text, types, wanted)
        if error is not None:
            yield error


def _compiled(path: str, text: str, types: dict[str, Type], wanted: tuple[Type, ...]) -> tuple[FieldError | None, Type]:
    try:
        found = check(text, types)
        compile_(text, frozenset(types), LIBRARY)
    except BadProgram as error:
        return v.invalid(path, text, f"compilation failed: {error}"), DYN
    if wanted and found not in wanted:
        if len(wanted) == 1:
            return v.invalid(path, text, f"must evaluate to {wanted[0]}"), found
        shown = " ".join(str(each) for each in wanted)
        return v.invalid(path, text, f"must evaluate to one of [{shown}]"), found
    return None, found

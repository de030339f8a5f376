"""Says on each policy's status where its expressions don't fit the kinds that it is about.

A warning, no more: a policy may be about several kinds, and look whether a field is there before it looks into it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.admissionregistration import validatingadmissionpolicy
from api.admissionregistration.validatingadmissionpolicy import (
    ExpressionWarning,
    ParamKind,
    TypeChecking,
    ValidatingAdmissionPolicy,
)
from api.errors import ApiError, NotFound
from api.resource import Resource
from apiserver.admission.environment import types_of
from apiserver.admission.policies.object_types import of_resource
from apiserver.admission.policies.policy import Names, names_of
from apiserver.cel.check import check
from apiserver.cel.program import BadProgram
from apiserver.cel.types import DYN, Type
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.registry.follow import follow
from apiserver.registry.registries import Registries
from component.clock import Clock

log = logging.getLogger(__name__)

KINDS_MAX: Final = 10
"""With so many kinds, at most, a policy is checked."""


def warnings_of(policy: ValidatingAdmissionPolicy, kinds: Iterable[Resource[Any]]) -> list[ExpressionWarning]:
    """Return what does not fit, in the order of the policy. Pure."""
    served = list(kinds)
    names = names_of(policy)
    params = _params_type(policy.spec.param_kind, served)
    environments = [
        (f"{kind.api_version}, Kind={kind.kind}", _environment(policy, names, of_resource(kind), params))
        for kind in kinds_of(policy, served)
    ]
    found: list[ExpressionWarning] = []
    for i, validation in enumerate(policy.spec.validations):
        where = f"spec.validations[{i}]"
        found += _warnings(f"{where}.expression", validation.expression, environments, names.expressions)
        if validation.message_expression:
            found += _warnings(
                f"{where}.messageExpression", validation.message_expression, environments, names.messages
            )
    return found


def kinds_of(policy: ValidatingAdmissionPolicy, served: Iterable[Resource[Any]]) -> list[Resource[Any]]:
    """Return the kinds that a policy names; what it means by `*` nobody can check. Pure."""
    match = policy.spec.match_constraints
    found: list[Resource[Any]] = []
    for rule in match.resource_rules if match is not None else ():
        if "*" in (*rule.api_groups, *rule.api_versions, *rule.resources):
            continue
        found += [
            kind
            for kind in served
            if kind.group in rule.api_groups and kind.version in rule.api_versions and kind.plural in rule.resources
        ]
    return sorted(set(found), key=lambda kind: (kind.group, kind.version, kind.kind))[:KINDS_MAX]


def _environment(policy: ValidatingAdmissionPolicy, names: Names, obj: Type, params: Type) -> dict[str, Type]:
    variables: dict[str, Type] = {}
    composed = Type("kubernetes.variables", fields=lambda name: variables.get(name))
    types = types_of(names.expressions, object=obj, oldObject=obj, params=params, variables=composed)
    for variable in policy.spec.variables:
        try:
            variables[variable.name] = check(variable.expression, types)
        except BadProgram:
            variables[variable.name] = DYN
    return types


def _params_type(kind: ParamKind | None, served: Iterable[Resource[Any]]) -> Type:
    if kind is not None:
        for each in served:
            if (each.api_version, each.kind) == (kind.api_version, kind.kind):
                return of_resource(each)
    return DYN


def _warnings(
    path: str, text: str, environments: Iterable[tuple[str, Mapping[str, Type]]], names: frozenset[str]
) -> list[ExpressionWarning]:
    said = []
    for kind, types in environments:
        try:
            check(text, {name: each for name, each in types.items() if name in names})
        except BadProgram as error:
            said.append(f"{kind}: {error}\n")
    return [ExpressionWarning(field_ref=path, warning="\n".join(said))] if said else []


class TypeChecks:
    """Keeps the status of policies. `run` must be running; every server does so, and all come to the same."""

    def __init__(self, registries: Registries, clock: Clock) -> None:
        self._registries = registries
        self._clock = clock

    async def run(self) -> None:
        """Look at every policy that nobody has looked at since it changed, until cancelled."""
        await follow(self._registries.of(validatingadmissionpolicy.RESOURCE).cache, self._clock, self._turn)

    async def _turn(self, policies: list[ValidatingAdmissionPolicy]) -> bool:
        return not all([await self._look_at(policy) for policy in policies])

    async def _look_at(self, policy: ValidatingAdmissionPolicy) -> bool:
        """Bring a policy's status up to its spec; returns whether that is done."""
        generation = policy.metadata.generation
        if policy.status.observed_generation == generation:
            return True

        async def decide(current: Stored) -> Write:
            obj: ValidatingAdmissionPolicy = current.codec.decode(current.json)
            if obj.metadata.uid != policy.metadata.uid or obj.metadata.generation != generation:
                return Keep()  # It has changed: it will be looked at in its turn.
            obj.status.observed_generation = generation
            obj.status.type_checking = TypeChecking(expression_warnings=warnings)
            return Put(obj)

        try:
            warnings = warnings_of(policy, self._registries.kinds.all)
            await self._registries.of(validatingadmissionpolicy.RESOURCE).write("", policy.metadata.name, decide)
        except NotFound:
            return True
        except ApiError as error:
            log.warning("will look again", extra={"policy": policy.metadata.name, "error": error})
            return False
        return True

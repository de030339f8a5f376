"""The policies in force: each with its bindings, made ready, and made anew only when one of them changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from api.admissionregistration.validatingadmissionpolicy import ValidatingAdmissionPolicy
from api.admissionregistration.validatingadmissionpolicybinding import ParamRef, ValidatingAdmissionPolicyBinding
from api.lister import Lister
from apiserver.admission.matching import Criteria, of_match
from apiserver.admission.policies.policy import Policy


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of a policy."""

    name: str
    criteria: Criteria
    ref: ParamRef | None
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Bound:
    """A policy with its bindings, by name."""

    policy: Policy
    bindings: tuple[Binding, ...]


class Registered:
    """The policies that have bindings; one that has none does nothing.

    Args:
        policies: the cache.
        bindings: the cache.
        changed_at: something that stays the same as long as both caches do.
    """

    def __init__(
        self,
        policies: Lister[ValidatingAdmissionPolicy],
        bindings: Lister[ValidatingAdmissionPolicyBinding],
        changed_at: Callable[[], Hashable],
    ) -> None:
        self._policies = policies
        self._bindings = bindings
        self._changed_at = changed_at
        self._made_at: Hashable = None
        self._bound: tuple[Bound, ...] = ()
        self._compiled: dict[tuple[str, str], Policy] = {}

    def bound(self) -> Sequence[Bound]:
        """Return the policies in force, by name."""
        changed_at = self._changed_at()
        if changed_at != self._made_at:
            self._make()
            self._made_at = changed_at
        return self._bound

    def _make(self) -> None:
        by_policy: dict[str, list[Binding]] = {}
        for each in self._bindings.list():
            made = Binding(
                each.metadata.name,
                of_match(each.spec.match_resources),
                each.spec.param_ref,
                frozenset(each.spec.validation_actions),
            )
            by_policy.setdefault(each.spec.policy_name, []).append(made)
        compiled: dict[tuple[str, str], Policy] = {}
        bound = []
        for source in self._policies.list():
            bindings = by_policy.get(source.metadata.name)
            if not bindings:
                continue
            # What has the same uid and generation says the same: only what is new is compiled.
            key = source.metadata.uid, f"{source.metadata.generation}"
            policy = compiled[key] = self._compiled.get(key) or Policy(source)
            bound.append(Bound(policy, tuple(sorted(bindings, key=lambda binding: binding.name))))
        self._compiled = compiled
        self._bound = tuple(sorted(bound, key=lambda one: one.policy.name))

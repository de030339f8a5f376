"""What a Job's spec may say about numbers together, about failure (KEP-3329, KEP-3850) and success (KEP-3998)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from api import names
from api import validation as v
from api.batch.index_text import read_intervals
from api.batch.job_policies import PodFailurePolicyOnExitCodesRequirement, SuccessPolicyRule

if TYPE_CHECKING:
    from api.batch.job import JobSpec

_INDEXES_MAX: Final = 100_000
"""How many pods of an indexed Job may run at once, and how many of its indexes may fail."""
_MANY: Final = 100_000
"""With more completions than this, failures by index are only counted within limits."""
_OF_MANY_MAX: Final = 10_000
_RULES_MAX: Final = 20
_PATTERNS_MAX: Final = 20
_INDEXES_BYTES_MAX: Final = 64 * 1024
_MANAGER_BYTES_MAX: Final = 63


def check_manager(path: str, manager: str) -> v.Errors:
    """Check the name of the controller that a Job is left to: a path below a domain."""
    domain, _, rest = manager.partition("/")
    if not manager:
        yield v.required(path)
    elif not domain or not rest:
        yield v.invalid(path, manager, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        for message in names.check_subdomain(domain):
            yield v.invalid(path, domain, message)
    if len(manager.encode()) > _MANAGER_BYTES_MAX:
        yield v.too_long(path, _MANAGER_BYTES_MAX)


def check_mode(path: str, spec: JobSpec) -> v.Errors:
    """Check what goes with the completion mode."""
    if spec.completion_mode is not None:
        yield from v.check_given(f"{path}.completionMode", spec.completion_mode, ("Indexed", "NonIndexed"))
    if spec.completion_mode == "Indexed":
        yield from _check_indexed(path, spec)
        return
    for label, value in (
        ("backoffLimitPerIndex", spec.backoff_limit_per_index),
        ("maxFailedIndexes", spec.max_failed_indexes),
    ):
        if value is not None:
            yield v.invalid(f"{path}.{label}", value, "requires indexed completion mode")


def _check_indexed(path: str, spec: JobSpec) -> v.Errors:
    running, failing, completions = spec.parallelism, spec.max_failed_indexes, spec.completions
    if completions is None:
        yield v.required(f"{path}.completions", "when completion mode is Indexed")
    if running is not None and running > _INDEXES_MAX:
        why = f"must be less than or equal to {_INDEXES_MAX} when completion mode is Indexed"
        yield v.invalid(f"{path}.parallelism", running, why)
    if failing is not None and completions is not None and failing > completions:
        yield v.invalid(f"{path}.maxFailedIndexes", failing, "must be less than or equal to completions")
    if failing is not None and failing > _INDEXES_MAX:
        yield v.invalid(f"{path}.maxFailedIndexes", failing, f"must be less than or equal to {_INDEXES_MAX}")
    if completions is None or completions <= _MANY or spec.backoff_limit_per_index is None:
        return
    if failing is None:
        yield v.required(f"{path}.maxFailedIndexes", f"must be specified when completions is above {_MANY}")
    why = f"when completions are above {_MANY} and used with backoff limit per index"
    for label, value in (("parallelism", running), ("maxFailedIndexes", failing)):
        if value is not None and value > _OF_MANY_MAX:
            yield v.invalid(f"{path}.{label}", value, f"must be less than or equal to {_OF_MANY_MAX} {why}")


def check_failure_policy(path: str, spec: JobSpec) -> v.Errors:
    """Check what failed pods mean."""
    assert spec.pod_failure_policy is not None
    rules = spec.pod_failure_policy.rules
    if len(rules) > _RULES_MAX:
        yield v.too_many(f"{path}.rules", len(rules), _RULES_MAX)
    for i, rule in enumerate(rules):
        where = f"{path}.rules[{i}]"
        yield from _check_word(f"{where}.action", rule.action, ("Count", "FailIndex", "FailJob", "Ignore"))
        if rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
            yield v.invalid(f"{where}.action", rule.action, "requires the backoffLimitPerIndex to be set")
        codes = rule.on_exit_codes
        if (codes is None) is (not rule.on_pod_conditions):
            yield v.invalid(
                where,
                rule,
                "specifying one of OnExitCodes and OnPodConditions is required"
                if codes is None
                else "specifying both OnExitCodes and OnPodConditions is not supported",
            )
        if codes is not None:
            yield from _check_exit_codes(f"{where}.onExitCodes", codes, spec)
        if len(rule.on_pod_conditions) > _PATTERNS_MAX:
            yield v.too_many(f"{where}.onPodConditions", len(rule.on_pod_conditions), _PATTERNS_MAX)
        for j, pattern in enumerate(rule.on_pod_conditions):
            yield from v.check_name(f"{where}.onPodConditions[{j}].type", pattern.type, names.check_qualified_name)
            yield from _check_word(f"{where}.onPodConditions[{j}].status", pattern.status, ("False", "True", "Unknown"))


def _check_word(path: str, word: str, supported: tuple[str, ...]) -> v.Errors:
    if word:
        yield from v.check_supported(path, word, supported)
    else:
        shown = " ".join(f'"{each}"' for each in supported)
        yield v.required(path, f"valid values: [{shown}]")


def _check_exit_codes(path: str, codes: PodFailurePolicyOnExitCodesRequirement, spec: JobSpec) -> v.Errors:
    yield from _check_word(f"{path}.operator", codes.operator, ("In", "NotIn"))
    known = [container.name for container in (*spec.template.spec.containers, *spec.template.spec.init_containers)]
    if codes.container_name is not None and codes.container_name not in known:
        yield v.invalid(
            f"{path}.containerName",
            codes.container_name,
            "must be one of the container or initContainer names in the pod template",
        )
    if not codes.values:
        yield v.invalid(f"{path}.values", codes.values, "at least one value is required")
    if len(codes.values) > 255:
        yield v.too_many(f"{path}.values", len(codes.values), 255)
    for i, value in enumerate(codes.values):
        if value == 0 and codes.operator == "In":
            yield v.invalid(f"{path}.values[{i}]", value, "must not be 0 for the In operator")
        if value in codes.values[:i]:
            yield v.duplicate(f"{path}.values[{i}]", value)
    if sorted(codes.values) != codes.values:
        yield v.invalid(f"{path}.values", codes.values, "must be ordered")


def check_success_policy(path: str, spec: JobSpec) -> v.Errors:
    """Check when a Job has succeeded before all of its indexes have."""
    assert spec.success_policy is not None
    rules = spec.success_policy.rules
    if spec.completion_mode != "Indexed":
        yield v.invalid(path, spec.success_policy, "requires indexed completion mode")
        return
    if not rules:
        yield v.required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > _RULES_MAX:
        yield v.too_many(f"{path}.rules", len(rules), _RULES_MAX)
    for i, rule in enumerate(rules):
        yield from _check_success_rule(f"{path}.rules[{i}]", rule, spec.completions or 0)


def _check_success_rule(path: str, rule: SuccessPolicyRule, completions: int) -> v.Errors:
    text, count = rule.succeeded_indexes, rule.succeeded_count
    if count is None and text is None:
        yield v.required(path, "at least one of succeededCount or succeededIndexes must be specified")
    named = 0
    if text is not None:
        if len(text) > _INDEXES_BYTES_MAX:
            yield v.too_long(f"{path}.succeededIndexes", _INDEXES_BYTES_MAX)
        try:
            named = sum(last - first + 1 for first, last in read_intervals(text, completions))
        except ValueError as error:
            yield v.invalid(f"{path}.succeededIndexes", text, f"error parsing succeededIndexes: {error}")
    if count is None:
        return
    yield from v.check_not_negative(f"{path}.succeededCount", count)
    limits = [(completions, "the number of specified completions")]
    limits += [(named, "the number of indexes in the specified succeededIndexes field")] if text is not None else []
    for limit, what in limits:
        if count > limit:
            yield v.invalid(f"{path}.succeededCount", count, f"must be less than or equal to {limit} ({what})")

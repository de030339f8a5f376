import copy

import pytest

from tests.unit.api.builders import made, wrong

POD = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}"


def errors(spec: str) -> list[str]:
    return wrong(made(f"{{apiVersion: batch/v1, kind: Job, spec: {{{spec}, {POD}}}}}", uid="u1"))


def policy(rule: str) -> str:
    return f"podFailurePolicy: {{rules: [{rule}]}}"


def success(rule: str) -> str:
    return f"completionMode: Indexed, completions: 5, successPolicy: {{rules: [{rule}]}}"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("managedBy: a.io/b", ""),
        (
            "managedBy: kueue",
            'spec.managedBy: Invalid value: "kueue": must be a domain-prefixed path (such as "acme.io/foo")',
        ),
        ("managedBy: A.io/b", 'spec.managedBy: Invalid value: "A.io": a lowercase RFC 1123 subdomain must'),
        (f"managedBy: a.io/{'b' * 60}", "spec.managedBy: Too long: may not be more than 63 bytes"),
        (
            "completionMode: Indexed, completions: 2, backoffLimitPerIndex: 1, maxFailedIndexes: 3",
            "spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions",
        ),
        (
            "completionMode: Indexed, completions: 100001, backoffLimitPerIndex: 1",
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ),
        (
            policy("{onExitCodes: {operator: In, values: [1]}}"),
            'spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex"',
        ),
        (
            policy("{action: Count, onExitCodes: {values: [3, 2, 4, 1]}}"),
            'spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: ["In" "NotIn"]',
        ),
        (success("{succeededIndexes: '0,2-4', succeededCount: 4}"), ""),
        (
            success("{succeededIndexes: 0-2, succeededCount: 4}"),
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 "
            "(the number of indexes in the specified succeededIndexes field)",
        ),
        (
            success("{succeededCount: 6}"),
            "spec.successPolicy.rules[0].succeededCount: Invalid value: 6: must be less than or equal to 5 "
            "(the number of specified completions)",
        ),
        (
            success("{succeededIndexes: '5'}"),
            'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "5": error parsing succeededIndexes: '
            'too large index: "5"',
        ),
        (
            success(", ".join(["{succeededCount: 1}"] * 21)),
            "spec.successPolicy.rules: Too many: 21: must have at most 20",
        ),
    ],
)
def test_a_spec_is_refused_in_upstreams_words(spec: str, message: str) -> None:
    found = errors(spec)
    assert bool(found) is bool(message)
    assert not found or found[0].startswith(message)


def test_exit_codes_are_in_order_which_is_said_once() -> None:
    found = errors(policy("{action: Count, onExitCodes: {operator: In, values: [4, 3, 2, 2]}}"))
    assert [each.partition(":")[0].rpartition(".")[2] for each in found] == ["values[3]", "values"]
    assert found[1].endswith(": must be ordered")


def test_completions_change_only_with_parallelism() -> None:
    spec = f"completionMode: Indexed, completions: 3, parallelism: 2, {POD}"
    old = made(f"{{apiVersion: batch/v1, kind: Job, spec: {{{spec}}}}}", uid="u1")
    new = copy.deepcopy(old)
    new.spec.parallelism = 1
    assert wrong(new, old) == [], "what does not change may differ"
    new.spec.completions = 4
    assert wrong(new, old) == [
        "spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"
    ]


def test_the_jobs_of_a_cron_job_select_their_pods_themselves() -> None:
    text = "{apiVersion: batch/v1, kind: CronJob, spec: {schedule: '* * * * *', jobTemplate: {spec: {selector: "
    cron = made(text + f"{{matchLabels: {{a: b}}}}, {POD}}}}}}}}}")
    assert [each.partition(": ")[0] for each in wrong(cron)] == ["spec.jobTemplate.spec.selector"]

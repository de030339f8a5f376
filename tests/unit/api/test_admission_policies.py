"""What policies on admission, and their bindings, may say."""

from typing import Any

import pytest

from api.admissionregistration.validatingadmissionpolicy import RESOURCE, ExpressionWarning, TypeChecking
from api.validation import find_errors
from tests.unit.api.builders import made, wrong

RULE = "{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]%s}"
LABEL = "a DNS-1035 label must consist of lower case alphanumeric characters"


def policy(spec: str, *, rule: str = "") -> Any:
    match = f"matchConstraints: {{resourceRules: [{RULE % rule}]}}"
    if "validations" not in spec and "auditAnnotations" not in spec:
        spec = f"validations: [{{expression: 'true'}}]{', ' if spec else ''}{spec}"
    head = "apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}"
    return made(f"{{{head}, spec: {{{match}, {spec}}}}}")


def told(spec: str, **more: str) -> list[str]:
    return [error.removeprefix("spec.") for error in wrong(policy(spec, **more))]


def test_an_expression_of_several_lines_needs_no_message() -> None:
    assert told(r'validations: [{expression: "true\n&& true"}]') == []


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("paramKind: {apiVersion: a/b/c, kind: K}", ["paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"]),  # noqa: E501
        ("paramKind: {apiVersion: a.b/, kind: K}", ['paramKind.apiVersion: Invalid value: "a.b/": version must be specified']),  # noqa: E501
        ("paramKind: {apiVersion: v1}", ["paramKind.kind: Required value"]),
        ("validations: [{expression: 'true', messageExpression: ' '}]", ['validations[0].messageExpression: Invalid value: " ": must be non-empty if specified']),  # noqa: E501
        (r'validations: [{expression: "true", message: "a\rb"}]', [r'validations[0].message: Invalid value: "a\rb": message must not contain line breaks']),  # noqa: E501
        ("variables: [{name: namespace, expression: '1'}]", ['variables[0].name: Invalid value: "namespace": name is not a valid CEL identifier']),  # noqa: E501
        ("variables: [{name: ' ', expression: '1'}]", ["variables[0].name: Required value: name is not specified"]),
        ("auditAnnotations: [{key: k, valueExpression: \"'a'\"}, {key: k, valueExpression: \"'a'\"}]", ['auditAnnotations[1].key: Duplicate value: "k"']),  # noqa: E501
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_policy_is_told_in_these_words(spec: str, wanted: list[str]) -> None:
    assert told(spec) == wanted


def test_names_in_a_policy_are_names() -> None:
    (error,) = told("paramKind: {apiVersion: v1, kind: 'K!'}")
    assert error.startswith(
        f'paramKind.kind: Invalid value: "K!": may have mixed case, but should otherwise match: {LABEL}'
    )
    (error,) = told("auditAnnotations: [{key: 'a b', valueExpression: 'null'}]")
    assert error.startswith('auditAnnotations[0].key: Invalid value: "p/a b": name part must consist of')
    assert told("", rule=", resourceNames: [a, 'b/c', a]") == [
        "matchConstraints.resourceRules[0].resourceNames[1]: Invalid value: \"b/c\": may not contain '/'",
        'matchConstraints.resourceRules[0].resourceNames[2]: Duplicate value: "a"',
    ]


def test_there_are_at_most_20_annotations_of_at_most_5_kib() -> None:
    many = ", ".join(f"{{key: k{i}, valueExpression: 'null'}}" for i in range(21))
    (error,) = told(f"auditAnnotations: [{many}]")
    assert error.endswith("must not have more than 20 auditAnnotations")
    assert told(f"auditAnnotations: [{{key: k, valueExpression: '{'a' * 5121}'}}]") == [
        "auditAnnotations[0].valueExpression: Required value: must not exceed 5120 bytes in length"
    ]


def test_a_parameter_is_named_or_selected() -> None:
    def binding(ref: str) -> list[str]:
        head = (
            "apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}"
        )
        spec = f"policyName: p, validationActions: [Deny], paramRef: {{parameterNotFoundAction: Deny, {ref}}}"
        return wrong(made(f"{{{head}, spec: {{{spec}}}}}"))

    why = "Forbidden: name and selector are mutually exclusive"
    assert binding("name: a, selector: {}") == [f"spec.paramRef.name: {why}", f"spec.paramRef.selector: {why}"]
    assert binding("name: 'a/b'") == ["spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'"]


def test_what_was_found_about_expressions_says_where_and_what() -> None:
    found = policy("")
    found.status.type_checking = TypeChecking(expression_warnings=[ExpressionWarning(field_ref=" ")])
    errors = find_errors(RESOURCE, found, found, status=True)
    assert [f"{error.path}: {error.message}" for error in errors] == [
        "status.typeChecking.expressionWarnings[0].warning: Required value",
        "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
    ]

"""ValidatingAdmissionPolicy: rules about writes, as CEL expressions that the server itself evaluates (KEP-3488)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

from api import names
from api import validation as v
from api.admissionregistration.webhooks import (
    MatchCondition,
    RuleWithOperations,
    check_match_conditions,
    check_rule,
)
from api.columns import AGE
from api.condition_validation import check_conditions
from api.meta import Condition, LabelSelector, ObjectMeta
from api.resource import Column, Resource, keep_all_but_status
from api.schema import Int64, Struct, always, field, wire

_REASONS: Final = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_VARIABLE: Final = re.compile("[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED: Final = frozenset(
    ("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while")
)  # fmt: skip
"""What is no identifier in expressions."""
_ANNOTATIONS_MAX: Final = 20
_VALUE_BYTES_MAX: Final = 5 * 1024


class ExpressionWarning(Struct):
    """What is wrong with one expression of a policy.

    Attributes:
        field_ref: Where the expression is, such as spec.validations[0].expression.
        warning: What is wrong, for each type of object where it is.
    """

    field_ref: Annotated[str, wire(2, required=True)] = always("")
    warning: Annotated[str, wire(3, required=True)] = always("")


class TypeChecking(Struct):
    """What is wrong with the types in a policy's expressions, as far as the types it is about are known.

    Attributes:
        expression_warnings: What was found; empty is good.
    """

    expression_warnings: Annotated[list[ExpressionWarning], wire(1, list_type="atomic")] = []


class ValidatingAdmissionPolicyStatus(Struct):
    """Whether a policy's expressions make sense.

    Attributes:
        observed_generation: The metadata.generation that was looked at.
        type_checking: What was found when the expressions were checked; unset until they were.
        conditions: Answers to questions about the policy; none is known today.
    """

    observed_generation: Annotated[Int64, wire(1)] = 0
    type_checking: Annotated[TypeChecking | None, wire(2)] = None
    conditions: Annotated[list[Condition], wire(3, list_type="map", list_keys=("type",))] = []


class Variable(Struct):
    """An expression with a name, which later expressions can use.

    Attributes:
        name: By which it is used, as variables.NAME; a CEL identifier, unique in the policy.
        expression: The expression; evaluated only when it is needed, once a request.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    expression: Annotated[str, wire(2, required=True)] = always("")


class AuditAnnotation(Struct):
    """An expression whose value goes into the audit log.

    Attributes:
        key: The annotation's name, after the policy's name and a slash; unique in the policy.
        value_expression: An expression that gives a text, or null for no annotation.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    value_expression: Annotated[str, wire(2, required=True)] = always("")


class Validation(Struct):
    """An expression that must be true for a request to go on, and what is said if it is not.

    Attributes:
        expression: An expression that is true or false, with object (null for DELETE), oldObject (null for CREATE),
            request, params, namespaceObject, variables and authorizer.
        message: What is said if it is false; by default the expression itself. Required if the expression has line
            breaks.
        reason: The reason of the refusal: Invalid (the default), Forbidden, Unauthorized or RequestEntityTooLarge.
        message_expression: An expression that makes the message; where it fails or gives nothing, message is used.
    """

    expression: Annotated[str, wire(1, required=True)] = always("")
    message: Annotated[str, wire(2)] = ""
    reason: Annotated[str | None, wire(3)] = None
    message_expression: Annotated[str, wire(4)] = ""


class NamedRuleWithOperations(RuleWithOperations):
    """Which operations on which resources, or on which objects of them.

    Attributes:
        resource_names: Only objects of these names; empty for any.
    """

    INLINED: ClassVar[int] = 2

    resource_names: Annotated[list[str], wire(1, list_type="atomic")] = []


class MatchResources(Struct):
    """Which requests are looked at.

    Attributes:
        namespace_selector: Only objects in namespaces with such labels; by default all. Objects without namespace
            always match.
        object_selector: Only objects with such labels, before or after the change; by default all.
        resource_rules: Which operations on which resources; a request needs to match one of these.
        exclude_resource_rules: Requests that match one of these are left out.
        match_policy: How rules are taken: Equivalent (the default) also matches other versions of the same resource,
            Exact only as written.
    """

    namespace_selector: Annotated[LabelSelector | None, wire(1)] = None
    object_selector: Annotated[LabelSelector | None, wire(2)] = None
    resource_rules: Annotated[list[NamedRuleWithOperations], wire(3, list_type="atomic")] = []
    exclude_resource_rules: Annotated[list[NamedRuleWithOperations], wire(4, list_type="atomic")] = []
    match_policy: Annotated[str | None, wire(7)] = None


class ParamKind(Struct):
    """The kind of objects that a policy takes parameters from.

    Attributes:
        api_version: Its group and version, such as rules.example.com/v1.
        kind: The kind of the parameters, in CamelCase, such as ReplicaLimit.
    """

    api_version: Annotated[str, wire(1)] = ""
    kind: Annotated[str, wire(2)] = ""


class ValidatingAdmissionPolicySpec(Struct):
    """The rules of a policy, and which requests they are about.

    Attributes:
        param_kind: Of which kind parameters are, which bindings name; unset, there are none. If the kind is missing,
            the policy is misconfigured and failurePolicy decides.
        match_constraints: Which requests are looked at; required. Bindings can only narrow it.
        validations: What must be true; needed unless there are auditAnnotations.
        failure_policy: What happens when an expression fails or something is misconfigured: Fail (the default) refuses
            the request, Ignore goes on.
        audit_annotations: What to tell the audit log; needed unless there are validations.
        match_conditions: Conditions that a request must meet as well, all of them; at most 64.
        variables: Expressions with names; each can use those before it.
    """

    param_kind: Annotated[ParamKind | None, wire(1)] = None
    match_constraints: Annotated[MatchResources | None, wire(2)] = None
    validations: Annotated[list[Validation], wire(3, list_type="atomic")] = []
    failure_policy: Annotated[str | None, wire(4)] = None
    audit_annotations: Annotated[list[AuditAnnotation], wire(5, list_type="atomic")] = []
    match_conditions: Annotated[
        list[MatchCondition], wire(6, merge_key="name", list_type="map", list_keys=("name",))
    ] = []
    variables: Annotated[list[Variable], wire(7, merge_key="name", list_type="map", list_keys=("name",))] = []


class ValidatingAdmissionPolicy(Struct):
    """Rules about writes, as CEL expressions. They hold where a binding puts them into force."""

    api_version: str = always("admissionregistration.k8s.io/v1")
    kind: str = always("ValidatingAdmissionPolicy")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ValidatingAdmissionPolicySpec, wire(2)] = field(default_factory=ValidatingAdmissionPolicySpec)
    status: Annotated[ValidatingAdmissionPolicyStatus, wire(3)] = field(default_factory=ValidatingAdmissionPolicyStatus)


def default(policy: ValidatingAdmissionPolicy) -> None:
    """A policy that cannot be evaluated refuses; it is about everything of its rules."""
    if policy.spec.failure_policy is None:
        policy.spec.failure_policy = "Fail"
    if policy.spec.match_constraints is not None:
        default_match(policy.spec.match_constraints)


def default_match(match: MatchResources) -> None:
    """Match objects of every namespace, whatever version they come in."""
    if match.match_policy is None:
        match.match_policy = "Equivalent"
    if match.namespace_selector is None:
        match.namespace_selector = LabelSelector()
    if match.object_selector is None:
        match.object_selector = LabelSelector()
    for rule in (*match.resource_rules, *match.exclude_resource_rules):
        if rule.scope is None:
            rule.scope = "*"


def validate(new: ValidatingAdmissionPolicy, old: ValidatingAdmissionPolicy | None) -> v.Errors:
    """Check everything but what the expressions mean, which is for who evaluates them."""
    spec = new.spec
    yield from v.check_given("spec.failurePolicy", spec.failure_policy, ("Fail", "Ignore"))
    if spec.param_kind is not None:
        yield from _check_param_kind("spec.paramKind", spec.param_kind)
    if spec.match_constraints is None:
        yield v.required("spec.matchConstraints")
    else:
        if not spec.match_constraints.resource_rules:
            yield v.required("spec.matchConstraints.resourceRules")
        yield from check_match("spec.matchConstraints", spec.match_constraints)
    yield from check_match_conditions("spec.matchConditions", spec.match_conditions)
    for i, variable in enumerate(spec.variables):
        where = f"spec.variables[{i}]"
        if not variable.name.strip():
            yield v.required(f"{where}.name", "name is not specified")
        elif not _VARIABLE.fullmatch(variable.name) or variable.name in _RESERVED:
            yield v.invalid(f"{where}.name", variable.name, "name is not a valid CEL identifier")
        if not variable.expression.strip():
            yield v.required(f"{where}.expression", "expression is not specified")
    if not spec.validations and not spec.audit_annotations:
        yield v.required("spec.validations", "validations or auditAnnotations must contain at least one item")
        yield v.required("spec.auditAnnotations", "validations or auditAnnotations must contain at least one item")
    for i, validation in enumerate(spec.validations):
        yield from _check_validation(f"spec.validations[{i}]", validation)
    yield from _check_annotations("spec.auditAnnotations", new.metadata.name, spec.audit_annotations)


def _check_param_kind(path: str, kind: ParamKind) -> v.Errors:
    group, _, version = kind.api_version.rpartition("/")
    where = f"{path}.apiVersion"
    if not kind.api_version:
        yield v.required(where)
    elif "/" in group:
        yield v.invalid(where, kind.api_version, f"unexpected GroupVersion string: {kind.api_version}")
    else:
        if group and (faults := names.check_subdomain(group)):
            yield v.invalid(where, group, ",".join(faults))
        if not version:
            yield v.invalid(where, kind.api_version, "version must be specified")
        elif faults := names.check_label_1035(version):
            yield v.invalid(where, version, ",".join(faults))
    if not kind.kind:
        yield v.required(f"{path}.kind")
    elif faults := names.check_label_1035(kind.kind.lower()):
        why = f"may have mixed case, but should otherwise match: {','.join(faults)}"
        yield v.invalid(f"{path}.kind", kind.kind, why)


def _check_validation(path: str, validation: Validation) -> v.Errors:
    if not validation.expression.strip():
        yield v.required(f"{path}.expression", "expression is not specified")
    if validation.message_expression and not validation.message_expression.strip():
        yield v.invalid(f"{path}.messageExpression", validation.message_expression, "must be non-empty if specified")
    message = validation.message
    if message and not message.strip():
        yield v.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip() or "\r" in message.strip():
        yield v.invalid(f"{path}.message", message, "message must not contain line breaks")
    if validation.reason is not None and validation.reason not in _REASONS:
        yield v.not_supported(f"{path}.reason", validation.reason, _REASONS)


def _check_annotations(path: str, policy: str, annotations: Sequence[AuditAnnotation]) -> v.Errors:
    if len(annotations) > _ANNOTATIONS_MAX:
        yield v.invalid(path, annotations, f"must not have more than {_ANNOTATIONS_MAX} auditAnnotations")
    for i, annotation in enumerate(annotations):
        where = f"{path}[{i}]"
        if not policy:
            yield v.invalid(f"{where}.key", annotation.key, "requires metadata.name be non-empty")
        for message in names.check_qualified_name(f"{policy}/{annotation.key}") if policy else ():
            yield v.invalid(f"{where}.key", f"{policy}/{annotation.key}", message)
        text = annotation.value_expression.strip()
        if not text:
            yield v.required(f"{where}.valueExpression", "valueExpression is not specified")
        elif len(text.encode()) > _VALUE_BYTES_MAX:
            yield v.required(f"{where}.valueExpression", f"must not exceed {_VALUE_BYTES_MAX} bytes in length")
        if any(annotation.key == other.key for other in annotations[:i]):
            yield v.duplicate(f"{where}.key", annotation.key)


def validate_status(new: ValidatingAdmissionPolicy, old: ValidatingAdmissionPolicy) -> v.Errors:
    """Check what was found about the expressions, and conditions."""
    checking = new.status.type_checking
    for i, warning in enumerate(checking.expression_warnings if checking is not None else ()):
        where = f"status.typeChecking.expressionWarnings[{i}]"
        if not warning.warning:
            yield v.required(f"{where}.warning")
        if not warning.field_ref.strip():
            yield v.required(f"{where}.fieldRef")
    yield from check_conditions("status.conditions", new.status.conditions)


def check_match(path: str, match: MatchResources) -> v.Errors:
    """Check which requests are meant."""
    yield from v.check_label_selector(f"{path}.namespaceSelector", match.namespace_selector)
    yield from v.check_label_selector(f"{path}.objectSelector", match.object_selector)
    for label, rules in (
        ("resourceRules", match.resource_rules),
        ("excludeResourceRules", match.exclude_resource_rules),
    ):
        for i, rule in enumerate(rules):
            where = f"{path}.{label}[{i}]"
            for j, name in enumerate(rule.resource_names):
                for message in names.check_path_segment(name):
                    yield v.invalid(f"{where}.resourceNames[{j}]", name, message)
                if name in rule.resource_names[:j]:
                    yield v.duplicate(f"{where}.resourceNames[{j}]", name)
            yield from check_rule(where, rule)
    yield from v.check_given(f"{path}.matchPolicy", match.match_policy, ("Equivalent", "Exact"))


def _param_kind(policy: ValidatingAdmissionPolicy, now: float) -> str:
    kind = policy.spec.param_kind
    return f"{kind.api_version}/{kind.kind}" if kind is not None else "<unset>"


RESOURCE: Final[Resource[ValidatingAdmissionPolicy]] = Resource(
    type=ValidatingAdmissionPolicy,
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    namespaced=False,
    categories=("api-extensions",),
    subresources=("status",),
    default=default,
    validate=validate,
    validate_status=validate_status,
    prepare_for_status_update=keep_all_but_status,
    generation=True,
    columns=(
        Column("Validations", "integer", lambda policy, now: len(policy.spec.validations), "How many rules it has."),
        Column("ParamKind", "string", _param_kind, "What its parameters are."),
        AGE,
    ),
)

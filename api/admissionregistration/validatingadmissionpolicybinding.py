"""ValidatingAdmissionPolicyBinding: puts a policy into force, with parameters, for some objects (KEP-3488)."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.admissionregistration.validatingadmissionpolicy import MatchResources, check_match, default_match
from api.columns import AGE
from api.meta import LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire

_ACTIONS: Final = ("Audit", "Deny", "Warn")


class ParamRef(Struct):
    """Where a policy's parameters are; either a name or a selector is set. With several, the rules must hold for each.

    Attributes:
        name: The object, by name.
        namespace: Its namespace; unset, that of the object in the request. Not for kinds without namespace.
        selector: All objects with such labels; an empty selector is all of the kind.
        parameter_not_found_action: What happens when there is none: Allow skips the policy, Deny leaves it to
            failurePolicy. Required.
    """

    name: Annotated[str, wire(1)] = ""
    namespace: Annotated[str, wire(2)] = ""
    selector: Annotated[LabelSelector | None, wire(3)] = None
    parameter_not_found_action: Annotated[str | None, wire(4)] = None


class ValidatingAdmissionPolicyBindingSpec(Struct):
    """Which policy holds, with which parameters, and what happens to who breaks it.

    Attributes:
        policy_name: The ValidatingAdmissionPolicy; without it the binding does nothing.
        param_ref: Where the parameters are; unset for policies without.
        match_resources: Which of the policy's requests are looked at; by default all.
        validation_actions: What happens when a rule does not hold: Deny refuses, Warn sends a warning, Audit notes it
            in the audit log. Deny and Warn not together.
    """

    policy_name: Annotated[str, wire(1)] = ""
    param_ref: Annotated[ParamRef | None, wire(2)] = None
    match_resources: Annotated[MatchResources | None, wire(3)] = None
    validation_actions: Annotated[list[str], wire(4, list_type="set")] = []


class ValidatingAdmissionPolicyBinding(Struct):
    """Puts a ValidatingAdmissionPolicy into force."""

    api_version: str = always("admissionregistration.k8s.io/v1")
    kind: str = always("ValidatingAdmissionPolicyBinding")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[ValidatingAdmissionPolicyBindingSpec, wire(2)] = field(
        default_factory=ValidatingAdmissionPolicyBindingSpec
    )


def default(binding: ValidatingAdmissionPolicyBinding) -> None:
    """Default which objects are meant."""
    if binding.spec.match_resources is not None:
        default_match(binding.spec.match_resources)


def validate(new: ValidatingAdmissionPolicyBinding, old: ValidatingAdmissionPolicyBinding | None) -> v.Errors:
    """Check what is bound to what, and what happens to who breaks the rule."""
    spec = new.spec
    if not spec.policy_name:
        yield v.required("spec.policyName")
    else:
        yield from v.check_name("spec.policyName", spec.policy_name, names.check_subdomain)
    if spec.param_ref is not None:
        yield from _check_param("spec.paramRef", spec.param_ref)
    if spec.match_resources is not None:
        yield from check_match("spec.matchResources", spec.match_resources)
    if not spec.validation_actions:
        yield v.required("spec.validationActions", "at least one validation action is required")
    for i, action in enumerate(spec.validation_actions):
        if action not in _ACTIONS:
            yield v.not_supported(f"spec.validationActions[{i}]", action, _ACTIONS)
        if action in spec.validation_actions[:i]:
            yield v.duplicate(f"spec.validationActions[{i}]", action)
    if {"Deny", "Warn"} <= set(spec.validation_actions):
        yield v.invalid(
            "spec.validationActions",
            spec.validation_actions,
            "must not contain both Deny and Warn (repeating the same validation failure information in the API"
            " response and headers serves no purpose)",
        )


def _check_param(path: str, ref: ParamRef) -> v.Errors:
    for message in names.check_path_segment(ref.name) if ref.name else ():
        yield v.invalid(f"{path}.name", ref.name, message)
    if ref.name and ref.selector is not None:
        yield v.forbidden(f"{path}.name", "name and selector are mutually exclusive")
        yield v.forbidden(f"{path}.selector", "name and selector are mutually exclusive")
    elif not ref.name and ref.selector is None:
        yield v.required(path, "one of name or selector must be specified")
    yield from v.check_label_selector(f"{path}.selector", ref.selector)
    if ref.parameter_not_found_action is None:
        yield v.required(f"{path}.parameterNotFoundAction")
    else:
        yield from v.check_supported(
            f"{path}.parameterNotFoundAction", ref.parameter_not_found_action, ("Allow", "Deny")
        )


def _param(binding: ValidatingAdmissionPolicyBinding, now: float) -> str:
    ref = binding.spec.param_ref
    if ref is None:
        return "<unset>"
    if not ref.name:
        return "*"
    return f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name


RESOURCE: Final[Resource[ValidatingAdmissionPolicyBinding]] = Resource(
    type=ValidatingAdmissionPolicyBinding,
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    namespaced=False,
    categories=("api-extensions",),
    default=default,
    validate=validate,
    generation=True,
    columns=(
        Column("PolicyName", "string", lambda binding, now: binding.spec.policy_name, "The policy."),
        Column("ParamRef", "string", _param, "The parameters."),
        AGE,
    ),
)

"""AuthorizationConfiguration: who is asked what users may do, in order.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AuthorizationConfiguration
    authorizers:
    - type: Webhook
      name: guard.example.org
      webhook:
        timeout: 3s
        authorizedTTL: 30s
        unauthorizedTTL: 30s
        subjectAccessReviewVersion: v1
        matchConditionSubjectAccessReviewVersion: v1
        failurePolicy: Deny
        connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/guard.yaml}
        matchConditions: [{expression: "has(request.resourceAttributes)"}]
    - {type: Node, name: node}
    - {type: RBAC, name: rbac}

What is wrong is said with its place in the file, all at once. Pure, but that it looks whether a kubeconfig is there;
the file is followed by `apiserver.auth.authorizing`. Fields, rules and words: KEP-3221, "kube-apiserver Configuration
(v1)" of the documentation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from api import names
from api import validation as v
from api.errors import as_one
from api.resource import FieldError
from apiserver import configuration_file
from apiserver.cel.check import checked
from apiserver.cel.program import BadProgram, Program, compile_
from apiserver.cel.types import BOOL, STRING, list_of, map_of, object_of
from apiserver.filters.timeout import duration_s

WEBHOOK: Final = "Webhook"
MODES: Final = ("ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", WEBHOOK)
LEGACY_NAME: Final = "default"
"""What the webhook of the flags is called."""
_API_VERSIONS: Final = tuple(f"apiserver.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_KIND: Final = "AuthorizationConfiguration"
_CONDITIONS_MAX: Final = 64
_TIMEOUT_MAX_S: Final = 30.0
_IN_CLUSTER: Final = "InClusterConfig"
_BY_FILE: Final = "KubeConfigFile"
_WRONG_TYPE: Final = "must evaluate to bool but got "

_REQUIREMENT: Final = object_of(
    "kubernetes.SelectorRequirement", {"key": STRING, "operator": STRING, "values": list_of(STRING)}
)
_SELECTOR: Final = {"rawSelector": STRING, "requirements": list_of(_REQUIREMENT)}
_TEXTS: Final = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
REQUEST: Final = object_of(
    "kubernetes.SubjectAccessReviewSpec",
    {
        "resourceAttributes": object_of(
            "kubernetes.ResourceAttributes",
            {
                **dict.fromkeys(_TEXTS, STRING),
                "fieldSelector": object_of("kubernetes.FieldSelectorAttributes", _SELECTOR),
                "labelSelector": object_of("kubernetes.LabelSelectorAttributes", _SELECTOR),
            },
        ),
        "nonResourceAttributes": object_of("kubernetes.NonResourceAttributes", {"path": STRING, "verb": STRING}),
        "user": STRING,
        "groups": list_of(STRING),
        "extra": map_of(STRING, list_of(STRING)),
        "uid": STRING,
    },
)
"""What a condition sees as `request`."""


class BadConfiguration(ValueError):
    """A configuration that cannot be used; says what is wrong with it, and where."""


class _Struct(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class _Connection(_Struct):
    type: str = ""
    kube_config_file: str | None = None


class _Condition(_Struct):
    expression: str = ""


class _Webhook(_Struct):
    authorized_ttl: str = msgspec.field(default="", name="authorizedTTL")
    unauthorized_ttl: str = msgspec.field(default="", name="unauthorizedTTL")
    timeout: str = ""
    subject_access_review_version: str = ""
    match_condition_subject_access_review_version: str = ""
    failure_policy: str = ""
    connection_info: _Connection = msgspec.field(default_factory=_Connection)
    match_conditions: list[_Condition] | None = None


class _Authorizer(_Struct):
    type: str = ""
    name: str = ""
    webhook: _Webhook | None = None


class _File(_Struct):
    api_version: str = ""
    kind: str = ""
    authorizers: list[_Authorizer] | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """One that is asked."""

    kubeconfig: Path
    version: str
    """Of the SubjectAccessReview: v1 or v1beta1."""
    timeout_s: float
    authorized_ttl_s: float
    """How long an answer is kept, 0: not at all."""
    unauthorized_ttl_s: float
    denies_on_failure: bool
    conditions: tuple[str, ...] = ()
    """Expressions about `request`; it is asked only where all are true."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One of those who are asked."""

    type: str
    name: str
    webhook: Webhook | None = None


def parse(text: bytes, required: Collection[str] | None = None) -> tuple[Mode, ...]:
    """Return the authorizers of a YAML or JSON file.

    Args:
        text: the file.
        required: types, webhooks aside, that there have to be, and no others: those of the start stay.

    Raises:
        BadConfiguration: it cannot be used.
    """
    try:
        found = configuration_file.read(text, _File, _API_VERSIONS, _KIND)
    except configuration_file.BadFile as error:
        raise BadConfiguration(str(error)) from None
    modes: list[Mode] = []
    wrong = [f"{error.path}: {error.message}" for error in _errors(found.authorizers or (), modes)]
    if not wrong:
        wrong = list(_misfits(modes, required))
    if wrong:
        raise BadConfiguration(as_one(wrong))
    return tuple(modes)


def _misfits(modes: Sequence[Mode], required: Collection[str] | None) -> Iterator[str]:
    own = [mode for mode in modes if mode.type != WEBHOOK]
    for mode in own:
        if mode.type == "ABAC":
            yield NO_ABAC
        if mode.name != mode.type.lower():
            yield f"expected name {mode.type.lower()} for authorizer {mode.type} instead of {mode.name}"
    if required is not None:
        types = {mode.type for mode in own}
        if missing := sorted(set(required) - types):
            yield f"missing required types: [{' '.join(missing)}]"
        if extra := sorted(types - set(required)):
            yield f"unexpected types: [{' '.join(extra)}]"


NO_ABAC: Final = "not supported: ABAC"


def _errors(given: Sequence[_Authorizer], modes: list[Mode]) -> Iterator[FieldError]:
    """Yield what is wrong, and put what is right into `modes`."""
    if not given:
        yield v.required("authorizers", "at least one authorization mode must be defined")
    types: set[str] = set()
    taken: set[str] = set()
    for place, each in enumerate(given):
        path = f"authorizers[{place}]"
        if not each.type:
            yield v.required(f"{path}.type")
            continue
        if each.type not in MODES:
            yield v.not_supported(f"{path}.type", each.type, MODES)
            continue
        if each.type in types and each.type != WEBHOOK:
            yield v.duplicate(f"{path}.type", each.type)
            continue
        types.add(each.type)
        if not each.name:
            yield v.required(f"{path}.name")
        elif each.name in taken:
            yield v.duplicate(f"{path}.name", each.name)
        elif why := names.check_subdomain(each.name):
            yield v.invalid(f"{path}.name", each.name, f"authorizer name is invalid: {', '.join(why)}")
        taken.add(each.name)
        if each.type != WEBHOOK:
            if each.webhook is not None:
                yield v.invalid(f"{path}.webhook", "non-null", "may only be specified when type=Webhook")
            modes.append(Mode(each.type, each.name))
        elif each.webhook is None:
            yield v.required(f"{path}.webhook", "required when type=Webhook")
        else:
            yield from _webhook_errors(each.webhook, each.name, path, modes)


def _webhook_errors(given: _Webhook, name: str, path: str, modes: list[Mode]) -> Iterator[FieldError]:
    spans: dict[str, float] = {}
    for field, text, default in (
        ("timeout", given.timeout, 0.0),
        ("authorizedTTL", given.authorized_ttl, 300.0),
        ("unauthorizedTTL", given.unauthorized_ttl, 30.0),
    ):
        try:
            spans[field] = found = (duration_s(text) if text else 0.0) or default
        except ValueError as error:
            yield v.invalid(f"{path}.{field}", text, str(error))
            continue
        if not found:
            yield v.required(f"{path}.{field}")
        elif field == "timeout" and not 0 < found <= _TIMEOUT_MAX_S:
            yield v.invalid(f"{path}.{field}", text, "must be > 0s and <= 30s")
        elif found < 0:
            yield v.invalid(f"{path}.{field}", text, "must be > 0s")
    version, of_conditions = given.subject_access_review_version, given.match_condition_subject_access_review_version
    yield from _one_of(f"{path}.subjectAccessReviewVersion", version, ("v1", "v1beta1"))
    at = f"{path}.matchConditionSubjectAccessReviewVersion"
    if of_conditions:
        yield from _one_of(at, of_conditions, ("v1",))
    elif given.match_conditions:
        yield v.required(at, "required if match conditions are specified")
    yield from _one_of(f"{path}.failurePolicy", given.failure_policy, ("NoOpinion", "Deny"))
    yield from _connection_errors(given.connection_info, f"{path}.connectionInfo")
    conditions = given.match_conditions or ()
    yield from _condition_errors(conditions, f"{path}.matchConditions")
    modes.append(
        Mode(
            WEBHOOK,
            name,
            Webhook(
                Path(given.connection_info.kube_config_file or ""),
                version,
                spans.get("timeout", 0.0),
                spans.get("authorizedTTL", 0.0),
                spans.get("unauthorizedTTL", 0.0),
                given.failure_policy == "Deny",
                tuple(each.expression for each in conditions),
            ),
        )
    )


def _one_of(path: str, value: str, supported: Sequence[str]) -> Iterator[FieldError]:
    if not value:
        yield v.required(path)
    elif value not in supported:
        yield v.not_supported(path, value, supported, in_order=True)


def _connection_errors(given: _Connection, path: str) -> Iterator[FieldError]:
    file, at = given.kube_config_file, f"{path}.kubeConfigFile"
    match given.type:
        case "InClusterConfig":
            if file is not None:
                yield v.invalid(at, file, "can only be set when type=KubeConfigFile")
            yield v.forbidden(f"{path}.type", f"{_IN_CLUSTER} is not allowed for kube-apiserver")
        case "KubeConfigFile":
            if not file:
                yield v.required(at)
            elif not Path(file).is_absolute():
                yield v.invalid(at, file, "must be an absolute path")
            elif not Path(file).exists():
                yield v.invalid(at, file, f"error loading file: stat {file}: no such file or directory")
            elif not Path(file).is_file():
                yield v.invalid(at, file, "must be a regular file")
        case _:
            yield from _one_of(f"{path}.type", given.type, (_IN_CLUSTER, _BY_FILE))


def compiled(condition: str) -> Program:
    """Return the program of a condition; raises BadProgram."""
    found = checked(condition, {"request": REQUEST})
    program = compile_(condition, frozenset({"request"}), types=found.types)
    if found.type != BOOL:
        raise BadProgram(f"{_WRONG_TYPE}{found.type}")
    return program


def _condition_errors(given: Sequence[_Condition], path: str) -> Iterator[FieldError]:
    if len(given) > _CONDITIONS_MAX:
        yield v.too_many(path, len(given), _CONDITIONS_MAX)
        return
    seen: set[str] = set()
    for place, each in enumerate(given):
        at, text = f"{path}[{place}].expression", each.expression
        if not text.strip():
            yield v.required(at)
        elif text in seen:
            yield v.duplicate(at, text)
        else:
            seen.add(text)
            try:
                compiled(text)
            except BadProgram as error:
                why = str(error)
                yield v.invalid(at, text, why if why.startswith(_WRONG_TYPE) else f"compilation failed: {why}")


@dataclass(frozen=True, slots=True)
class Flags:
    """What the flags say, where there is no file."""

    modes: Sequence[str]
    webhook_config_file: Path | None = None
    webhook_version: str = "v1beta1"
    authorized_ttl: str = "5m0s"
    unauthorized_ttl: str = "30s"


def of_flags(flags: Flags) -> tuple[Mode, ...]:
    """Return the authorizers that the flags name.

    Raises:
        BadConfiguration: they don't make sense.
    """
    wrong = list(_flag_errors(flags))
    spans: dict[str, float] = {}
    for flag, text in (("authorized", flags.authorized_ttl), ("unauthorized", flags.unauthorized_ttl)):
        try:
            spans[flag] = duration_s(text)
        except ValueError as error:
            wrong.append(f"--authorization-webhook-cache-{flag}-ttl: {error}")
    if wrong:
        raise BadConfiguration(as_one(wrong))
    file = flags.webhook_config_file
    webhook = None
    if file is not None:
        webhook = Webhook(
            file, flags.webhook_version, _TIMEOUT_MAX_S, spans["authorized"], spans["unauthorized"], False
        )
    return tuple(
        Mode(mode, LEGACY_NAME, webhook) if mode == WEBHOOK else Mode(mode, mode.lower()) for mode in flags.modes
    )


def _flag_errors(flags: Flags) -> Iterator[str]:
    if not flags.modes:
        yield "at least one authorization-mode must be passed"
    for place, mode in enumerate(flags.modes):
        if mode not in MODES:
            yield f'authorization-mode "{mode}" is not a valid mode'
        elif mode in flags.modes[:place]:
            yield f'authorization-mode "{mode}" has mode specified more than once'
        elif mode == "ABAC":
            yield f"authorization-mode: {NO_ABAC}"
    if WEBHOOK in flags.modes and flags.webhook_config_file is None:
        yield "authorization-mode Webhook's authorization config file not passed"
    if WEBHOOK not in flags.modes and flags.webhook_config_file is not None:
        yield "cannot specify --authorization-webhook-config-file without mode Webhook"


def spec_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return a SubjectAccessReview's spec as conditions see it: with every text, empty or not."""
    seen = {"user": "", "groups": [], "uid": "", "extra": {}, **value}
    attributes = seen.get("resourceAttributes")
    if attributes is not None:
        seen["resourceAttributes"] = {**dict.fromkeys(_TEXTS, ""), **attributes}
    return seen

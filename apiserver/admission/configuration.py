"""AdmissionConfiguration: what single admission plugins are told. API: apiserver.config.k8s.io/v1.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AdmissionConfiguration
    plugins:
    - name: PodSecurity
      configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, ...}
    - name: ResourceQuota
      path: quota.yaml

Besides these two, EventRateLimit, ImagePolicyWebhook, PodNodeSelector, PodTolerationRestriction and the two plugins of
webhooks (a kubeconfig with what to show them) can be told something. What is said of any other plugin is refused, since
nobody would do it, and so is what is said of one that is off. Read once, at the start; what is
wrong is said with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from api import names
from api import validation as v
from api.core.placement import Toleration
from api.core.resourcequota import ScopedResourceSelectorRequirement
from api.errors import UnclassedError, as_one
from api.resource import FieldError
from apiserver.admission import pod_node_selector
from apiserver.admission.event_rate_limit import KEPT_DEFAULT, TYPES, Limit
from apiserver.admission.image_policy_webhook import ImagePolicy
from apiserver.admission.plugin_names import DEFAULT
from apiserver.admission.pod_security import DEFAULTS, LEVELS, Exemptions, Policy, Standard, version_of
from apiserver.admission.pod_toleration_restriction import Tolerations
from apiserver.admission.resource_quota import Limited
from apiserver.webhooks.identities import BadIdentities, Identities, parse_identities, parse_server

_API_VERSIONS: Final[tuple[str, ...]] = ("apiserver.config.k8s.io/v1", "apiserver.k8s.io/v1alpha1")
_OLD_QUOTA_VERSIONS: Final[tuple[str, ...]] = (
    "resourcequota.admission.k8s.io/v1beta1",
    "resourcequota.admission.k8s.io/v1alpha1",
)
T = TypeVar("T")


class BadConfiguration(ValueError):
    """An admission configuration that cannot be used; says what is wrong with it, and where."""


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """What the plugins are told."""

    pod_security: Policy = DEFAULTS
    """What holds for namespaces whose labels say nothing."""
    exemptions: Exemptions = field(default_factory=Exemptions)
    limited: tuple[Limited, ...] = ()
    mutating: Identities | None = None
    """What webhooks that change objects are shown."""
    validating: Identities | None = None
    on: frozenset[str] = DEFAULT
    """Which plugins there are."""
    event_limits: tuple[Limit, ...] = ()
    image_policy: ImagePolicy | None = None
    node_selectors: Mapping[str, str] = field(default_factory=dict)
    tolerations: Tolerations = field(default_factory=Tolerations)


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    api_version: str = ""
    kind: str = ""


class _Plugin(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    path: str = ""
    configuration: dict[str, Any] | None = None


class _File(_Strict):
    plugins: list[_Plugin] = []


class _Exemptions(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    usernames: list[str] = []
    namespaces: list[str] = []
    runtime_classes: list[str] = []


class _PodSecurity(_Strict):
    defaults: dict[str, str] = {}
    exemptions: _Exemptions = msgspec.field(default_factory=_Exemptions)


class _Scope(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    scope_name: str
    operator: str
    values: list[str] = []


class _Limited(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    resource: str
    api_group: str = ""
    match_contains: list[str] = []
    match_scopes: list[_Scope] = []


class _Quotas(_Strict):
    limited_resources: list[_Limited] = []


class _Webhooks(_Strict):
    kube_config_file: str = ""


def read(path: Path | None, on: frozenset[str] = DEFAULT) -> AdmissionSettings:
    """Read a file, where there is one; `on` are the plugins that it may be about.

    Raises:
        BadConfiguration: it cannot be used, or a plugin that is on cannot do without what it would say.
    """
    settings = AdmissionSettings(on=on)
    if path is not None:
        try:
            settings = _compiled(_plain(path.read_bytes(), str(path)), path.parent, on)
        except OSError as error:
            raise BadConfiguration(f"{path}: {error.strerror}") from None
    for name, told in (("EventRateLimit", settings.event_limits), ("ImagePolicyWebhook", settings.image_policy)):
        if name in on and not told:
            raise BadConfiguration(f'couldn\'t init admission plugin "{name}": no config specified')
    return settings


def _compiled(document: Mapping[str, Any], directory: Path, on: frozenset[str]) -> AdmissionSettings:
    file = _fits(document, _File, "", "AdmissionConfiguration", _API_VERSIONS)
    told: dict[str, Any] = {}
    seen: set[str] = set()
    for i, plugin in enumerate(file.plugins):
        where = f"plugins[{i}]"
        reader = _READERS.get(plugin.name)
        if reader is None:
            known = ", ".join(sorted(_READERS))
            raise BadConfiguration(f"{where}.name: {plugin.name!r} takes no configuration here; these do: {known}")
        if plugin.name in seen:
            raise BadConfiguration(f"{where}.name: {plugin.name!r} is there twice")
        seen.add(plugin.name)
        if plugin.name not in on:
            raise BadConfiguration(f"{where}.name: {plugin.name!r} is off; --enable-admission-plugins turns it on")
        document_of = plugin.configuration
        if plugin.path:
            if document_of is not None:
                raise BadConfiguration(f"{where}: only one of path and configuration may be given")
            at = directory / plugin.path
            try:
                document_of = _plain(at.read_bytes(), str(at))
            except OSError as error:
                raise BadConfiguration(f"{where}.path: {at}: {error.strerror}") from None
        if document_of is not None:
            told |= reader(document_of, f"{where}.configuration", directory)
    return AdmissionSettings(on=on, **told)


def _plain(content: bytes, where: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise BadConfiguration(f"{where}: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise BadConfiguration(f"{where}: it must be an object")
    return document


def _fits(document: Mapping[str, Any], type_: type[T], where: str, kind: str, versions: tuple[str, ...]) -> T:
    prefix = f"{where}." if where else ""
    if document.get("kind") != kind:
        raise BadConfiguration(f"{prefix}kind: must be {kind}")
    if document.get("apiVersion") not in versions:
        raise BadConfiguration(f"{prefix}apiVersion: must be {' or '.join(versions)}")
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise BadConfiguration(f"{where}: {error}" if where else str(error)) from None


def _pod_security(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
    versions = tuple(f"pod-security.admission.config.k8s.io/{each}" for each in ("v1", "v1beta1", "v1alpha1"))
    told = _fits(document, _PodSecurity, where, "PodSecurityConfiguration", versions)
    modes = {}
    for mode in ("enforce", "audit", "warn"):
        level = told.defaults.pop(mode, "") or "privileged"
        if level not in LEVELS:
            raise BadConfiguration(f"{where}.defaults.{mode}: must be one of {', '.join(LEVELS)}")
        version = version_of(told.defaults.pop(f"{mode}-version", "") or "latest")
        if version is None:
            raise BadConfiguration(f'{where}.defaults.{mode}-version: must be "latest" or "v1.x"')
        modes[mode] = Standard(level, version)
    for other in told.defaults:
        raise BadConfiguration(f"{where}.defaults.{other}: there is no such field")
    exempt = told.exemptions
    for what, given, check in (
        ("usernames", exempt.usernames, lambda name: [] if name else ["must not be empty"]),
        ("namespaces", exempt.namespaces, names.check_label),
        ("runtimeClasses", exempt.runtime_classes, names.check_subdomain),
    ):
        for i, name in enumerate(given):
            wrong = ["is there twice"] if name in given[:i] else check(name)
            if wrong:
                raise BadConfiguration(f"{where}.exemptions.{what}[{i}]: {name!r}: {wrong[0]}")
    exemptions = Exemptions(
        *(frozenset(each) for each in (exempt.usernames, exempt.namespaces, exempt.runtime_classes))
    )
    policy = Policy(modes["enforce"], modes["audit"], modes["warn"])
    return {"pod_security": policy, "exemptions": exemptions}


def _quotas(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
    kind, versions = "ResourceQuotaConfiguration", _API_VERSIONS[:1]
    if str(document.get("apiVersion", "")).startswith("resourcequota.admission.k8s.io/"):
        kind, versions = "Configuration", _OLD_QUOTA_VERSIONS
    told = _fits(document, _Quotas, where, kind, versions)
    limited = [
        Limited(
            each.api_group,
            each.resource,
            tuple(each.match_contains),
            tuple(
                ScopedResourceSelectorRequirement(scope_name=one.scope_name, operator=one.operator, values=one.values)
                for one in each.match_scopes
            ),
        )
        for each in told.limited_resources
    ]
    for i, one in enumerate(told.limited_resources):
        if not one.resource:
            raise BadConfiguration(f"{where}.limitedResources[{i}].resource: is required")
    return {"limited": tuple(limited)}


def _of_webhooks(role: str) -> Callable[[Mapping[str, Any], str, Path], dict[str, Any]]:
    def read_webhooks(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
        kind, versions = "WebhookAdmissionConfiguration", ("apiserver.config.k8s.io/v1",)
        if str(document.get("apiVersion", "")).startswith("apiserver.config.k8s.io/v1alpha1"):
            kind, versions = "WebhookAdmission", ("apiserver.config.k8s.io/v1alpha1",)
        told = _fits(document, _Webhooks, where, kind, versions)
        if not told.kube_config_file:
            return {}
        at = f"{where}.kubeConfigFile"
        if not Path(told.kube_config_file).is_absolute():
            raise BadConfiguration(f"{at}: {told.kube_config_file!r}: must be an absolute file path")
        try:
            return {role: parse_identities(Path(told.kube_config_file))}
        except (BadIdentities, OSError) as error:
            raise BadConfiguration(f"{at}: {error}") from None

    return read_webhooks


class _Limit(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    type: str = ""
    qps: int = 0
    burst: int = 0
    cache_size: int = 0


class _Limits(_Strict):
    limits: list[_Limit] = []


def _event_limits(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
    told = _fits(document, _Limits, where, "Configuration", ("eventratelimit.admission.k8s.io/v1alpha1",))
    wrong = [v.invalid("limits", [], "must not be empty")] if not told.limits else []
    for i, each in enumerate(told.limits):
        path = f"limits[{i}]"
        if each.type not in TYPES:
            wrong.append(v.not_supported(f"{path}.type", each.type, TYPES))
        if each.burst <= 0:
            wrong.append(v.invalid(f"{path}.burst", each.burst, "must be positive"))
        if each.qps <= 0:
            wrong.append(v.invalid(f"{path}.qps", each.qps, "must be positive"))
        if each.cache_size < 0 and each.type != "Server":
            wrong.append(v.invalid(f"{path}.cacheSize", each.cache_size, "must not be negative"))
    _refuse(where, wrong)
    limits = [Limit(each.type, each.qps, each.burst, each.cache_size or KEPT_DEFAULT) for each in told.limits]
    return {"event_limits": tuple(limits)}


def _refuse(where: str, wrong: Sequence[FieldError]) -> None:
    if wrong:
        said = as_one([f"{error.path}: {error.message}" for error in wrong])
        raise BadConfiguration(f"{where}: {said}")


class _ImagePolicy(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    kube_config_file: str = ""
    allow_ttl: int = msgspec.field(name="allowTTL", default=0)
    deny_ttl: int = msgspec.field(name="denyTTL", default=0)
    retry_backoff: int = 0
    default_allow: bool = False


class _ImagePolicies(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    image_policy: _ImagePolicy


def _image_policy(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
    told = _converted(document, _ImagePolicies, where).image_policy
    if not told.kube_config_file:
        raise BadConfiguration(f"{where}.imagePolicy.kubeConfigFile: is required")
    file = directory / told.kube_config_file
    try:
        parse_server(file)
    except (BadIdentities, OSError) as error:
        raise BadConfiguration(f"{where}.imagePolicy.kubeConfigFile: {error}") from None
    spans = {
        name: _span(given, scale_s, longest_s, usual_s, f"{where}.imagePolicy.{name}")
        for name, given, scale_s, longest_s, usual_s in (
            ("allowTTL", told.allow_ttl, 1.0, 1800.0, 300.0),
            ("denyTTL", told.deny_ttl, 1.0, 1800.0, 30.0),
            ("retryBackoff", told.retry_backoff, 0.001, 300.0, 0.5),
        )
    }
    policy = ImagePolicy(file, spans["allowTTL"], spans["denyTTL"], spans["retryBackoff"], told.default_allow)
    return {"image_policy": policy}


def _span(given: int, scale_s: float, longest_s: float, usual_s: float, where: str) -> float:
    """Return a time in seconds: 0 means the usual one, -1 none at all."""
    if given in (0, -1):
        return usual_s if not given else 0.0
    if not 0 < given * scale_s <= longest_s:
        raise BadConfiguration(
            f"{where}: valid value is between {scale_s:g}s and {longest_s:g}s, got {given * scale_s:g}s"
        )
    return given * scale_s


def _node_selectors(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
    class Told(msgspec.Struct, rename={"selectors": "podNodeSelectorPluginConfig"}, forbid_unknown_fields=True):
        selectors: dict[str, str] = {}

    selectors = _converted(document, Told, where).selectors
    for name, text in selectors.items():
        try:
            pod_node_selector.parse(text)
        except UnclassedError as error:
            raise BadConfiguration(f"{where}.podNodeSelectorPluginConfig.{name}: {error.message}") from None
    return {"node_selectors": selectors}


class _Tolerations(_Strict):
    default: list[Toleration] = []
    whitelist: list[Toleration] = []


def _tolerations(document: Mapping[str, Any], where: str, directory: Path) -> dict[str, Any]:
    versions = ("podtolerationrestriction.admission.k8s.io/v1alpha1",)
    told = _fits(document, _Tolerations, where, "Configuration", versions)
    return {"tolerations": Tolerations(tuple(told.default), tuple(told.whitelist))}


def _converted(document: Mapping[str, Any], type_: type[T], where: str) -> T:
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise BadConfiguration(f"{where}: {error}") from None


_READERS: Final[dict[str, Callable[[Mapping[str, Any], str, Path], dict[str, Any]]]] = {
    "EventRateLimit": _event_limits,
    "ImagePolicyWebhook": _image_policy,
    "PodNodeSelector": _node_selectors,
    "PodTolerationRestriction": _tolerations,
    "PodSecurity": _pod_security,
    "ResourceQuota": _quotas,
    "MutatingAdmissionWebhook": _of_webhooks("mutating"),
    "ValidatingAdmissionWebhook": _of_webhooks("validating"),
}

"""AdmissionConfiguration: what single admission plugins are told. API: apiserver.config.k8s.io/v1.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AdmissionConfiguration
    plugins:
    - name: PodSecurity
      configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, ...}
    - name: ResourceQuota
      path: quota.yaml

Four plugins can be told something: PodSecurity (what holds where labels say nothing, and who is exempt),
ResourceQuota (what may be used only where a quota says how much), and the two of webhooks (a kubeconfig with what to
show them). What is said of any other plugin is refused, since nobody would do it. Read once, at the start; what is
wrong is said with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from api import names
from api.core.resourcequota import ScopedResourceSelectorRequirement
from apiserver.admission.pod_security import DEFAULTS, LEVELS, Exemptions, Policy, Standard, version_of
from apiserver.admission.resource_quota import Limited
from apiserver.webhooks.identities import BadIdentities, Identities, parse_identities

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


def read(path: Path) -> AdmissionSettings:
    """Read a file.

    Raises:
        BadConfiguration: it cannot be used.
    """
    try:
        return _compiled(_plain(path.read_bytes(), str(path)), path.parent)
    except OSError as error:
        raise BadConfiguration(f"{path}: {error.strerror}") from None


def _compiled(document: Mapping[str, Any], directory: Path) -> AdmissionSettings:
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
    return AdmissionSettings(**told)


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


_READERS: Final[dict[str, Callable[[Mapping[str, Any], str, Path], dict[str, Any]]]] = {
    "PodSecurity": _pod_security,
    "ResourceQuota": _quotas,
    "MutatingAdmissionWebhook": _of_webhooks("mutating"),
    "ValidatingAdmissionWebhook": _of_webhooks("validating"),
}

"""What whoever creates or changes a pod, or a template of pods, is warned of, though it is taken (KEP-1693). Pure.

Old names of node labels, annotations and volumes that mean nothing any more, and what can be said but hardly be meant:
variables, ports, addresses and paths said twice, and terms that choose no pods.

Source: upstream's pkg/api/pod, "warnings", and pkg/api/node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from api import names, quantity
from api.core.security_validation import containers_of
from api.meta import ObjectMeta
from api.validation import show

if TYPE_CHECKING:
    from api.core.containers import ContainerPort, EnvVar, ResourceRequirements
    from api.core.placement import Affinity, PodAffinityTerm
    from api.core.pod import Pod, PodSpec, PodTemplateSpec
    from api.core.references import NodeSelector, NodeSelectorTerm
    from api.core.volumes import KeyToPath, PersistentVolumeClaimSpec, Volume, VolumeProjection

Warnings = Iterator[str]

_OLD_LABELS: Final = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_OLD_ANNOTATIONS: Final = {
    "scheduler.alpha.kubernetes.io/critical-pod": ("v1.16", "priorityClassName"),
    "security.alpha.kubernetes.io/sysctls": ("v1.11", "sysctls"),
    "security.alpha.kubernetes.io/unsafe-sysctls": ("v1.11", "sysctls"),
}
_SECCOMP: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_OF: Final = "container.seccomp.security.alpha.kubernetes.io/"
_APP_ARMOR_OF: Final = "container.apparmor.security.beta.kubernetes.io/"
OLD_VOLUMES: Final = (
    ("photon_persistent_disk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("git_repo", "gitRepo", "deprecated in v1.11"),
    ("scale_io", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
"""Sources of volumes: the attribute, the name in messages, and what became of it."""
_NO_SELECTOR: Final = "a null labelSelector results in matching no pod"


class _HasMeta(Protocol):
    @property
    def metadata(self) -> ObjectMeta: ...


class _HasTemplate(_HasMeta, Protocol):
    @property
    def spec(self) -> Any: ...


def warn_of_pod(new: Pod, old: Pod | None) -> Warnings:
    """Warn who creates a pod; changes are made by programs, and often."""
    if old is not None:
        return
    wrong = _no_label(new.metadata.name)
    if wrong:
        yield (
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
            f"a DNS label is recommended: {wrong}"
        )
    yield from _warn("", new.metadata.annotations, new.spec, is_template=False)


def warn_of_workload(new: _HasTemplate, old: _HasTemplate | None) -> Warnings:
    """Warn of a workload with a pod template, whose name becomes part of its pods'."""
    if old is None:
        yield from warn_of_pods_name(new.metadata.name)
    yield from warn_of_template(new, old)


def warn_of_template(new: _HasTemplate, old: _HasTemplate | None) -> Warnings:
    """Warn of a workload with a pod template; of a change only if something was wished for."""
    if has_changed(new, old) and new.spec.template is not None:
        yield from warnings_of_template("spec.template", new.spec.template)


def warn_of_pods_name(name: str) -> Warnings:
    """Warn of a name that pods' host names begin with, and that is no DNS label."""
    wrong = _no_label(name)
    if wrong:
        yield (
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
            f"a DNS label is recommended: {wrong}"
        )


def has_changed(new: _HasMeta, old: _HasMeta | None) -> bool:
    """Whether an object is new, or its wishes are."""
    return old is None or new.metadata.generation != old.metadata.generation


def warnings_of_template(path: str, template: PodTemplateSpec) -> Warnings:
    """Return what there is to say of a template that stands at `path`."""
    return _warn(f"{path}.", template.metadata.annotations, template.spec, is_template=True)


def _no_label(name: str) -> str:
    """Return why a name is no DNS label, as Go prints a list; "" if it is one."""
    wrong = names.check_label(name)
    if wrong and not names.check_subdomain(name):
        wrong = [*wrong[:-1], "must not contain dots"] if "." in name else wrong
    return f"[{' '.join(wrong)}]" if wrong else ""


def _warn(path: str, annotations: Mapping[str, str], spec: PodSpec, *, is_template: bool) -> Warnings:
    yield from _warn_of_placement(f"{path}spec", spec)
    for key, (version, instead) in _OLD_ANNOTATIONS.items():
        if key in annotations:
            yield f'{path}metadata.annotations[{key}]: non-functional in {version}+; use the "{instead}" field instead'
    for i, volume in enumerate(spec.volumes):
        yield from warn_of_sources(f"{path}spec.volumes[{i}]", volume)
        if volume.ephemeral is not None and volume.ephemeral.volume_claim_template is not None:
            where = f"{path}spec.volumes[{i}].ephemeral.volumeClaimTemplate.spec"
            yield from warn_of_claim_spec(where, volume.ephemeral.volume_claim_template.spec)
    for volume in spec.volumes:
        yield from _warn_of_paths(volume)
    yield from _repeated(f"{path}spec.hostAliases", "ip", [each.ip for each in spec.host_aliases])
    yield from _repeated(f"{path}spec.imagePullSecrets", "name", [each.name for each in spec.image_pull_secrets])
    for i, secret in enumerate(spec.image_pull_secrets):
        if not secret.name:
            yield f'{path}spec.imagePullSecrets[{i}].name: invalid empty name ""'
    yield from _fractions(f"{path}spec.overhead", spec.overhead)
    security = spec.security_context
    if (security is None or security.seccomp_profile is None) and _SECCOMP in annotations:
        yield _of_seccomp(path, _SECCOMP)
    has_app_armor = security is not None and security.app_armor_profile is not None
    for where, container in containers_of(spec, f"{path}spec"):
        own = container.security_context
        if (own is None or own.seccomp_profile is None) and _SECCOMP_OF + container.name in annotations:
            yield _of_seccomp(path, _SECCOMP_OF + container.name)
        key = _APP_ARMOR_OF + container.name
        if (
            key in annotations
            and (own is None or own.app_armor_profile is None)
            and not (is_template and has_app_armor)
        ):
            yield f'{path}metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        yield from _warn_of_resources(f"{where}.resources", container.resources)
        yield from _warn_of_variables(f"{where}.env", container.env)
    yield from _warn_of_ports(spec, f"{path}spec")
    if (spec.termination_grace_period_seconds or 0) < 0:
        where = f"{path}spec.terminationGracePeriodSeconds"
        yield f"{where}: must be >= 0; negative values are invalid and will be treated as 1"
    if spec.affinity is not None:
        yield from _warn_of_company(f"{path}spec.affinity", spec.affinity)


def _of_seccomp(path: str, key: str) -> str:
    return f'{path}metadata.annotations[{key}]: non-functional in v1.27+; use the "seccompProfile" field instead'


# --- where pods are placed ------------------------------------------------------------------------------------------


def old_label(key: str) -> str:
    """Return what became of a label of nodes, "" if it is still used."""
    if key not in _OLD_LABELS:
        return ""
    version, instead = _OLD_LABELS[key]
    return f'deprecated since {version}; use "{instead}" instead'


def warn_of_node_terms(path: str, selector: NodeSelector | None) -> Warnings:
    """Warn of old labels in a selector of nodes, whose terms are at `path`."""
    for i, term in enumerate(selector.node_selector_terms if selector is not None else ()):
        yield from _warn_of_term(f"{path}[{i}]", term)


def _warn_of_term(path: str, term: NodeSelectorTerm, *, checks_values: bool = False) -> Warnings:
    for i, expression in enumerate(term.match_expressions):
        told = old_label(expression.key)
        if told:
            yield f"{path}.matchExpressions[{i}].key: {expression.key} is {told}"
        for j, value in enumerate(expression.values if checks_values else ()):
            for wrong in names.check_label_value(value):
                yield f"{path}.matchExpressions[{i}].values[{j}]: {value} is {wrong}"


def _warn_of_placement(path: str, spec: PodSpec) -> Warnings:
    for key in sorted(spec.node_selector):
        if old_label(key):
            yield f"{path}.nodeSelector[{key}]: {old_label(key)}"
    nodes = spec.affinity.node_affinity if spec.affinity is not None else None
    if nodes is not None:
        must, rather = (
            "requiredDuringSchedulingIgnoredDuringExecution",
            "preferredDuringSchedulingIgnoredDuringExecution",
        )
        where = f"{path}.affinity.nodeAffinity"
        required = nodes.required_during_scheduling_ignored_during_execution
        yield from warn_of_node_terms(f"{where}.{must}.nodeSelectorTerms", required)
        for i, each in enumerate(nodes.preferred_during_scheduling_ignored_during_execution):
            yield from _warn_of_term(f"{where}.{rather}[{i}].preference", each.preference, checks_values=True)
    for i, spread in enumerate(spec.topology_spread_constraints):
        where = f"{path}.topologySpreadConstraints[{i}]"
        if old_label(spread.topology_key):
            yield f"{where}.topologyKey: {spread.topology_key} is {old_label(spread.topology_key)}"
        if spread.label_selector is None:
            yield f"{where}.labelSelector: {_NO_SELECTOR}"


def _warn_of_company(path: str, affinity: Affinity) -> Warnings:
    for name, company in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        if company is None:
            continue
        must = company.required_during_scheduling_ignored_during_execution
        rather = [each.pod_affinity_term for each in company.preferred_during_scheduling_ignored_during_execution]
        where = f"{path}.{name}.requiredDuringSchedulingIgnoredDuringExecution"
        yield from _no_selectors(where, must, "labelSelector")
        where = f"{path}.{name}.preferredDuringSchedulingIgnoredDuringExecution"
        yield from _no_selectors(where, rather, "podAffinityTerm.labelSelector")


def _no_selectors(path: str, terms: Iterable[PodAffinityTerm], field: str) -> Warnings:
    for i, term in enumerate(terms):
        if term.label_selector is None:
            yield f"{path}[{i}].{field}: {_NO_SELECTOR}"


# --- volumes --------------------------------------------------------------------------------------------------------


def warn_of_sources(path: str, volume: Any) -> Warnings:
    """Warn of sources that nobody mounts any more: of a pod's volume, or of a PersistentVolume's spec."""
    for attribute, name, told in OLD_VOLUMES:
        if getattr(volume, attribute, None) is not None:
            yield f"{path}.{name}: {told}"


def warn_of_claim_spec(path: str, spec: PersistentVolumeClaimSpec) -> Warnings:
    """Warn of parts of bytes that a claim asks for."""
    for field, amounts in (("requests", spec.resources.requests), ("limits", spec.resources.limits)):
        yield from _fraction(f"{path}.resources.{field}[storage]", amounts.get("storage"))


def _warn_of_paths(volume: Volume) -> Warnings:
    """Warn of files of one volume of which one would be in the place of another."""
    name = show(volume.name)
    if volume.config_map is not None:
        yield from _overlaps(
            _paths(volume.config_map.items), f"volume {name} (ConfigMap {show(volume.config_map.name)})"
        )
    if volume.secret is not None:
        yield from _overlaps(_paths(volume.secret.items), f"volume {name} (Secret {show(volume.secret.secret_name)})")
    if volume.downward_api is not None:
        yield from _overlaps([each.path for each in volume.downward_api.items], f"volume {name} (DownwardAPI)")
    seen: set[str] = set()
    for source in volume.projected.sources if volume.projected is not None else ():
        paths, what = _projected(source)
        if not what:
            yield f"volume {name} (Projected) has no sources provided"
        where = f"volume {name} (Projected {what})"
        yield from _overlaps(paths, where)
        if paths:
            yield from _overlaps(sorted([*set(paths), *seen]), where)
        seen |= set(paths)


def _projected(source: VolumeProjection) -> tuple[list[str], str]:
    """Return the paths of a source, and how it is told; no words if there is none."""
    if source.config_map is not None:
        return _paths(source.config_map.items), f"ConfigMap {show(source.config_map.name)}"
    if source.secret is not None:
        return _paths(source.secret.items), f"Secret {show(source.secret.name)}"
    if source.downward_api is not None:
        return [each.path for each in source.downward_api.items], "DownwardAPI"
    if source.service_account_token is not None:
        return [source.service_account_token.path], "ServiceAccountToken"
    bundle = source.cluster_trust_bundle
    if bundle is not None:
        return [bundle.path], f"ClusterTrustBundle {show(bundle.name or bundle.signer_name or '')}"
    return [], ""


def _paths(items: Iterable[KeyToPath]) -> list[str]:
    return [each.path for each in items]


def _overlaps(paths: Sequence[str], where: str) -> Warnings:
    seen: set[str] = set()
    for path in (each.rstrip("/") for each in paths):
        for other in sorted(seen):
            if path and other and (f"{other}/".startswith(path) or f"{path}/".startswith(other)):
                yield f"{where}: overlapping paths: {show(path)} with {show(other)}"
                break
        seen.add(path)


# --- containers -----------------------------------------------------------------------------------------------------


def _warn_of_resources(path: str, resources: ResourceRequirements) -> Warnings:
    for name in ("memory", "ephemeral-storage"):
        yield from _fraction(f"{path}.limits[{name}]", resources.limits.get(name))
        yield from _fraction(f"{path}.requests[{name}]", resources.requests.get(name))


def _fractions(path: str, amounts: Mapping[str, str] | None) -> Warnings:
    for name in ("memory", "ephemeral-storage"):
        yield from _fraction(f"{path}[{name}]", (amounts or {}).get(name))


def _fraction(path: str, amount: str | None) -> Warnings:
    if amount is not None and quantity.millis(amount) % 1000:
        yield f"{path}: fractional byte value {show(str(quantity.parse(amount)))} is invalid, must be an integer"


def _warn_of_variables(path: str, variables: Sequence[EnvVar]) -> Warnings:
    """Warn of variables said twice, unless the later one is made of the earlier."""
    seen: set[str] = set()
    for i, each in enumerate(variables):
        earlier = f"$({each.name})"
        is_made_of = each.value_from is None and earlier in each.value and each.value != earlier
        if each.name in seen and not is_made_of:
            what = f"hides previous definition of {show(each.name)}, which may be dropped when using apply"
            yield f"{path}[{i}]: {what}"
        seen.add(each.name)


def _warn_of_ports(spec: PodSpec, path: str) -> Warnings:
    """Warn of ports said twice, in whichever containers, and of addresses of the node without a port of it."""
    seen: dict[tuple[int, str], list[tuple[str, ContainerPort]]] = {}
    for container_path, container in containers_of(spec, path):
        for i, port in enumerate(container.ports):
            where = f"{container_path}.ports[{i}]"
            if port.host_ip and not port.host_port:
                yield (
                    f"{where}: hostIP set without hostPort: {{Name:{port.name} HostPort:0 "
                    f"ContainerPort:{port.container_port} Protocol:{port.protocol} HostIP:{port.host_ip}}}"
                )
            others = seen.setdefault((port.container_port, port.protocol), [])
            for other_path, other in others:
                how = _clash(port, other)
                if how:
                    yield f"{where}: {how} port definition with {other_path}"
            others.append((where, port))


def _clash(one: ContainerPort, other: ContainerPort) -> str:
    if (one.host_ip, one.host_port) == (other.host_ip, other.host_port):
        return "duplicate"
    if not one.host_port or not other.host_port:
        return "overlapping"
    if one.host_port == other.host_port and bool(one.host_ip) != bool(other.host_ip):
        return "dangerously ambiguous"
    return ""


def _repeated(path: str, field: str, values: Sequence[str]) -> Warnings:
    for i, value in enumerate(values):
        if value in values[:i]:
            yield f"{path}[{i}].{field}: duplicate {field} {show(value)}"

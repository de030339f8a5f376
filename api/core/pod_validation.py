"""What a pod may be, and what an update may change of it.

A pod is nearly immutable: containers' images, a few deadlines and more tolerations are all that an update may bring.
Rules of containers and of volumes have files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from api import names
from api import validation as v
from api.core.container_validation import check_containers, check_resources
from api.core.containers import ResourceRequirements
from api.core.ip_addresses import check_ip
from api.core.pod_difference import difference
from api.core.references import NodeSelector, NodeSelectorTerm
from api.core.security_context import AppArmorProfile, SeccompProfile
from api.core.security_validation import (
    check_app_armor,
    check_host_process,
    check_id,
    check_os,
    check_seccomp,
    check_windows_options,
    containers_of,
)
from api.core.source_validation import check_descending_path
from api.core.static_pods import MIRROR
from api.core.sysctls import check_sysctls, namespace_of
from api.core.volume_validation import check_volumes
from api.meta import LabelSelector

if TYPE_CHECKING:
    from api.core.placement import Affinity, PodAffinityTerm, Toleration, TopologySpreadConstraint
    from api.core.pod import Pod, PodSpec, PodTemplateSpec

_INT32_MAX: Final = 2**31 - 1
_UPDATABLE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
"""Of taints, in the order in which messages tell them."""


def validate_pod(new: Pod, old: Pod | None) -> v.Errors:
    """Check a pod, and as an update of `old` if there is one; a spec that is as it was is not looked at again."""
    if old is None or new.spec != old.spec or new.metadata.annotations != old.metadata.annotations:
        yield from _check_annotations("metadata.annotations", new.metadata.annotations, new.spec)
    yield from _check_mirror(new, old)
    if old is not None:
        if new.spec != old.spec:
            yield from check_spec("spec", new.spec, is_pod=True, pod_name=new.metadata.name)
            yield from _check_tokens(new.spec)
            yield from _check_update(new.spec, old.spec)
        return
    yield from check_spec("spec", new.spec, is_pod=True, pod_name=new.metadata.name)
    yield from _check_tokens(new.spec)
    if new.spec.ephemeral_containers:
        yield v.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if new.spec.node_name and new.spec.scheduling_gates:
        yield v.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
    yield from _check_profiles_match("spec", new.metadata.annotations, new.spec)


def _check_tokens(spec: PodSpec) -> v.Errors:
    """Check that there is an account to have tokens of."""
    if spec.service_account_name:
        return
    for i, volume in enumerate(spec.volumes):
        for j, source in enumerate(volume.projected.sources if volume.projected is not None else ()):
            if source.service_account_token is not None:
                where = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                yield v.forbidden(where, "must not be specified when serviceAccountName is not set")


_DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_COST: Final = re.compile("0|-?[1-9][0-9]*")
_SECCOMP_POD: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST: Final = "localhost/"


def _check_annotations(path: str, annotations: Mapping[str, str], spec: PodSpec) -> v.Errors:
    """Check annotations that mean something to us: a cost, and profiles from before these had fields."""
    containers = {container.name for _, container in containers_of(spec, "")}
    for key, value in annotations.items():
        if key == _DELETION_COST:
            if not _COST.fullmatch(value) or not -(2**31) <= int(value) <= _INT32_MAX:
                yield v.invalid(f"{path}[{key}]", value, "must be a 32bit integer")
        elif key == _SECCOMP_POD or key.startswith(_SECCOMP_CONTAINER):
            if value.startswith(_LOCALHOST):
                yield from check_descending_path(f"{path}.{key}", value.removeprefix(_LOCALHOST))
            elif value not in ("runtime/default", "docker/default", "unconfined"):
                yield v.invalid(f"{path}.{key}", value, "must be a valid seccomp profile")
        elif key.startswith(_APP_ARMOR):
            where, name = f"{path}[{key}]", key.removeprefix(_APP_ARMOR)
            if name not in containers:
                yield v.invalid(where, name, "container not found")
            if value not in ("", "runtime/default", "unconfined") and not value.startswith(_LOCALHOST):
                yield v.invalid(where, value, f"invalid AppArmor profile name: {v.show(value)}")


def _check_profiles_match(path: str, annotations: Mapping[str, str], spec: PodSpec) -> v.Errors:
    """Require that annotations, where there still are any, say the same as the fields."""
    context = spec.security_context
    if context is not None and _SECCOMP_POD in annotations:
        where = f"{path}.securityContext.seccompProfile"
        yield from _check_same(where, "seccomp", annotations[_SECCOMP_POD], context.seccomp_profile)
    is_windows = spec.os is not None and spec.os.name == "windows"
    for where, container in containers_of(spec, path):
        own = container.security_context
        told = annotations.get(f"{_SECCOMP_CONTAINER}{container.name}")
        if told is not None and own is not None:
            yield from _check_same(f"{where}.securityContext.seccompProfile", "seccomp", told, own.seccomp_profile)
        told = annotations.get(f"{_APP_ARMOR}{container.name}")
        profile = (own.app_armor_profile if own else None) or (context.app_armor_profile if context else None)
        if told is not None and not is_windows:
            yield from _check_same(f"{where}.securityContext.appArmorProfile", "apparmor", told, profile)


def _check_same(path: str, what: str, told: str, profile: SeccompProfile | AppArmorProfile | None) -> v.Errors:
    if profile is None:
        return
    is_same = {
        "Unconfined": told == "unconfined",
        "RuntimeDefault": told == "runtime/default" or (what == "seccomp" and told == "docker/default"),
        "Localhost": told.startswith(_LOCALHOST),
    }
    if not is_same.get(profile.type, True):
        yield v.forbidden(f"{path}.type", f"{what} type in annotation and field must match")
    elif profile.type == "Localhost" and told.removeprefix(_LOCALHOST) != profile.localhost_profile:
        yield v.forbidden(f"{path}.localhostProfile", f"{what} profile in annotation and field must match")


def _check_mirror(new: Pod, old: Pod | None) -> v.Errors:
    """Check that only a pod with a node is called a mirror, and that what a pod mirrors never changes."""
    path, value = f"metadata.annotations[{MIRROR}]", new.metadata.annotations.get(MIRROR)
    if value is not None and not new.spec.node_name:
        yield v.invalid(path, value, "must set spec.nodeName if mirror pod annotation is set")
    before = old.metadata.annotations.get(MIRROR) if old is not None else value
    if value != before:
        yield v.forbidden(path, f"may not {'add' if before is None else 'remove or update'} mirror pod annotation")
    yield from _check_app_armor_kept(new, old)


def _check_app_armor_kept(new: Pod, old: Pod | None) -> v.Errors:
    """Check that annotations from before AppArmor had fields stay as they are."""
    if old is None:
        return
    before, now = old.metadata.annotations, new.metadata.annotations
    for key in sorted({*before, *now}):
        if key.startswith(_APP_ARMOR) and before.get(key) != now.get(key):
            what = "remove or update" if key in before else "add"
            yield v.forbidden(f"metadata.annotations[{key}]", f"may not {what} AppArmor annotations")


def check_template(path: str, template: PodTemplateSpec) -> v.Errors:
    """Check the template of a workload."""
    yield from _check_labelled(path, template)
    yield from check_spec(f"{path}.spec", template.spec, is_pod=False)
    yield from _check_profiles_match(f"{path}.spec", template.metadata.annotations, template.spec)
    if template.spec.ephemeral_containers:
        yield v.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def _check_labelled(path: str, template: PodTemplateSpec) -> v.Errors:
    yield from v.check_labels(f"{path}.labels", template.metadata.labels)
    yield from v.check_annotations(f"{path}.annotations", template.metadata.annotations)
    yield from _check_annotations(f"{path}.annotations", template.metadata.annotations, template.spec)


def check_workload_template(path: str, template: PodTemplateSpec, *, matches: bool, kind: str) -> v.Errors:
    """Check the template of what keeps pods running for ever: it must be selected, and always be restarted.

    Of a StatefulSet's no more is checked than that: what its claims add to a pod is not there yet, and upstream leaves
    it to the pods.
    """
    if not matches:
        yield v.invalid(
            f"{path}.metadata.labels", template.metadata.labels, "`selector` does not match template `labels`"
        )
    if kind == "StatefulSet":
        yield from _check_labelled(path, template)
    else:
        yield from check_template(path, template)
    if template.spec.restart_policy != "Always":
        yield v.not_supported(f"{path}.spec.restartPolicy", template.spec.restart_policy, ("Always",))
    if template.spec.active_deadline_seconds is not None:
        yield v.forbidden(f"{path}.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")


def check_spec(path: str, spec: PodSpec, *, is_pod: bool, pod_name: str = "") -> v.Errors:
    """Check a pod's spec. Only a pod, not a template, has its host ports defaulted, and a name."""
    volumes, wrong = check_volumes(f"{path}.volumes", spec.volumes, pod_name)
    yield from wrong
    yield from check_containers(path, spec, volumes, is_pod=is_pod)
    restarts = ("Always", "OnFailure", "Never")
    yield from v.check_supported(f"{path}.restartPolicy", spec.restart_policy, restarts, in_order=True)
    policies = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    yield from v.check_supported(f"{path}.dnsPolicy", spec.dns_policy, policies, in_order=True)
    yield from v.check_labels(f"{path}.nodeSelector", spec.node_selector)
    yield from _check_security(path, spec)
    if spec.affinity is not None:
        yield from _check_affinity(f"{path}.affinity", spec.affinity)
    yield from _check_dns(f"{path}.dnsConfig", spec)
    for i, gate in enumerate(spec.readiness_gates):
        for message in names.check_qualified_name(gate.condition_type):
            yield v.invalid(f"{path}.readinessGates[{i}].conditionType", gate.condition_type, message)
    seen: set[str] = set()
    for i, hold in enumerate(spec.scheduling_gates):
        where = f"{path}.schedulingGates[{i}]"
        for message in names.check_qualified_name(hold.name):
            yield v.invalid(where, hold.name, message)
        if hold.name in seen:
            yield v.duplicate(where, hold.name)
        seen.add(hold.name)
    yield from _check_spread(f"{path}.topologySpreadConstraints", spec.topology_spread_constraints)
    yield from check_host_process(path, spec)
    yield from _check_names(path, spec)
    deadline = spec.active_deadline_seconds
    if deadline is not None and not 1 <= deadline <= _INT32_MAX:
        yield v.invalid(f"{path}.activeDeadlineSeconds", deadline, f"must be between 1 and {_INT32_MAX}, inclusive")
    yield from check_tolerations(f"{path}.tolerations", spec.tolerations)
    yield from _check_host_aliases(path, spec)
    if spec.preemption_policy is not None:
        yield from v.check_given(f"{path}.preemptionPolicy", spec.preemption_policy, ("PreemptLowerPriority", "Never"))
    yield from check_resources(f"{path}.overhead", ResourceRequirements(limits=spec.overhead))
    yield from check_os(path, spec)


# --- parts ----------------------------------------------------------------------------------------------------------


def _check_dns(path: str, spec: PodSpec) -> v.Errors:
    config = spec.dns_config
    if spec.dns_policy == "None":
        if config is None:
            yield v.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.nameservers:
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield v.required(f"{path}.nameservers", why)
            return
    if config is None:
        return
    if len(config.nameservers) > 3:
        yield v.invalid(f"{path}.nameservers", config.nameservers, "must not have more than 3 nameservers")
    for i, server in enumerate(config.nameservers):
        yield from check_ip(f"{path}.nameservers[{i}]", server)
    where = f"{path}.searches"
    if len(config.searches) > 32:
        yield v.invalid(where, config.searches, "must not have more than 32 search paths")
    if len(" ".join(config.searches)) > _SEARCHES_LENGTH_MAX:
        why = f"must not have more than {_SEARCHES_LENGTH_MAX} characters (including spaces) in the search list"
        yield v.invalid(where, config.searches, why)
    for i, domain in enumerate(config.searches):
        domain = domain.removesuffix(".")
        for message in names.check_subdomain(domain):
            yield v.invalid(f"{where}[{i}]", domain, message)
    for i, option in enumerate(config.options):
        if not option.name:
            yield v.required(f"{path}.options[{i}]", "must not be empty")


_SEARCHES_LENGTH_MAX: Final = 2048


def _check_names(path: str, spec: PodSpec) -> v.Errors:
    for field, value, check in (
        ("serviceAccountName", spec.service_account_name or None, names.check_subdomain),
        ("nodeName", spec.node_name or None, names.check_subdomain),
        ("hostname", spec.hostname or None, names.check_label),
        ("subdomain", spec.subdomain or None, names.check_label),
        ("priorityClassName", spec.priority_class_name or None, names.check_subdomain),
        ("runtimeClassName", spec.runtime_class_name, names.check_subdomain),
    ):
        if value is not None:
            for message in check(value):
                yield v.invalid(f"{path}.{field}", value, message)


def check_tolerations(path: str, tolerations: Sequence[Toleration]) -> v.Errors:
    """Check what taints a pod tolerates."""
    for i, toleration in enumerate(tolerations):
        where = f"{path}[{i}]"
        if toleration.key:
            for message in names.check_qualified_name(toleration.key):
                yield v.invalid(f"{where}.key", toleration.key, message)
        elif toleration.operator != "Exists":
            yield v.invalid(
                f"{where}.operator",
                toleration.operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
            yield v.invalid(
                f"{where}.effect", toleration.effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"
            )
        match toleration.operator:
            case "" | "Equal":
                wrong = names.check_label_value(toleration.value)
                if wrong:
                    yield v.invalid(f"{where}.operator", toleration.value, ";".join(wrong))
            case "Exists":
                if toleration.value:
                    yield v.invalid(
                        f"{where}.operator", toleration.value, "value must be empty when `operator` is 'Exists'"
                    )
            case other:
                yield v.not_supported(f"{where}.operator", other, ("Equal", "Exists"))
        if toleration.effect:
            yield from v.check_supported(f"{where}.effect", toleration.effect, EFFECTS, in_order=True)


def _check_security(path: str, spec: PodSpec) -> v.Errors:
    context, where = spec.security_context, f"{path}.securityContext"
    if spec.share_process_namespace and spec.host_pid:
        yield v.invalid(
            f"{where}.shareProcessNamespace", True, "ShareProcessNamespace and HostPID cannot both be enabled"
        )
    if context is None:
        return
    for field, number in (
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
        ("fsGroup", context.fs_group),
    ):
        yield from check_id(f"{where}.{field}", number)
    for i, group in enumerate(context.supplemental_groups):
        yield from check_id(f"{where}.supplementalGroups[{i}]", group)
    yield from check_sysctls(f"{where}.sysctls", context)
    for i, sysctl in enumerate(context.sysctls):
        of = namespace_of(sysctl.name)
        for namespace, is_hosts, field in (("net", spec.host_network, "Network"), ("ipc", spec.host_ipc, "IPC")):
            if of == namespace and is_hosts:
                why = f"may not be specified when 'host{field}' is true"
                yield v.invalid(f"{where}.sysctls[{i}].name", sysctl.name, why)
    if context.fs_group_change_policy is not None:
        policies = ("OnRootMismatch", "Always")
        if context.fs_group_change_policy not in policies:
            yield v.not_supported(f"{where}.fsGroupChangePolicy", context.fs_group_change_policy, policies)
    yield from check_seccomp(f"{where}.seccompProfile", context.seccomp_profile)
    yield from check_windows_options(f"{where}.windowsOptions", context.windows_options)
    yield from check_app_armor(f"{where}.appArmorProfile", context.app_armor_profile)


def _check_host_aliases(path: str, spec: PodSpec) -> v.Errors:
    for i, alias in enumerate(spec.host_aliases):
        yield from check_ip(f"{path}.hostAliases[{i}].ip", alias.ip)
        for j, hostname in enumerate(alias.hostnames):
            for message in names.check_subdomain(hostname):
                yield v.invalid(f"{path}.hostAliases[{i}].hostnames[{j}]", hostname, message)


# --- affinity and spreading -----------------------------------------------------------------------------------------


def _check_affinity(path: str, affinity: Affinity) -> v.Errors:
    required, preferred = (
        "requiredDuringSchedulingIgnoredDuringExecution",
        "preferredDuringSchedulingIgnoredDuringExecution",
    )
    if affinity.node_affinity is not None:
        node, where = affinity.node_affinity, f"{path}.nodeAffinity"
        if node.required_during_scheduling_ignored_during_execution is not None:
            yield from check_node_selector(
                f"{where}.{required}", node.required_during_scheduling_ignored_during_execution
            )
        for i, term in enumerate(node.preferred_during_scheduling_ignored_during_execution):
            yield from _check_weight(f"{where}.{preferred}[{i}].weight", term.weight)
            yield from _check_node_term(f"{where}.{preferred}[{i}].preference", term.preference)
    for field, pods in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        if pods is None:
            continue
        where = f"{path}.{field}"
        for i, pod_term in enumerate(pods.required_during_scheduling_ignored_during_execution):
            yield from _check_pod_term(f"{where}.{required}[{i}]", pod_term)
        for i, weighted in enumerate(pods.preferred_during_scheduling_ignored_during_execution):
            yield from _check_weight(f"{where}.{preferred}[{i}].weight", weighted.weight)
            yield from _check_pod_term(f"{where}.{preferred}[{i}].podAffinityTerm", weighted.pod_affinity_term)


def _check_weight(path: str, weight: int) -> v.Errors:
    if not 1 <= weight <= 100:
        yield v.invalid(path, weight, "must be in the range 1-100")


def check_node_selector(path: str, selector: NodeSelector) -> v.Errors:
    """Check a selector of nodes, of which one term must match."""
    if not selector.node_selector_terms:
        yield v.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for i, term in enumerate(selector.node_selector_terms):
        yield from _check_node_term(f"{path}.nodeSelectorTerms[{i}]", term)


def _check_node_term(path: str, term: NodeSelectorTerm) -> v.Errors:
    for i, requirement in enumerate(term.match_expressions):
        where = f"{path}.matchExpressions[{i}]"
        match requirement.operator:
            case "In" | "NotIn":
                if not requirement.values:
                    yield v.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'")
            case "Exists" | "DoesNotExist":
                if requirement.values:
                    yield v.forbidden(
                        f"{where}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    )
            case "Gt" | "Lt":
                if len(requirement.values) != 1:
                    yield v.required(
                        f"{where}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
                    )
            case other:
                yield v.invalid(f"{where}.operator", other, "not a valid selector operator")
        for message in names.check_qualified_name(requirement.key):
            yield v.invalid(f"{where}.key", requirement.key, message)
    for i, requirement in enumerate(term.match_fields):
        where = f"{path}.matchFields[{i}]"
        if requirement.operator not in ("In", "NotIn"):
            yield v.invalid(f"{where}.operator", requirement.operator, "not a valid selector operator")
        elif len(requirement.values) != 1:
            yield v.required(
                f"{where}.values",
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            )
        if requirement.key != "metadata.name":
            yield v.invalid(f"{where}.key", requirement.key, "not a valid field selector key")
        else:
            for j, value in enumerate(requirement.values):
                for message in names.check_subdomain(value):
                    yield v.invalid(f"{where}.values[{j}]", value, message)


def _check_pod_term(path: str, term: PodAffinityTerm) -> v.Errors:
    yield from v.check_label_selector(f"{path}.labelSelector", term.label_selector)
    yield from v.check_label_selector(f"{path}.namespaceSelector", term.namespace_selector)
    for namespace in term.namespaces:
        for message in names.check_label(namespace):
            yield v.invalid(f"{path}.namespace", namespace, message)
    for field, keys in (("matchLabelKeys", term.match_label_keys), ("mismatchLabelKeys", term.mismatch_label_keys)):
        yield from _check_label_keys(f"{path}.{field}", keys, term.label_selector)
    if term.label_selector is not None:
        # Each key was written into the selector once when the pod was made (`placement.select_by_label_keys`).
        seen = set(term.label_selector.match_labels)
        for expression in term.label_selector.match_expressions:
            if expression.key in seen and expression.key in term.match_label_keys:
                where = f"{path}.matchLabelKeys[{term.match_label_keys.index(expression.key)}]"
                yield v.invalid(where, expression.key, "exists in both matchLabelKeys and labelSelector")
            seen.add(expression.key)
    for i, key in enumerate(term.match_label_keys):
        if key in term.mismatch_label_keys:
            yield v.invalid(f"{path}.matchLabelKeys[{i}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")
    if not term.topology_key:
        yield v.required(f"{path}.topologyKey", "can not be empty")
    for message in names.check_qualified_name(term.topology_key):
        yield v.invalid(f"{path}.topologyKey", term.topology_key, message)


def _check_label_keys(path: str, keys: Sequence[str], selector: LabelSelector | None) -> v.Errors:
    if not keys:
        return
    if selector is None:
        yield v.forbidden(path, "must not be specified when labelSelector is not set")
        return
    for i, key in enumerate(keys):
        for message in names.check_qualified_name(key):
            yield v.invalid(f"{path}[{i}]", key, message)


def _check_spread(path: str, constraints: Sequence[TopologySpreadConstraint]) -> v.Errors:
    pairs = [(each.topology_key, each.when_unsatisfiable) for each in constraints]
    for i, constraint in enumerate(constraints):
        where = f"{path}[{i}]"
        if constraint.max_skew <= 0:
            yield v.invalid(f"{where}.maxSkew", constraint.max_skew, "must be greater than zero")
        if not constraint.topology_key:
            yield v.required(f"{where}.topologyKey", "can not be empty")
        action = constraint.when_unsatisfiable
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            yield v.not_supported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        if pairs[i] in pairs[i + 1 :]:
            yield v.duplicate(f"{where}.{{topologyKey, whenUnsatisfiable}}", f"{{{pairs[i][0]}, {pairs[i][1]}}}")
        if constraint.min_domains is not None:
            if constraint.min_domains <= 0:
                yield v.invalid(f"{where}.minDomains", constraint.min_domains, "must be greater than zero")
            if action != "DoNotSchedule":
                why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                yield v.invalid(f"{where}.minDomains", constraint.min_domains, why)
        for field, policy in (
            ("nodeAffinityPolicy", constraint.node_affinity_policy),
            ("nodeTaintsPolicy", constraint.node_taints_policy),
        ):
            if policy is not None and policy not in ("Honor", "Ignore"):
                yield v.not_supported(f"{where}.{field}", policy, ("Honor", "Ignore"))
        selector = constraint.label_selector
        yield from _check_label_keys(f"{where}.matchLabelKeys", constraint.match_label_keys, selector)
        if selector is not None:
            selected = {*selector.match_labels, *(expression.key for expression in selector.match_expressions)}
            for j, key in enumerate(constraint.match_label_keys):
                if key in selected:
                    why = "exists in both matchLabelKeys and labelSelector"
                    yield v.invalid(f"{where}.matchLabelKeys[{j}]", key, why)
        yield from v.check_label_selector(f"{where}.labelSelector", selector)


# --- updates --------------------------------------------------------------------------------------------------------


def _check_update(new: PodSpec, old: PodSpec) -> v.Errors:
    for field, now, before in (
        ("containers", new.containers, old.containers),
        ("initContainers", new.init_containers, old.init_containers),
    ):
        if len(now) != len(before):
            yield v.forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
        for i, container in enumerate(now):
            yield from _check_new_image(f"spec.{field}[{i}].image", container.image)
    wrong = list(_check_deadline_update(new.active_deadline_seconds, old.active_deadline_seconds))
    yield from wrong
    if wrong and new.active_deadline_seconds is not None:
        return
    lasting = [msgspec.structs.replace(toleration, toleration_seconds=None) for toleration in new.tolerations]
    if any(msgspec.structs.replace(each, toleration_seconds=None) not in lasting for each in old.tolerations):
        yield v.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    else:
        yield from check_tolerations("spec.tolerations", new.tolerations)  # Once more, as upstream does.
    gates = {gate.name for gate in old.scheduling_gates}
    for i, gate in enumerate(new.scheduling_gates):
        if gate.name not in gates:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            yield v.forbidden(f"spec.schedulingGates[{i}].name", why)
    if old.scheduling_gates:
        yield from _check_gated_update(new, old)
    changed = difference(old, _with_what_may_change(new, old))
    if changed:
        yield v.forbidden("spec", f"{_UPDATABLE}\n{changed}\n")


def _check_new_image(path: str, image: str) -> v.Errors:
    """Check what an update may bring, for itself: upstream tells of it twice."""
    if not image:
        yield v.required(path)
    if image != image.strip():
        yield v.invalid(path, image, "must not have leading or trailing whitespace")


def _check_deadline_update(new: int | None, old: int | None) -> v.Errors:
    path = "spec.activeDeadlineSeconds"
    if new is not None:
        if not 0 <= new <= _INT32_MAX:
            yield v.invalid(path, new, f"must be between 0 and {_INT32_MAX}, inclusive")
        elif old is not None and new > old:
            yield v.invalid(path, new, "must be less than or equal to previous value")
    elif old is not None:
        yield v.invalid(path, new, "must not update from a positive integer to nil value")


def _check_gated_update(new: PodSpec, old: PodSpec) -> v.Errors:
    """Check what may still be said of the nodes for a pod that waits for its gates: only more (KEP-3838)."""
    if not old.node_selector.items() <= new.node_selector.items():
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield v.invalid("spec.nodeSelector", new.node_selector, why)
    had, has = _required_terms(old.affinity), _required_terms(new.affinity)
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    if had and len(had) != len(has):
        yield v.invalid(path, has, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
    elif had:
        for i, (term, before) in enumerate(zip(has, had, strict=True)):
            if not _only_adds(term, before):
                yield v.invalid(f"{path}[{i}]", term, "only additions are allowed (no mutations or deletions)")


def _required_terms(affinity: Affinity | None) -> Sequence[NodeSelectorTerm]:
    of_nodes = affinity.node_affinity if affinity is not None else None
    selector = of_nodes.required_during_scheduling_ignored_during_execution if of_nodes is not None else None
    return selector.node_selector_terms if selector is not None else ()


def _only_adds(new: NodeSelectorTerm, old: NodeSelectorTerm) -> bool:
    """Return whether a term is as before, with more at the end; one that matched nothing stays so."""
    if not old.match_expressions and not old.match_fields:
        return not new.match_expressions and not new.match_fields
    return (
        new.match_expressions[: len(old.match_expressions)] == old.match_expressions
        and new.match_fields[: len(old.match_fields)] == old.match_fields
    )


_FREE = ("active_deadline_seconds", "tolerations", "scheduling_gates")


def _with_what_may_change(new: PodSpec, old: PodSpec) -> PodSpec:
    """Return the new spec with all that an update may change as it was."""
    kept = {name: getattr(old, name) for name in _FREE}
    for name in ("containers", "init_containers"):
        pairs = zip(getattr(new, name), getattr(old, name), strict=True)
        kept[name] = [msgspec.structs.replace(container, image=before.image) for container, before in pairs]
    grace_s = old.termination_grace_period_seconds
    if new.termination_grace_period_seconds == 1 and grace_s is not None and grace_s < 0:
        kept["termination_grace_period_seconds"] = grace_s
    if old.scheduling_gates:
        kept["node_selector"] = old.node_selector
        if _among_pods(new.affinity, old.affinity):
            kept["affinity"] = old.affinity
    return msgspec.structs.replace(new, **kept)


def _among_pods(new: Affinity | None, old: Affinity | None) -> bool:
    """Return whether two affinities say the same of other pods."""
    parts = [(each.pod_affinity, each.pod_anti_affinity) if each is not None else (None, None) for each in (new, old)]
    return parts[0] == parts[1]

"""What a pod may be, and what an update may change of it.

A pod is nearly immutable: containers' images, a few deadlines and more tolerations are all that an update may bring.
Rules of containers and of volumes have files of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from api import names
from api import validation as v
from api.core.container_validation import check_containers
from api.core.ip_addresses import check_ip
from api.core.references import NodeSelector, NodeSelectorTerm
from api.core.static_pods import MIRROR
from api.core.sysctls import check_sysctls
from api.core.volume_validation import check_volumes

if TYPE_CHECKING:
    from api.core.placement import Affinity, PodAffinityTerm, Toleration, TopologySpreadConstraint
    from api.core.pod import Pod, PodSpec, PodTemplateSpec

_INT32_MAX: Final = 2**31 - 1
_UPDATABLE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate_pod(new: Pod, old: Pod | None) -> v.Errors:
    """Check a pod, and as an update of `old` if there is one."""
    yield from _check_mirror(new, old)
    if old is None:
        yield from check_spec("spec", new.spec, is_pod=True)
        if new.spec.ephemeral_containers:
            yield v.forbidden("spec.ephemeralContainers", "cannot be set on create")
        return
    yield from _check_update(new.spec, old.spec)


def _check_mirror(new: Pod, old: Pod | None) -> v.Errors:
    """Check that only a pod with a node is called a mirror, and that what a pod mirrors never changes."""
    path, value = f"metadata.annotations[{MIRROR}]", new.metadata.annotations.get(MIRROR)
    if value is not None and not new.spec.node_name:
        yield v.invalid(path, value, "must set spec.nodeName if mirror pod annotation is set")
    before = old.metadata.annotations.get(MIRROR) if old is not None else value
    if value != before:
        verb = "add" if before is None else "remove" if value is None else "update"
        yield v.forbidden(path, f"may not {verb} mirror pod annotation")


def check_template(path: str, template: PodTemplateSpec) -> v.Errors:
    """Check the template of a workload."""
    yield from _check_labelled(path, template)
    yield from check_spec(f"{path}.spec", template.spec, is_pod=False)
    if template.spec.ephemeral_containers:
        yield v.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def _check_labelled(path: str, template: PodTemplateSpec) -> v.Errors:
    yield from v.check_labels(f"{path}.labels", template.metadata.labels)
    yield from v.check_annotations(f"{path}.annotations", template.metadata.annotations)


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


def check_spec(path: str, spec: PodSpec, *, is_pod: bool) -> v.Errors:
    """Check a pod's spec. Only a pod, not a template, has its host ports defaulted."""
    yield from check_volumes(f"{path}.volumes", spec.volumes)
    yield from check_containers(path, spec, is_pod=is_pod)
    yield from v.check_supported(f"{path}.restartPolicy", spec.restart_policy, ("Always", "OnFailure", "Never"))
    yield from _check_dns(path, spec)
    yield from v.check_labels(f"{path}.nodeSelector", spec.node_selector)
    yield from _check_names(path, spec)
    yield from _check_deadlines(path, spec)
    yield from check_tolerations(f"{path}.tolerations", spec.tolerations)
    if spec.affinity is not None:
        yield from _check_affinity(f"{path}.affinity", spec.affinity)
    yield from _check_spread(f"{path}.topologySpreadConstraints", spec.topology_spread_constraints)
    yield from _check_security(path, spec)
    yield from _check_host_aliases(path, spec)
    for i, gate in enumerate(spec.readiness_gates):
        for message in names.check_qualified_name(gate.condition_type):
            yield v.invalid(f"{path}.readinessGates[{i}].conditionType", gate.condition_type, message)
    seen: set[str] = set()
    for i, hold in enumerate(spec.scheduling_gates):
        yield from v.check_name(f"{path}.schedulingGates[{i}].name", hold.name, names.check_qualified_name)
        if hold.name in seen:
            yield v.duplicate(f"{path}.schedulingGates[{i}]", hold.name)
        seen.add(hold.name)
    for i, secret in enumerate(spec.image_pull_secrets):
        if not secret.name:
            yield v.required(f"{path}.imagePullSecrets[{i}].name")
    if spec.preemption_policy:
        yield from v.check_supported(
            f"{path}.preemptionPolicy", spec.preemption_policy, ("PreemptLowerPriority", "Never")
        )
    if spec.os is not None:
        yield from v.check_supported(f"{path}.os.name", spec.os.name, ("linux", "windows"))


# --- parts ----------------------------------------------------------------------------------------------------------


def _check_dns(path: str, spec: PodSpec) -> v.Errors:
    policies = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    yield from v.check_supported(f"{path}.dnsPolicy", spec.dns_policy, policies)
    config, where = spec.dns_config, f"{path}.dnsConfig"
    if spec.dns_policy == "None":
        if config is None:
            yield v.required(where, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.nameservers:
            yield v.required(
                f"{where}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
            )
    if config is None:
        return
    if len(config.nameservers) > 3:
        yield v.invalid(f"{where}.nameservers", config.nameservers, "must not have more than 3 nameservers")
    for i, server in enumerate(config.nameservers):
        yield from check_ip(f"{where}.nameservers[{i}]", server)
    if len(config.searches) > 32:
        yield v.invalid(f"{where}.searches", config.searches, "must not have more than 32 search paths")
    for i, option in enumerate(config.options):
        if not option.name:
            yield v.required(f"{where}.options[{i}]", "must not be empty")


def _check_names(path: str, spec: PodSpec) -> v.Errors:
    for field, value, check in (
        ("serviceAccountName", spec.service_account_name, names.check_subdomain),
        ("nodeName", spec.node_name, names.check_subdomain),
        ("hostname", spec.hostname, names.check_label),
        ("subdomain", spec.subdomain, names.check_label),
        ("priorityClassName", spec.priority_class_name, names.check_subdomain),
        ("runtimeClassName", spec.runtime_class_name or "", names.check_subdomain),
        ("schedulerName", spec.scheduler_name, names.check_subdomain),
    ):
        if value:
            for message in check(value):
                yield v.invalid(f"{path}.{field}", value, message)


def _check_deadlines(path: str, spec: PodSpec) -> v.Errors:
    deadline = spec.active_deadline_seconds
    if deadline is not None and not 1 <= deadline <= _INT32_MAX:
        yield v.invalid(f"{path}.activeDeadlineSeconds", deadline, f"must be between 1 and {_INT32_MAX}, inclusive")
    yield from v.check_not_negative(f"{path}.terminationGracePeriodSeconds", spec.termination_grace_period_seconds)


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
                for message in names.check_label_value(toleration.value):
                    yield v.invalid(f"{where}.operator", toleration.value, message)
            case "Exists":
                if toleration.value:
                    yield v.invalid(
                        f"{where}.operator", toleration.value, "value must be empty when `operator` is 'Exists'"
                    )
            case other:
                yield v.not_supported(f"{where}.operator", other, ("Equal", "Exists"))
        if toleration.effect:
            yield from v.check_supported(f"{where}.effect", toleration.effect, _EFFECTS)


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
    if context.fs_group_change_policy:
        yield from v.check_supported(
            f"{where}.fsGroupChangePolicy", context.fs_group_change_policy, ("OnRootMismatch", "Always")
        )


def check_id(path: str, value: int | None) -> v.Errors:
    """Require a user's or group's number; None is fine."""
    if value is not None and not 0 <= value <= _INT32_MAX:
        yield v.invalid(path, value, f"must be between 0 and {_INT32_MAX}, inclusive")


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


def _check_pod_term(path: str, term: PodAffinityTerm) -> v.Errors:
    yield from v.check_label_selector(f"{path}.labelSelector", term.label_selector)
    yield from v.check_label_selector(f"{path}.namespaceSelector", term.namespace_selector)
    for i, namespace in enumerate(term.namespaces):
        for message in names.check_label(namespace):
            yield v.invalid(f"{path}.namespaces[{i}]", namespace, message)
    if not term.topology_key:
        yield v.required(f"{path}.topologyKey", "can not be empty")
    else:
        for message in names.check_qualified_name(term.topology_key):
            yield v.invalid(f"{path}.topologyKey", term.topology_key, message)


def _check_spread(path: str, constraints: Sequence[TopologySpreadConstraint]) -> v.Errors:
    seen: set[tuple[str, str]] = set()
    for i, constraint in enumerate(constraints):
        where = f"{path}[{i}]"
        if constraint.max_skew <= 0:
            yield v.invalid(f"{where}.maxSkew", constraint.max_skew, "must be greater than zero")
        if not constraint.topology_key:
            yield v.required(f"{where}.topologyKey", "can not be empty")
        yield from v.check_supported(
            f"{where}.whenUnsatisfiable", constraint.when_unsatisfiable, ("DoNotSchedule", "ScheduleAnyway")
        )
        pair = (constraint.topology_key, constraint.when_unsatisfiable)
        if pair in seen:
            yield v.duplicate(where, f"{{{pair[0]}, {pair[1]}}}")
        seen.add(pair)
        if constraint.min_domains is not None and constraint.min_domains <= 0:
            yield v.invalid(f"{where}.minDomains", constraint.min_domains, "must be greater than zero")
        yield from v.check_label_selector(f"{where}.labelSelector", constraint.label_selector)


# --- updates --------------------------------------------------------------------------------------------------------


def _check_update(new: PodSpec, old: PodSpec) -> v.Errors:
    is_same_shape = True
    for field, now, before in (
        ("containers", new.containers, old.containers),
        ("initContainers", new.init_containers, old.init_containers),
    ):
        if len(now) != len(before):
            yield v.forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            is_same_shape = False
    if not is_same_shape:
        return
    for field, now in (("containers", new.containers), ("initContainers", new.init_containers)):
        for i, container in enumerate(now):
            if not container.image:
                yield v.required(f"spec.{field}[{i}].image")
            elif container.image != container.image.strip():
                yield v.invalid(
                    f"spec.{field}[{i}].image", container.image, "must not have leading or trailing whitespace"
                )
    yield from _check_deadline_update(new.active_deadline_seconds, old.active_deadline_seconds)
    if any(toleration not in new.tolerations for toleration in old.tolerations):
        yield v.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    added = [toleration for toleration in new.tolerations if toleration not in old.tolerations]
    yield from check_tolerations("spec.tolerations", added)
    gates = {gate.name for gate in old.scheduling_gates}
    for i, gate in enumerate(new.scheduling_gates):
        if gate.name not in gates:
            yield v.forbidden(f"spec.schedulingGates[{i}]", "only deletion is allowed, but found new scheduling gates")
    changed = _changed_fields(new, old)
    if changed:
        yield v.forbidden("spec", f"{_UPDATABLE} (this one changes {', '.join(changed)})")


def _check_deadline_update(new: int | None, old: int | None) -> v.Errors:
    path = "spec.activeDeadlineSeconds"
    if new is not None:
        if not 0 <= new <= _INT32_MAX:
            yield v.invalid(path, new, f"must be between 0 and {_INT32_MAX}, inclusive")
        elif old is not None and new > old:
            yield v.invalid(path, new, "must be less than or equal to previous value")
    elif old is not None:
        yield v.invalid(path, new, "must not update from a positive integer to nil value")


_FREE = ("active_deadline_seconds", "tolerations", "scheduling_gates")


def _changed_fields(new: PodSpec, old: PodSpec) -> list[str]:
    """Return the fields of the spec that differ beyond what an update may change."""
    changed = []
    for name, json_name in zip(new.__struct_fields__, new.__struct_encode_fields__, strict=True):
        now, before = getattr(new, name), getattr(old, name)
        if now == before or name in _FREE:
            continue
        if name in ("containers", "init_containers"):
            now = [msgspec.structs.replace(c, image=b.image) for c, b in zip(now, before, strict=True)]
            if now == before:
                continue
        if name == "termination_grace_period_seconds" and now == 1 and before is not None and before < 0:
            continue
        if name == "node_selector" and old.scheduling_gates and before.items() <= now.items():
            continue
        changed.append(f"spec.{json_name}")
    return changed

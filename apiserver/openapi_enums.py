"""Fields that hold one of a few words, as OpenAPI publishes them: `kubectl explain` lists them under ENUM.

Only the fields of which Kubernetes publishes it. What is refused is up to each kind's validation, not to this.
"""

from __future__ import annotations

from typing import Final

_CONTAINERS: Final = ("core.v1.Container", "core.v1.EphemeralContainer")

_FIELDS: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("Always", "IfNotPresent", "Never"): (
        *(f"{each}.imagePullPolicy" for each in _CONTAINERS),
        "core.v1.ImageVolumeSource.pullPolicy",
    ),
    ("FallbackToLogsOnError", "File"): tuple(f"{each}.terminationMessagePolicy" for each in _CONTAINERS),
    ("SCTP", "TCP", "UDP"): (
        "core.v1.ContainerPort.protocol",
        "core.v1.EndpointPort.protocol",
        "core.v1.PortStatus.protocol",
        "core.v1.ServicePort.protocol",
        "discovery.v1.EndpointPort.protocol",
        "networking.v1.IngressPortStatus.protocol",
        "networking.v1.NetworkPolicyPort.protocol",
    ),
    ("HTTP", "HTTPS"): ("core.v1.HTTPGetAction.scheme",),
    ("Bidirectional", "HostToContainer", "None"): ("core.v1.VolumeMount.mountPropagation",),
    ("Default", "Unmasked"): ("core.v1.SecurityContext.procMount",),
    ("Localhost", "RuntimeDefault", "Unconfined"): ("core.v1.AppArmorProfile.type", "core.v1.SeccompProfile.type"),
    ("Always", "OnRootMismatch"): ("core.v1.PodSecurityContext.fsGroupChangePolicy",),
    ("Merge", "Strict"): ("core.v1.PodSecurityContext.supplementalGroupsPolicy",),
    ("Always", "Never", "OnFailure"): ("core.v1.PodSpec.restartPolicy",),
    ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"): ("core.v1.PodSpec.dnsPolicy",),
    ("Never", "PreemptLowerPriority"): (
        "core.v1.PodSpec.preemptionPolicy",
        "scheduling.v1.PriorityClass.preemptionPolicy",
    ),
    ("Failed", "Pending", "Running", "Succeeded", "Unknown"): ("core.v1.PodStatus.phase",),
    ("BestEffort", "Burstable", "Guaranteed"): ("core.v1.PodStatus.qosClass",),
    ("DoNotSchedule", "ScheduleAnyway"): ("core.v1.TopologySpreadConstraint.whenUnsatisfiable",),
    ("Honor", "Ignore"): (
        "core.v1.TopologySpreadConstraint.nodeAffinityPolicy",
        "core.v1.TopologySpreadConstraint.nodeTaintsPolicy",
    ),
    ("NoExecute", "NoSchedule", "PreferNoSchedule"): ("core.v1.Taint.effect", "core.v1.Toleration.effect"),
    ("Equal", "Exists"): ("core.v1.Toleration.operator",),
    ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"): ("core.v1.NodeSelectorRequirement.operator",),
    ("DoesNotExist", "Exists", "In", "NotIn"): ("core.v1.ScopedResourceSelectorRequirement.operator",),
    (
        "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    ): ("core.v1.ResourceQuotaSpec.scopes", "core.v1.ScopedResourceSelectorRequirement.scopeName"),
    ("Pending", "Running", "Terminated"): ("core.v1.NodeStatus.phase",),
    ("Active", "Terminating"): ("core.v1.NamespaceStatus.phase",),
    ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"): (
        "core.v1.HostPathVolumeSource.type",
    ),
    ("None", "ReadOnly", "ReadWrite"): ("core.v1.AzureDiskVolumeSource.cachingMode",),
    ("Dedicated", "Managed", "Shared"): ("core.v1.AzureDiskVolumeSource.kind",),
    ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"): (
        "core.v1.PersistentVolumeClaimSpec.accessModes",
        "core.v1.PersistentVolumeClaimStatus.accessModes",
        "core.v1.PersistentVolumeSpec.accessModes",
    ),
    ("Block", "Filesystem"): (
        "core.v1.PersistentVolumeClaimSpec.volumeMode",
        "core.v1.PersistentVolumeSpec.volumeMode",
    ),
    ("Delete", "Recycle", "Retain"): (
        "core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy",
        "storage.v1.StorageClass.reclaimPolicy",
    ),
    ("Available", "Bound", "Failed", "Pending", "Released"): ("core.v1.PersistentVolumeStatus.phase",),
    ("Bound", "Lost", "Pending"): ("core.v1.PersistentVolumeClaimStatus.phase",),
    (
        "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
        "NodeResizePending",
    ): ("core.v1.PersistentVolumeClaimStatus.allocatedResourceStatuses",),
    ("InProgress", "Infeasible", "Pending"): ("core.v1.ModifyVolumeStatus.status",),
    ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"): ("core.v1.ServiceSpec.type",),
    ("ClientIP", "None"): ("core.v1.ServiceSpec.sessionAffinity",),
    ("Cluster", "Local"): ("core.v1.ServiceSpec.externalTrafficPolicy", "core.v1.ServiceSpec.internalTrafficPolicy"),
    ("", "IPv4", "IPv6"): ("core.v1.ServiceSpec.ipFamilies",),
    ("PreferDualStack", "RequireDualStack", "SingleStack"): ("core.v1.ServiceSpec.ipFamilyPolicy",),
    ("Recreate", "RollingUpdate"): ("apps.v1.DeploymentStrategy.type",),
    ("OnDelete", "RollingUpdate"): ("apps.v1.DaemonSetUpdateStrategy.type", "apps.v1.StatefulSetUpdateStrategy.type"),
    ("OrderedReady", "Parallel"): ("apps.v1.StatefulSetSpec.podManagementPolicy",),
    ("Indexed", "NonIndexed"): ("batch.v1.JobSpec.completionMode",),
    ("Failed", "TerminatingOrFailed"): ("batch.v1.JobSpec.podReplacementPolicy",),
    ("Count", "FailIndex", "FailJob", "Ignore"): ("batch.v1.PodFailurePolicyRule.action",),
    ("In", "NotIn"): ("batch.v1.PodFailurePolicyOnExitCodesRequirement.operator",),
    ("Allow", "Forbid", "Replace"): ("batch.v1.CronJobSpec.concurrencyPolicy",),
    ("Exact", "ImplementationSpecific", "Prefix"): ("networking.v1.HTTPIngressPath.pathType",),
    ("Egress", "Ingress"): ("networking.v1.NetworkPolicySpec.policyTypes",),
    ("FQDN", "IPv4", "IPv6"): ("discovery.v1.EndpointSlice.addressType",),
    ("AlwaysAllow", "IfHealthyBudget"): ("policy.v1.PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy",),
    ("Immediate", "WaitForFirstConsumer"): ("storage.v1.StorageClass.volumeBindingMode",),
    ("Fail", "Ignore"): (
        "admissionregistration.v1.MutatingWebhook.failurePolicy",
        "admissionregistration.v1.ValidatingAdmissionPolicySpec.failurePolicy",
        "admissionregistration.v1.ValidatingWebhook.failurePolicy",
    ),
    ("Equivalent", "Exact"): (
        "admissionregistration.v1.MatchResources.matchPolicy",
        "admissionregistration.v1.MutatingWebhook.matchPolicy",
        "admissionregistration.v1.ValidatingWebhook.matchPolicy",
    ),
    ("None", "NoneOnDryRun", "Some", "Unknown"): (
        "admissionregistration.v1.MutatingWebhook.sideEffects",
        "admissionregistration.v1.ValidatingWebhook.sideEffects",
    ),
    ("IfNeeded", "Never"): ("admissionregistration.v1.MutatingWebhook.reinvocationPolicy",),
    ("*", "Cluster", "Namespaced"): (
        "admissionregistration.v1.NamedRuleWithOperations.scope",
        "admissionregistration.v1.RuleWithOperations.scope",
    ),
    ("*", "CONNECT", "CREATE", "DELETE", "UPDATE"): (
        "admissionregistration.v1.NamedRuleWithOperations.operations",
        "admissionregistration.v1.RuleWithOperations.operations",
    ),
    ("Audit", "Deny", "Warn"): ("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec.validationActions",),
    ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"): (
        "apiextensions.v1.ValidationRule.reason",
    ),
    (
        "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
        "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
        "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
        "server auth", "signing", "timestamping",
    ): ("certificates.v1.CertificateSigningRequestSpec.usages",),
}  # fmt: skip

ENUMS: Final = {field: list(words) for words, fields in _FIELDS.items() for field in fields}
"""The words by `GROUP.VERSION.Type.field`; of a list or map, those of what is in it."""

"""Upstream's roles of single controllers, `system:controller:<name>`, each bound to the account of that name.

Steersman's controllers share one certificate and need none of them. They are there for whoever runs one of upstream's
controllers, or has bound one of these roles, against this API server. Names and rules are facts of upstream's 1.32.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "system:controller:"

Rule = tuple[str, str, str] | tuple[str, str, str, str]
"""Groups separated by commas, resources, verbs, and names where it is about some alone."""

_READ: Final = "get list watch"
_EVENTS: Final[Rule] = ("core,events.k8s.io", "events", "create patch update")
_EXTENSIONS: Final = "apps,extensions"
_SIGNERS: Final = (
    "kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving "
    "kubernetes.io/legacy-unknown"
)

CONTROLLERS: Final[dict[str, tuple[Rule, ...]]] = {
    "attachdetach-controller": (
        ("core", "persistentvolumeclaims persistentvolumes", "list watch"),
        ("core", "nodes", _READ),
        ("core", "nodes/status", "patch update"),
        ("core", "pods", "list watch"),
        _EVENTS,
        ("storage.k8s.io", "volumeattachments", f"{_READ} create delete"),
        ("storage.k8s.io", "csidrivers csinodes", _READ),
    ),
    "certificate-controller": (
        ("certificates.k8s.io", "certificatesigningrequests", f"{_READ} delete"),
        ("certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status", "update"),
        ("certificates.k8s.io", "signers", "approve", "kubernetes.io/kube-apiserver-client-kubelet"),
        ("certificates.k8s.io", "signers", "sign", _SIGNERS),
        ("authorization.k8s.io", "subjectaccessreviews", "create"),
        _EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        ("rbac.authorization.k8s.io", "clusterroles", f"escalate {_READ} patch update"),
    ),
    "cronjob-controller": (
        ("batch", "cronjobs", f"{_READ} update"),
        ("batch", "jobs", f"{_READ} create delete patch update"),
        ("batch", "cronjobs/finalizers cronjobs/status", "update"),
        ("core", "pods", "delete list watch"),
        _EVENTS,
    ),
    "daemon-set-controller": (
        (_EXTENSIONS, "daemonsets", _READ),
        (_EXTENSIONS, "daemonsets/finalizers daemonsets/status", "update"),
        ("core", "nodes", "list watch"),
        ("core", "pods", "create delete list patch watch"),
        ("core", "pods/binding", "create"),
        ("apps", "controllerrevisions", f"{_READ} create delete patch update"),
        _EVENTS,
    ),
    "deployment-controller": (
        (_EXTENSIONS, "deployments", f"{_READ} update"),
        (_EXTENSIONS, "deployments/finalizers deployments/status", "update"),
        (_EXTENSIONS, "replicasets", f"{_READ} create delete patch update"),
        ("core", "pods", f"{_READ} update"),
        _EVENTS,
    ),
    "disruption-controller": (
        (_EXTENSIONS, "deployments replicasets", _READ),
        ("core", "replicationcontrollers", _READ),
        ("policy", "poddisruptionbudgets", _READ),
        ("apps", "statefulsets", _READ),
        ("policy", "poddisruptionbudgets/status", "update"),
        ("core", "pods/status", "patch update"),
        ("*", "*/scale", "get"),
        _EVENTS,
    ),
    "endpoint-controller": (
        ("core", "pods services", _READ),
        ("core", "endpoints", f"{_READ} create delete update"),
        ("core", "endpoints/restricted", "create"),
        _EVENTS,
    ),
    "endpointslice-controller": (
        ("core", "nodes pods services", _READ),
        ("core", "services/finalizers", "update"),
        ("discovery.k8s.io", "endpointslices", f"{_READ} create delete update"),
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        ("core", "endpoints services", _READ),
        ("core", "endpoints/finalizers services/finalizers", "update"),
        ("discovery.k8s.io", "endpointslices", f"{_READ} create delete update"),
        _EVENTS,
    ),
    "ephemeral-volume-controller": (
        ("core", "pods", _READ),
        ("core", "pods/finalizers", "update"),
        ("core", "persistentvolumeclaims", f"{_READ} create"),
        _EVENTS,
    ),
    "expand-controller": (
        ("core", "persistentvolumes", f"{_READ} patch update"),
        ("core", "persistentvolumeclaims/status", "patch update"),
        ("core", "persistentvolumeclaims", _READ),
        _EVENTS,
        ("core", "services", "get"),
    ),
    "generic-garbage-collector": (("*", "*", f"{_READ} delete patch update"), _EVENTS),
    "horizontal-pod-autoscaler": (
        ("autoscaling", "horizontalpodautoscalers", _READ),
        ("autoscaling", "horizontalpodautoscalers/status", "update"),
        ("*", "*/scale", "get update"),
        ("core", "pods", "list watch"),
        ("metrics.k8s.io", "pods", "list watch"),
        ("custom.metrics.k8s.io", "*", _READ),
        ("external.metrics.k8s.io", "*", _READ),
        _EVENTS,
    ),
    "job-controller": (
        ("batch", "jobs", f"{_READ} patch update"),
        ("batch", "jobs/finalizers jobs/status", "update"),
        ("core", "pods", "create delete list patch watch"),
        _EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        ("core", "configmaps", "get", "kube-apiserver-legacy-service-account-token-tracking"),
        ("core", "secrets", "delete patch"),
    ),
    "namespace-controller": (
        ("core", "namespaces", f"{_READ} delete"),
        ("core", "namespaces/finalize namespaces/status", "update"),
        ("*", "*", f"{_READ} delete deletecollection"),
    ),
    "node-controller": (
        ("core", "nodes", f"{_READ} delete patch update"),
        ("core", "nodes/status pods/status", "patch update"),
        ("core", "pods", f"{_READ} delete"),
        _EVENTS,
    ),
    "persistent-volume-binder": (
        ("core", "persistentvolumes", f"{_READ} create delete update"),
        ("core", "persistentvolumeclaims", f"{_READ} update"),
        ("core", "persistentvolumeclaims/status persistentvolumes/status", "update"),
        ("core", "pods", f"{_READ} create delete"),
        ("storage.k8s.io", "storageclasses", _READ),
        ("core", "nodes", "list watch"),
        _EVENTS,
        ("core", "events", "watch"),
        ("core", "services", "get"),
    ),
    "pod-garbage-collector": (
        ("core", "pods", "delete list watch"),
        ("core", "nodes", _READ),
        ("core", "pods/status", "patch"),
    ),
    "pv-protection-controller": (("core", "persistentvolumes", f"{_READ} update"), _EVENTS),
    "pvc-protection-controller": (
        ("core", "persistentvolumeclaims", f"{_READ} update"),
        ("core", "pods", _READ),
        _EVENTS,
    ),
    "replicaset-controller": (
        (_EXTENSIONS, "replicasets", f"{_READ} update"),
        (_EXTENSIONS, "replicasets/finalizers replicasets/status", "update"),
        ("core", "pods", "create delete list patch watch"),
        _EVENTS,
    ),
    "replication-controller": (
        ("core", "replicationcontrollers", f"{_READ} update"),
        ("core", "replicationcontrollers/finalizers replicationcontrollers/status", "update"),
        ("core", "pods", "create delete list patch watch"),
        _EVENTS,
    ),
    "resourcequota-controller": (
        ("*", "*", "list watch"),
        ("core", "resourcequotas/status", "update"),
        _EVENTS,
    ),
    "root-ca-cert-publisher": (("core", "configmaps", "create update"), _EVENTS),
    "route-controller": (("core", "nodes", "list watch"), ("core", "nodes/status", "patch"), _EVENTS),
    "service-account-controller": (("core", "serviceaccounts", "create"), _EVENTS),
    "service-controller": (
        ("core", "services", _READ),
        ("core", "services/status", "patch update"),
        ("core", "nodes", "list watch"),
        _EVENTS,
    ),
    "statefulset-controller": (
        ("core", "pods", f"{_READ} create delete patch update"),
        ("apps", "statefulsets", _READ),
        ("apps", "statefulsets/finalizers statefulsets/status", "update"),
        ("apps", "controllerrevisions", f"{_READ} create delete patch update"),
        ("core", "persistentvolumeclaims", f"{_READ} create delete update"),
        ("core", "pods/finalizers", "update"),
        _EVENTS,
    ),
    "ttl-after-finished-controller": (("batch", "jobs", f"{_READ} delete"), _EVENTS),
    "ttl-controller": (("core", "nodes", "list patch update watch"), _EVENTS),
    "validatingadmissionpolicy-status-controller": (
        ("admissionregistration.k8s.io", "validatingadmissionpolicies", _READ),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies/status", "get patch update"),
        _EVENTS,
    ),
}

IN_NAMESPACES: Final[dict[tuple[str, str], tuple[Rule, ...]]] = {
    ("kube-system", "bootstrap-signer"): (("core", "secrets", _READ),),
    ("kube-public", "bootstrap-signer"): (
        ("core", "configmaps", _READ),
        ("core", "configmaps", "update", "cluster-info"),
        _EVENTS,
    ),
    ("kube-system", "cloud-provider"): (("core", "configmaps", f"create {_READ}"),),
    ("kube-system", "token-cleaner"): (("core", "secrets", f"{_READ} delete"), _EVENTS),
}
"""Roles of one namespace, by it and the controller's name."""

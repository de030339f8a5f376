"""Pods from templates: what a workload creates and deletes, and the events that tell of it."""

from __future__ import annotations

from typing import Any

from api.core import pod as pods
from api.core.pod import Pod, PodTemplateSpec
from api.meta import ObjectMeta
from client.events import NORMAL, WARNING
from client.verbs import key_of
from controllers.actions import Create, Delete, Emit
from controllers.ownership import reference_as_controller


def pod_of(owner: Any, template: PodTemplateSpec) -> Pod:
    """Return a new pod controlled by `owner`. Its metadata is its own; its spec is the template's, to be replaced.

    A long name is cut so that five random characters fit in; the server adds them.
    """
    return Pod(
        metadata=ObjectMeta(
            generate_name=f"{owner.metadata.name}-",
            namespace=owner.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations=dict(template.metadata.annotations),
            finalizers=list(template.metadata.finalizers),
            owner_references=[reference_as_controller(owner)],
        ),
        spec=template.spec,
    )


def creation(owner: Any, pod: Pod) -> Create:
    """Return the step that makes a pod, and tells of it at its owner."""
    return Create(
        pods.RESOURCE,
        pod,
        done=lambda made: Emit(owner, NORMAL, "SuccessfulCreate", f"Created pod: {made.metadata.name}"),
        failed=lambda error: Emit(owner, WARNING, "FailedCreate", f"Error creating: {error.message}"),
    )


def deletion(owner: Any, pod: Pod) -> Delete:
    """Return the step that deletes a pod, and tells of it at its owner."""
    return Delete(
        pods.RESOURCE,
        key_of(pod),
        pod.metadata.uid,
        done=Emit(owner, NORMAL, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}"),
        failed=lambda error: Emit(owner, WARNING, "FailedDelete", f"Error deleting: {error.message}"),
    )

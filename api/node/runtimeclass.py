"""RuntimeClass: a way to run containers, by the name a node's runtime has for it."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.core.container_validation import check_resources
from api.core.containers import ResourceRequirements
from api.core.placement import Toleration
from api.core.pod_validation import check_tolerations
from api.core.pod_warnings import Warnings, old_label
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Quantity, Struct, always, field, wire


class Scheduling(Struct):
    """On which nodes pods of a RuntimeClass can run.

    Attributes:
        node_selector: Labels that a node must have; added to those of the pod, which must not differ.
        tolerations: Taints that pods of the class bear; added to those of the pod.
    """

    node_selector: Annotated[dict[str, str], wire(1, atomic=True)] = {}
    tolerations: Annotated[list[Toleration], wire(2, list_type="atomic")] = []


class Overhead(Struct):
    """What running a pod of a RuntimeClass costs beyond its containers.

    Attributes:
        pod_fixed: How much for each pod, by resource.
    """

    pod_fixed: Annotated[dict[str, Quantity], wire(1)] = {}


class RuntimeClass(Struct):
    """A way to run containers, which pods choose by name.

    Attributes:
        handler: What the container runtime of the nodes calls it; a DNS label. Never changes.
        overhead: How much more than their containers pods of the class are counted with; by default nothing.
        scheduling: Where pods of the class can run; by default anywhere.
    """

    api_version: str = always("node.k8s.io/v1")
    kind: str = always("RuntimeClass")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    handler: Annotated[str, wire(2, required=True)] = always("")
    overhead: Annotated[Overhead | None, wire(3)] = None
    scheduling: Annotated[Scheduling | None, wire(4)] = None


def validate(new: RuntimeClass, old: RuntimeClass | None) -> v.Errors:
    """Check the handler, which never changes, what it costs, and where it is."""
    for message in names.check_label(new.handler):
        yield v.invalid("handler", new.handler, message)
    if old is not None:
        yield from v.check_immutable("handler", new.handler, old.handler)
    if new.overhead is not None:
        yield from check_resources("overhead", ResourceRequirements(limits=new.overhead.pod_fixed))
    if new.scheduling is not None:
        yield from v.check_labels("scheduling.nodeSelector", new.scheduling.node_selector)
        tolerations = new.scheduling.tolerations
        yield from check_tolerations("scheduling.tolerations.tolerations", tolerations)  # So upstream calls it.
        for i, toleration in enumerate(tolerations):
            if toleration in tolerations[:i]:
                yield v.duplicate(f"scheduling.tolerations[{i}]", toleration)


def warn(new: RuntimeClass, old: RuntimeClass | None) -> Warnings:
    """Warn of old labels of nodes."""
    for key in sorted(new.scheduling.node_selector) if new.scheduling is not None else ():
        if old_label(key):
            yield f"scheduling.nodeSelector: {old_label(key)}"


RESOURCE: Final[Resource[RuntimeClass]] = Resource(
    type=RuntimeClass,
    group="node.k8s.io",
    version="v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    namespaced=False,
    validate=validate,
    warn=warn,
    columns=(Column("Handler", "string", lambda one, now: one.handler, "The runtime's name for it."), AGE),
)

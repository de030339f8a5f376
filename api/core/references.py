"""References to other objects and to fields, and selectors of nodes, shared by many kinds."""

from __future__ import annotations

from typing import Annotated

from api.schema import Quantity, Struct, always, wire


class TopologySelectorLabelRequirement(Struct):
    """A label of nodes and the values it may have.

    Attributes:
        key: The label's name, such as topology.kubernetes.io/zone.
        values: The allowed values; one of them must match.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    values: Annotated[list[str], wire(2, required=True, list_type="atomic")] = []


class TopologySelectorTerm(Struct):
    """Places in the cluster, by labels that nodes there have; all of them must hold.

    Attributes:
        match_label_expressions: Labels and their allowed values; empty matches every place.
    """

    match_label_expressions: Annotated[list[TopologySelectorLabelRequirement], wire(1, list_type="atomic")] = []


class NodeSelectorRequirement(Struct):
    """A label of a node and the values it must have, or must not.

    Attributes:
        key: The label's name, or the field's.
        operator: In, NotIn, Exists, DoesNotExist, or Gt and Lt, which compare the label's value as an integer.
        values: What to compare with: at least one for In and NotIn, none for Exists and DoesNotExist, a single integer
            for Gt and Lt.
    """

    key: Annotated[str, wire(1, required=True)] = always("")
    operator: Annotated[str, wire(2, required=True)] = always("")
    values: Annotated[list[str], wire(3, list_type="atomic")] = []


class NodeSelectorTerm(Struct):
    """Nodes that satisfy all of these conditions; an empty term matches no node.

    Attributes:
        match_expressions: Conditions on the node's labels.
        match_fields: Conditions on the node's fields; metadata.name is the only one that is known.
    """

    match_expressions: Annotated[list[NodeSelectorRequirement], wire(1, list_type="atomic")] = []
    match_fields: Annotated[list[NodeSelectorRequirement], wire(2, list_type="atomic")] = []


class NodeSelector(Struct):
    """Chooses nodes: those that satisfy any one of the terms.

    Attributes:
        node_selector_terms: The alternatives, at least one; a node needs to satisfy only one of them.
    """

    node_selector_terms: Annotated[list[NodeSelectorTerm], wire(1, required=True, list_type="atomic")] = []


class SecretEnvSource(Struct):
    """A Secret, each of whose entries becomes a variable.

    Attributes:
        name: The Secret, in the pod's namespace.
        optional: True does without if the Secret is missing; otherwise (the default) the container does not start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    optional: Annotated[bool | None, wire(2)] = None


class ConfigMapKeySelector(Struct):
    """One value of a ConfigMap.

    Attributes:
        name: The ConfigMap, in the pod's namespace.
        key: The entry of its data.
        optional: True leaves the variable out if the ConfigMap or the key is missing; otherwise (the default) the
            container does not start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    key: Annotated[str, wire(2, required=True)] = always("")
    optional: Annotated[bool | None, wire(3)] = None


class SecretKeySelector(Struct):
    """One value of a Secret.

    Attributes:
        name: The Secret, in the pod's namespace.
        key: The entry of its data.
        optional: True leaves the variable out if the Secret or the key is missing; otherwise (the default) the
            container does not start.
    """

    name: Annotated[str, wire(1, 1)] = ""
    key: Annotated[str, wire(2, required=True)] = always("")
    optional: Annotated[bool | None, wire(3)] = None


class ResourceFieldSelector(Struct):
    """A container's request or limit, as a whole number of `divisor`, rounded up.

    Attributes:
        container_name: Whose; unset in a variable, the container's own. Required for files.
        resource: Which amount: limits.cpu, limits.memory, limits.ephemeral-storage, requests.cpu, and so on. An unset
            limit counts as what the node can allocate.
        divisor: The unit: 1 (the default), or such as 1m for CPU and 1Mi for memory.
    """

    container_name: Annotated[str, wire(1)] = ""
    resource: Annotated[str, wire(2, required=True)] = always("")
    divisor: Annotated[Quantity, wire(3)] = ""


class ObjectFieldSelector(Struct):
    """A field of the pod that a variable or file is filled from.

    Attributes:
        api_version: The version that fieldPath is written in; v1 by default.
        field_path: The field: metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'],
            metadata.annotations['KEY'], spec.nodeName, spec.serviceAccountName, status.hostIP, status.podIP and some
            more. Files can also take all of metadata.labels or metadata.annotations.
    """

    api_version: Annotated[str, wire(1)] = ""
    field_path: Annotated[str, wire(2, required=True)] = always("")


class TypedObjectReference(Struct):
    """An object of any kind, possibly of another namespace.

    Attributes:
        api_group: The group of the kind; unset for the core group.
        kind: What sort of object is meant, such as PersistentVolumeClaim.
        name: The metadata.name of the object that is meant.
        namespace: Its namespace; unset, the one of the object that refers to it. Another one needs a ReferenceGrant
            there (alpha).
    """

    api_group: Annotated[str | None, wire(1)] = None
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")
    namespace: Annotated[str | None, wire(4)] = None


class SecretReference(Struct):
    """A Secret of any namespace.

    Attributes:
        name: The metadata.name of the Secret that is meant.
        namespace: The Secret's namespace.
    """

    name: Annotated[str, wire(1)] = ""
    namespace: Annotated[str, wire(2)] = ""


class TypedLocalObjectReference(Struct):
    """An object of the same namespace, of any kind.

    Attributes:
        api_group: The group of the kind; unset for the core group.
        kind: What sort of object is meant, such as PersistentVolumeClaim.
        name: The metadata.name of the object that is meant.
    """

    api_group: Annotated[str | None, wire(1)] = None
    kind: Annotated[str, wire(2, required=True)] = always("")
    name: Annotated[str, wire(3, required=True)] = always("")


class LocalObjectReference(Struct):
    """An object of the same namespace, by name; its kind is understood.

    Attributes:
        name: Its metadata.name. Required in practice, though older clients may send it empty.
    """

    name: Annotated[str, wire(1)] = ""


class ObjectReference(Struct):
    """Another object, or a part of it. Which fields matter is up to where the reference stands.

    Attributes:
        kind: The kind of the object, such as Pod.
        namespace: Its namespace; empty for kinds without.
        name: The metadata.name of the object that is meant.
        uid: Its metadata.uid, where a certain object is meant and not just any of that name.
        api_version: Its group and version, such as v1 or apps/v1.
        resource_version: The version of the object that is spoken of, if a certain one.
        field_path: The part of it that is meant, such as spec.containers{web}; empty for the whole.
    """

    kind: Annotated[str, wire(1)] = ""
    namespace: Annotated[str, wire(2)] = ""
    name: Annotated[str, wire(3)] = ""
    uid: Annotated[str, wire(4)] = ""
    api_version: Annotated[str, wire(5)] = ""
    resource_version: Annotated[str, wire(6)] = ""
    field_path: Annotated[str, wire(7)] = ""

"""CSIStorageCapacity: how much storage of a class a driver still has in one part of the cluster (KEP-1472)."""

from __future__ import annotations

from typing import Annotated, Final

from api import names, quantity
from api import validation as v
from api.meta import LabelSelector, ObjectMeta
from api.resource import Column, Resource
from api.schema import Quantity, Struct, always, field, wire


class CSIStorageCapacity(Struct):
    """How much storage of a class is left in one part of the cluster, as its driver says.

    Attributes:
        node_topology: The nodes that can reach this storage, by their labels; unset, none can.
        storage_class_name: The StorageClass that this is about. Never changes.
        capacity: How much is left; unset if nobody knows.
        maximum_volume_size: How large one volume can be at most; unset if nobody knows.
    """

    api_version: str = always("storage.k8s.io/v1")
    kind: str = always("CSIStorageCapacity")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    node_topology: Annotated[LabelSelector | None, wire(2)] = None
    storage_class_name: Annotated[str, wire(3, required=True)] = always("")
    capacity: Annotated[Quantity | None, wire(4)] = None
    maximum_volume_size: Annotated[Quantity | None, wire(5)] = None


def validate(new: CSIStorageCapacity, old: CSIStorageCapacity | None) -> v.Errors:
    """Check the amounts; what they are about never changes."""
    yield from v.check_label_selector("nodeTopology", new.node_topology)
    for message in names.check_subdomain(new.storage_class_name):
        yield v.invalid("storageClassName", new.storage_class_name, message)
    if new.capacity is not None and quantity.compare(new.capacity, "0") < 0:
        yield v.invalid("capacity", new.capacity, "must be greater than or equal to 0")
    if old is not None:
        yield from v.check_immutable("nodeTopology", new.node_topology, old.node_topology)
        yield from v.check_immutable("storageClassName", new.storage_class_name, old.storage_class_name)


RESOURCE: Final[Resource[CSIStorageCapacity]] = Resource(
    type=CSIStorageCapacity,
    group="storage.k8s.io",
    version="v1",
    kind="CSIStorageCapacity",
    plural="csistoragecapacities",
    namespaced=True,
    validate=validate,
    columns=(
        Column("StorageClassName", "string", lambda one, now: one.storage_class_name, "Of which class."),
        Column("Capacity", "string", lambda one, now: one.capacity or "<unset>", "How much there is."),
    ),
)

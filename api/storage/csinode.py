"""CSINode: which storage drivers a node has; written by its kubelet, named like the node."""

from __future__ import annotations

from typing import Annotated, Final

from api import names
from api import validation as v
from api.columns import AGE
from api.core.source_validation import check_driver
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, Struct, always, field, shown_empty, wire


class VolumeNodeResources(Struct):
    """How many volumes of a driver a node can have.

    Attributes:
        count: How many at most; unset, there is no known limit.
    """

    count: Annotated[Int32 | None, wire(1)] = None


class CSINodeDriver(Struct):
    """One driver on a node, and what the node is called there.

    Attributes:
        name: The driver, by the name of its CSIDriver.
        node_id: What the driver calls the node.
        topology_keys: Labels of the node by which the driver says where volumes can be reached.
        allocatable: How many of the driver's volumes the node can have; unset, no limit is known.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    node_id: Annotated[str, wire(2, required=True)] = always("", name="nodeID")
    topology_keys: Annotated[list[str], wire(3, list_type="atomic")] = []
    allocatable: Annotated[VolumeNodeResources | None, wire(4)] = None


class CSINodeSpec(Struct):
    """The storage drivers of a node.

    Attributes:
        drivers: Each driver that is registered there.
    """

    drivers: Annotated[
        list[CSINodeDriver], wire(1, required=True, merge_key="name", list_type="map", list_keys=("name",))
    ] = shown_empty()


class CSINode(Struct):
    """Which storage drivers a node has; its name is the node's."""

    api_version: str = always("storage.k8s.io/v1")
    kind: str = always("CSINode")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[CSINodeSpec, wire(2, required=True)] = field(default_factory=CSINodeSpec)


def validate(new: CSINode, old: CSINode | None) -> v.Errors:
    """Check that each driver is there once, and stays what it is."""
    seen: set[str] = set()
    before = {driver.name: driver for driver in old.spec.drivers} if old is not None else {}
    for i, driver in enumerate(new.spec.drivers):
        where = f"spec.drivers[{i}]"
        yield from check_driver(f"{where}.name", driver.name)
        if not driver.node_id:
            yield v.required(f"{where}.nodeID")
        if len(driver.node_id) > 256:
            yield v.invalid(f"{where}.nodeID", driver.node_id, "must be 256 characters or less")
        for j, key in enumerate(driver.topology_keys):
            if not key:
                yield v.required(where)
            if key in driver.topology_keys[:j]:
                yield v.duplicate(where, key)
            for message in names.check_qualified_name(key):
                yield v.invalid(where, key, message)
        if driver.allocatable is not None:
            yield from v.check_not_negative(f"{where}.allocatable.count", driver.allocatable.count)
        if driver.name in seen:
            yield v.duplicate(f"{where}.name", driver.name)
        seen.add(driver.name)
        if driver.name in before and driver != before[driver.name]:
            yield v.invalid("CSINodeDriver", driver, "field is immutable")


RESOURCE: Final[Resource[CSINode]] = Resource(
    type=CSINode,
    group="storage.k8s.io",
    version="v1",
    kind="CSINode",
    plural="csinodes",
    namespaced=False,
    validate=validate,
    columns=(Column("Drivers", "integer", lambda node, now: len(node.spec.drivers), "How many drivers it has."), AGE),
)

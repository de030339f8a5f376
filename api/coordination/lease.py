"""TODO."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Resource
from api.schema import Int32, MicroTime, Struct, always, field, wire


class LeaseSpec(Struct):
    holder_identity: Annotated[str | None, wire(1)] = None
    lease_duration_seconds: Annotated[Int32 | None, wire(2)] = None
    acquire_time: Annotated[MicroTime, wire(3)] = ""
    renew_time: Annotated[MicroTime, wire(4)] = ""
    lease_transitions: Annotated[Int32 | None, wire(5)] = None
    strategy: Annotated[str | None, wire(6)] = None
    preferred_holder: Annotated[str | None, wire(7)] = None


class Lease(Struct):
    api_version: str = always("coordination.k8s.io/v1")
    kind: str = always("Lease")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[LeaseSpec, wire(2)] = field(default_factory=LeaseSpec)


RESOURCE: Final[Resource[Lease]] = Resource(
    type=Lease,
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    namespaced=True,
)

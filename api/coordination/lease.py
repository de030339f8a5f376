"""Lease: who holds something, and when they last said so: node heartbeats and leader election."""

from __future__ import annotations

from typing import Annotated, Final

from api import validation as v
from api.columns import AGE
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Int32, MicroTime, Struct, always, field, wire


class LeaseSpec(Struct):
    """Who holds a Lease, and for how long without a word.

    Attributes:
        holder_identity: Who holds it, by a name of the holder's choice; empty if nobody does.
        lease_duration_seconds: For how many seconds after renewTime others must wait before they take it.
        acquire_time: When the present holder took it.
        renew_time: When the holder last renewed it.
        lease_transitions: How often it has gone from one holder to another.
        strategy: How the holder is chosen in a coordinated election, such as OldestEmulationVersion (alpha); unset,
            whoever comes first.
        preferred_holder: Who is asked to take it from the holder (alpha); only with a strategy.
    """

    holder_identity: Annotated[str | None, wire(1)] = None
    lease_duration_seconds: Annotated[Int32 | None, wire(2)] = None
    acquire_time: Annotated[MicroTime, wire(3)] = ""
    renew_time: Annotated[MicroTime, wire(4)] = ""
    lease_transitions: Annotated[Int32 | None, wire(5)] = None
    strategy: Annotated[str | None, wire(6)] = None
    preferred_holder: Annotated[str | None, wire(7)] = None


class Lease(Struct):
    """Who holds something, such as leadership, and when they last said so. For each node, that it lives."""

    api_version: str = always("coordination.k8s.io/v1")
    kind: str = always("Lease")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[LeaseSpec, wire(2)] = field(default_factory=LeaseSpec)


def validate(new: Lease, old: Lease | None) -> v.Errors:
    """Check the lease's numbers."""
    spec = new.spec
    if spec.lease_duration_seconds is not None and spec.lease_duration_seconds <= 0:
        yield v.invalid("spec.leaseDurationSeconds", spec.lease_duration_seconds, "must be greater than 0")
    yield from v.check_not_negative("spec.leaseTransitions", spec.lease_transitions)


def drop_gated(new: Lease, old: Lease | None) -> None:
    """Drop what coordinated elections need, which 1.32 has behind a feature gate that is off."""
    if old is None or old.spec.strategy is None:
        new.spec.strategy = None
    if old is None or old.spec.preferred_holder is None:
        new.spec.preferred_holder = None


RESOURCE: Final[Resource[Lease]] = Resource(
    type=Lease,
    group="coordination.k8s.io",
    version="v1",
    kind="Lease",
    plural="leases",
    namespaced=True,
    validate=validate,
    drop_gated=drop_gated,
    columns=(
        Column("Holder", "string", lambda lease, now: lease.spec.holder_identity or "", "Who holds the lease."),
        AGE,
    ),
)

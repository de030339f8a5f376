"""PriorityLevelConfiguration: how much of the server requests of one priority may take (KEP-1040)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from api import names
from api import validation as v
from api.columns import AGE, NONE
from api.flowcontrol.condition import FlowControlCondition
from api.meta import ObjectMeta
from api.resource import Column, Resource, keep_all_but_status
from api.schema import Int32, Struct, always, field, wire

_SHARES: Final = 30
_QUEUES: Final = 64
_HAND_SIZE: Final = 8
_QUEUE_LENGTH: Final = 50
_QUEUES_MAX: Final = 10_000_000
_HASH_BITS: Final = 60
"""Of what a flow is known by, which its hand of queues is dealt from."""


class PriorityLevelConfigurationCondition(FlowControlCondition):
    """One question about a level (`type`), its answer, and since when."""


class PriorityLevelConfigurationStatus(Struct):
    """What was observed of a priority level.

    Attributes:
        conditions: Answers to questions about the level; none is known today.
    """

    conditions: Annotated[
        list[PriorityLevelConfigurationCondition], wire(1, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


class ExemptPriorityLevelConfiguration(Struct):
    """What share of the server a level gives away whose own requests are never held back.

    Attributes:
        nominal_concurrency_shares: Its share of all seats beside other levels' shares; 0 by default.
        lendable_percent: How much of that others may borrow, in percent; 0 by default.
    """

    nominal_concurrency_shares: Annotated[Int32 | None, wire(1)] = None
    lendable_percent: Annotated[Int32 | None, wire(2)] = None


class QueuingConfiguration(Struct):
    """The queues in which requests of a level wait; each flow uses only a few of them.

    Attributes:
        queues: How many queues there are; 64 by default.
        hand_size: How many queues each flow is dealt, of which it takes the shortest; 8 by default, and not more than
            queues.
        queue_length_limit: How many requests wait in a queue at most; others are refused. 50 by default.
    """

    queues: Annotated[Int32, wire(1)] = 0
    hand_size: Annotated[Int32, wire(2)] = 0
    queue_length_limit: Annotated[Int32, wire(3)] = 0


class LimitResponse(Struct):
    """What becomes of requests that cannot run at once.

    Attributes:
        type: Queue lets them wait, Reject refuses them (429).
        queuing: The queues; only with Queue.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    queuing: Annotated[QueuingConfiguration | None, wire(2)] = None


class LimitedPriorityLevelConfiguration(Struct):
    """What share of the server a level has, and what becomes of requests beyond it.

    Attributes:
        nominal_concurrency_shares: Its share of all seats beside other levels' shares; 30 by default. 0 gives it only
            what it borrows.
        limit_response: What becomes of requests that cannot run at once.
        lendable_percent: How much of its seats others may borrow while it needs them not, in percent; 0 by default.
        borrowing_limit_percent: How much it may borrow from others, in percent of its own seats; unset, without limit.
    """

    nominal_concurrency_shares: Annotated[Int32 | None, wire(1)] = None
    limit_response: Annotated[LimitResponse, wire(2)] = field(default_factory=LimitResponse)
    lendable_percent: Annotated[Int32 | None, wire(3)] = None
    borrowing_limit_percent: Annotated[Int32 | None, wire(4)] = None


class PriorityLevelConfigurationSpec(Struct):
    """Whether requests of a level are held back, and at how many.

    Attributes:
        type: Exempt (never held back) or Limited.
        limited: The share and the queues; required for Limited, and not allowed otherwise.
        exempt: What it gives away; only for Exempt.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    limited: Annotated[LimitedPriorityLevelConfiguration | None, wire(2)] = None
    exempt: Annotated[ExemptPriorityLevelConfiguration | None, wire(3)] = None


class PriorityLevelConfiguration(Struct):
    """How much of the server requests of one priority may take, and how the others wait."""

    api_version: str = always("flowcontrol.apiserver.k8s.io/v1")
    kind: str = always("PriorityLevelConfiguration")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    spec: Annotated[PriorityLevelConfigurationSpec, wire(2)] = field(default_factory=PriorityLevelConfigurationSpec)
    status: Annotated[PriorityLevelConfigurationStatus, wire(3)] = field(
        default_factory=PriorityLevelConfigurationStatus
    )


MANDATORY: Final = {
    "exempt": PriorityLevelConfigurationSpec(
        type="Exempt", exempt=ExemptPriorityLevelConfiguration(nominal_concurrency_shares=0, lendable_percent=0)
    ),
    "catch-all": PriorityLevelConfigurationSpec(
        type="Limited",
        limited=LimitedPriorityLevelConfiguration(
            nominal_concurrency_shares=5, limit_response=LimitResponse(type="Reject"), lendable_percent=0
        ),
    ),
}
"""The levels that every server has, which stay as they are, but for what `exempt` gives away."""


def default(level: PriorityLevelConfiguration) -> None:
    """Thirty shares and, where requests wait, 64 queues of 50, eight a flow."""
    exempt, limited = level.spec.exempt, level.spec.limited
    if level.spec.type == "Exempt":
        exempt = level.spec.exempt = exempt or ExemptPriorityLevelConfiguration()
    if exempt is not None:
        if exempt.nominal_concurrency_shares is None:
            exempt.nominal_concurrency_shares = 0
        if exempt.lendable_percent is None:
            exempt.lendable_percent = 0
    if limited is not None:
        if limited.nominal_concurrency_shares is None:
            limited.nominal_concurrency_shares = _SHARES
        if limited.lendable_percent is None:
            limited.lendable_percent = 0
        queuing = limited.limit_response.queuing
        if queuing is not None:
            queuing.queues = queuing.queues or _QUEUES
            queuing.hand_size = queuing.hand_size or _HAND_SIZE
            queuing.queue_length_limit = queuing.queue_length_limit or _QUEUE_LENGTH


def validate(new: PriorityLevelConfiguration, old: PriorityLevelConfiguration | None) -> v.Errors:
    """Check that a level is exempt or limited, and by how much; `exempt` alone is exempt."""
    spec = new.spec
    if (new.metadata.name == "exempt") is not (spec.type == "Exempt"):
        yield v.invalid("spec.type", spec.type, "type must be 'Exempt' if and only if name is 'exempt'")
    match spec.type:
        case "Exempt":
            if spec.limited is not None:
                yield v.forbidden("spec.limited", "must be nil if the type is not Limited")
            if spec.exempt is not None:
                yield from _check_shares(
                    "spec.exempt", spec.exempt.nominal_concurrency_shares, spec.exempt.lendable_percent
                )
        case "Limited":
            if spec.exempt is not None:
                yield v.forbidden("spec.exempt", "must be nil if the type is Limited")
            if spec.limited is None:
                yield v.required("spec.limited", "must not be empty when type is Limited")
            else:
                yield from _check_limited("spec.limited", spec.limited)
        case other:
            yield v.not_supported("spec.type", other, ("Exempt", "Limited"))
    name = new.metadata.name
    if not is_as_it_must(name, spec):
        except_for = " except the 'spec.exempt' field" if name == "exempt" else ""
        yield v.invalid("spec", spec, f"spec of '{name}'{except_for} must equal the fixed value")


def is_as_it_must(name: str, spec: PriorityLevelConfigurationSpec) -> bool:
    """Whether a level of that name may have this spec; those that are not mandatory may have any."""
    wanted = MANDATORY.get(name)
    if wanted is None:
        return True
    if name != "exempt":
        return spec == wanted
    return spec.exempt is not None and (spec.type, spec.limited) == (wanted.type, wanted.limited)


def _check_shares(path: str, shares: int | None, lendable: int | None) -> v.Errors:
    if shares is not None and shares < 0:
        yield v.invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    if lendable is not None and not 0 <= lendable <= 100:
        yield v.invalid(f"{path}.lendablePercent", lendable, "must be between 0 and 100, inclusive")


def _check_limited(path: str, limited: LimitedPriorityLevelConfiguration) -> v.Errors:
    yield from _check_shares(path, limited.nominal_concurrency_shares, limited.lendable_percent)
    if limited.borrowing_limit_percent is not None and limited.borrowing_limit_percent < 0:
        why = "if specified, must be a non-negative integer"
        yield v.invalid(f"{path}.borrowingLimitPercent", limited.borrowing_limit_percent, why)
    response, where = limited.limit_response, f"{path}.limitResponse"
    match response.type:
        case "Reject":
            if response.queuing is not None:
                yield v.forbidden(f"{where}.queuing", "must be nil if limited.limitResponse.type is not Limited")
        case "Queue":
            if response.queuing is None:
                yield v.required(f"{where}.queuing", "must not be empty if limited.limitResponse.type is Limited")
            else:
                yield from _check_queuing(f"{where}.queuing", response.queuing)
        case other:
            yield v.not_supported(f"{where}.type", other, ("Queue", "Reject"))


def _check_queuing(path: str, queuing: QueuingConfiguration) -> v.Errors:
    if queuing.queue_length_limit <= 0:
        yield v.invalid(f"{path}.queueLengthLimit", queuing.queue_length_limit, "must be positive")
    if queuing.queues <= 0:
        yield v.invalid(f"{path}.queues", queuing.queues, "must be positive")
    elif queuing.queues > _QUEUES_MAX:
        yield v.invalid(f"{path}.queues", queuing.queues, f"must not be greater than {_QUEUES_MAX}")
    if queuing.hand_size <= 0:
        yield v.invalid(f"{path}.handSize", queuing.hand_size, "must be positive")
    elif queuing.hand_size > queuing.queues:
        why = f"should not be greater than queues ({queuing.queues})"
        yield v.invalid(f"{path}.handSize", queuing.hand_size, why)
    elif math.ceil(math.log2(queuing.queues) * queuing.hand_size) > _HASH_BITS:
        deal = f"deckSize {queuing.queues} and handSize {queuing.hand_size}"
        why = f"required entropy bits of {deal} should not be greater than {_HASH_BITS}"
        yield v.invalid(f"{path}.handSize", queuing.hand_size, why)


def _shares(level: PriorityLevelConfiguration, now: float) -> Any:
    limits = level.spec.limited or level.spec.exempt
    return NONE if limits is None else limits.nominal_concurrency_shares or 0


def _queuing(level: PriorityLevelConfiguration, label: str) -> Any:
    queuing = level.spec.limited.limit_response.queuing if level.spec.limited is not None else None
    return NONE if queuing is None else getattr(queuing, label)


RESOURCE: Final[Resource[PriorityLevelConfiguration]] = Resource(
    type=PriorityLevelConfiguration,
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    namespaced=False,
    subresources=("status",),
    check_name=names.check_path_segment,
    default=default,
    validate=validate,
    prepare_for_status_update=keep_all_but_status,
    generation=True,
    columns=(
        Column("Type", "string", lambda level, now: level.spec.type, "Exempt, or Limited."),
        Column("NominalConcurrencyShares", "string", _shares, "Its share of the server."),
        Column("Queues", "string", lambda level, now: _queuing(level, "queues"), "How many queues it has."),
        Column("HandSize", "string", lambda level, now: _queuing(level, "hand_size"), "How many of them a flow uses."),
        Column(
            "QueueLengthLimit",
            "string",
            lambda level, now: _queuing(level, "queue_length_limit"),
            "How many wait in one.",
        ),
        AGE,
    ),
)

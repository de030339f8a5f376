"""What a whole pod requests, and is limited to, from what its containers say: exact, and for any resource. Pure.

Containers run together, so they add up. Init containers run one after the other before them, each beside the sidecars
(init containers with restartPolicy Always, KEP-753) started so far, and sidecars stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from api.quantity import Amount, parse

Amounts: TypeAlias = dict[str, Amount]


def pod_requests(spec: Any) -> Amounts:
    """Return what a PodSpec requests at its hungriest moment, without overhead."""
    return _at_most(spec, lambda container: container.resources.requests)


def pod_limits(spec: Any) -> Amounts:
    """Return what a PodSpec is limited to, without overhead; of a resource that only some containers limit, theirs."""
    return _at_most(spec, lambda container: container.resources.limits)


def with_overhead(amounts: Amounts, spec: Any) -> Amounts:
    """Add the overhead of a PodSpec, to what is in `amounts` or everything."""
    return plus(amounts, parsed(spec.overhead))


def parsed(quantities: Mapping[str, str]) -> Amounts:
    """Return exact amounts of quantities."""
    return {name: parse(text) for name, text in quantities.items()}


def plus(left: Mapping[str, Amount], right: Mapping[str, Amount]) -> Amounts:
    """Return the sum, resource by resource."""
    total = dict(left)
    for name, amount in right.items():
        total[name] = total[name] + amount if name in total else amount
    return total


def _at_most(spec: Any, amounts_of: Callable[[Any], Mapping[str, str]]) -> Amounts:
    running = _sum(parsed(amounts_of(container)) for container in spec.containers)
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.init_containers:
        wanted = plus(sidecars, parsed(amounts_of(container)))
        if container.restart_policy == "Always":
            sidecars = wanted
        starting = _largest(starting, wanted)
    return _largest(plus(running, sidecars), starting)


def _sum(each: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for amounts in each:
        total = plus(total, amounts)
    return total


def _largest(left: Amounts, right: Amounts) -> Amounts:
    largest = dict(left)
    for name, amount in right.items():
        if name not in largest or amount > largest[name]:
            largest[name] = amount
    return largest

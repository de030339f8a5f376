"""What changed since the last sync, and what it means for compiled rules. Pure.

`State` keeps every port as last compiled. Told which Services may have changed, it recompiles only those, so the cost
of a change does not grow with the number of Services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from api.core.service import Service
from api.discovery.endpointslice import EndpointSlice
from api.resource import ObjectKey
from kubeproxy.health_checks import LocalCheck, local_check
from kubeproxy.rules import PortRules, Ruleset, assemble, compile_port
from kubeproxy.topology import NodeView, ServedPort, served_ports, service_of

Lookup = Callable[[ObjectKey], tuple[Service | None, Sequence[EndpointSlice]]]
"""Returns a Service and its slices as they are now."""


def key_of_slice(slice: EndpointSlice) -> ObjectKey:
    """Return the key of the Service that a slice belongs to."""
    return ObjectKey(slice.metadata.namespace, service_of(slice))


class State:
    """Every Service as this node serves it, and the rules that follow."""

    def __init__(self, node: NodeView) -> None:
        self._node = node
        self._compiled: dict[ObjectKey, tuple[tuple[ServedPort, PortRules], ...]] = {}
        self._checks: dict[ObjectKey, LocalCheck] = {}

    def move(self, zone: str) -> bool:
        """Take note of the zone this node is in; whether that is news, and so every Service has to be updated."""
        if zone == self._node.zone:
            return False
        self._node = replace(self._node, zone=zone)
        return True

    def update(self, keys: Iterable[ObjectKey], look_up: Lookup) -> None:
        """Bring the Services of `keys` up to date; those that `look_up` no longer knows are dropped."""
        for key in keys:
            service, slices = look_up(key)
            ports = served_ports(service, slices, self._node) if service is not None else ()
            known = dict(self._compiled.get(key, ()))
            compiled = tuple((port, known.get(port) or compile_port(port, self._node)) for port in ports)
            if compiled:
                self._compiled[key] = compiled
            else:
                self._compiled.pop(key, None)
            check = local_check(service, slices, self._node) if service is not None else None
            if check is not None:
                self._checks[key] = check
            else:
                self._checks.pop(key, None)

    def ports(self) -> list[ServedPort]:
        """Return every port served."""
        return [port for ports in self._compiled.values() for port, _ in ports]

    def checks(self) -> list[LocalCheck]:
        """Return what is answered on health check ports."""
        return list(self._checks.values())

    def ruleset(self) -> Ruleset:
        """Return every rule; what did not change is the very object it was before."""
        entries = [(port.name, rules) for ports in self._compiled.values() for port, rules in ports]
        return assemble(entries, self._node)

"""What a pod can be told of itself: fields and resources, for environment variables and downward API volumes. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.core.containers import Container, EphemeralContainer
from api.core.pod import Pod
from api.core.references import ResourceFieldSelector
from api.quantity import parse

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


class UnknownField(Exception):
    """A reference names a field that cannot be shown."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is only known once the pod has a network."""

    host_ips: tuple[str, ...] = ()
    pod_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, str] | None = None
    """The node's, as quantities: what a container without a limit can use."""


def field_value(pod: Pod, path: str, facts: PodFacts) -> str:
    """Return the text of `metadata.name`, `status.podIP`, `metadata.labels['a']` and their like.

    Raises:
        UnknownField: it is not one of the fields that can be referred to.
    """
    meta = pod.metadata
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        values = meta.labels if subscript[1] == "labels" else meta.annotations
        return values.get(subscript[2], "")
    match path:
        case "metadata.name":
            return meta.name
        case "metadata.namespace":
            return meta.namespace
        case "metadata.uid":
            return meta.uid
        case "metadata.labels":
            return render_map(meta.labels)
        case "metadata.annotations":
            return render_map(meta.annotations)
        case "spec.nodeName":
            return pod.spec.node_name
        case "spec.serviceAccountName":
            return pod.spec.service_account_name
        case "status.hostIP":
            return facts.host_ips[0] if facts.host_ips else ""
        case "status.hostIPs":
            return ",".join(facts.host_ips)
        case "status.podIP":
            return facts.pod_ips[0] if facts.pod_ips else ""
        case "status.podIPs":
            return ",".join(facts.pod_ips)
    raise UnknownField(f"unsupported fieldPath: {path}")


def render_map(values: Mapping[str, str]) -> str:
    """Return `key="value"` lines in key order, values quoted as Go does."""
    return "\n".join(f"{key}={_quote(value)}" for key, value in sorted(values.items()))


_ESCAPES = {'"': '\\"', "\\": "\\\\"} | dict(zip("\a\b\f\n\r\t\v", (f"\\{ch}" for ch in "abfnrtv"), strict=True))


def _quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(ch) or (ch if ch.isprintable() else _by_number(ch)) for ch in text) + '"'


def _by_number(ch: str) -> str:
    code = ord(ch)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def resource_value(container: Container | EphemeralContainer, selector: ResourceFieldSelector, facts: PodFacts) -> str:
    """Return a container's `limits.cpu`, `requests.memory` and their like, in units of the divisor, rounded up.

    A container without a limit may use all that the node can give. Raises UnknownField.
    """
    kind, _, name = selector.resource.partition(".")
    if kind not in ("limits", "requests") or not name:
        raise UnknownField(f"unsupported container resource: {selector.resource}")
    limits, requests = container.resources.limits, container.resources.requests
    amount = limits.get(name) if kind == "limits" else requests.get(name, limits.get(name))
    if amount is None and kind == "limits":
        amount = (facts.allocatable or {}).get(name)
    divisor = parse(selector.divisor) if selector.divisor else parse("1")
    per = divisor.nanos or parse("1").nanos
    return str(-(-parse(amount or "0").nanos // per))


def container_named(pod: Pod, name: str) -> Container | None:
    """Return a main or init container of the pod."""
    candidates: Sequence[Container] = [*pod.spec.containers, *pod.spec.init_containers]
    return next((container for container in candidates if container.name == name), None)

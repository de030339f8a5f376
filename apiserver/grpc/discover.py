"""What other servers serve, told to our own processes: who looks after objects of every kind has to know of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from api.apiregistration.apiservice import APIService
from apiserver.aggregation.availability import Gathered
from proto.steersman.v1 import resources_pb2 as pb


def discovered(services: Iterable[APIService], gathered: Mapping[str, Gathered]) -> pb.Discovered:
    """Return the kinds of each aggregated version, preferred versions first; one never heard of is stale."""
    ordered = sorted(services, key=lambda each: (-each.spec.version_priority, each.metadata.name))
    return pb.Discovered(versions=[_version(each, gathered.get(each.metadata.name)) for each in ordered])


def _version(service: APIService, known: Gathered | None) -> pb.ServedVersion:
    spec = service.spec
    kinds = _kinds(msgspec.json.decode(known.version.resources)) if known is not None else ()
    is_stale = known is None or not known.version.is_fresh
    return pb.ServedVersion(group=spec.group, version=spec.version, is_stale=is_stale, kinds=kinds)


def _kinds(entries: list[dict[str, Any]]) -> Iterable[pb.ServedKind]:
    """Read entries as an aggregated discovery document has them; what another server says wrongly is passed over."""
    for entry in entries:
        plural, kind, verbs = entry.get("resource"), (entry.get("responseKind") or {}).get("kind"), entry.get("verbs")
        if isinstance(plural, str) and isinstance(kind, str) and isinstance(verbs, list):
            named = [verb for verb in verbs if isinstance(verb, str)]
            yield pb.ServedKind(plural=plural, kind=kind, namespaced=entry.get("scope") == "Namespaced", verbs=named)

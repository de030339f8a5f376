"""What load balancers ask of a node as a whole: should connections come here? KEP-3836, on upstream's port 10256.

`/healthz` says no while the rules have not been right for a minute, and when the node is on its way out: being deleted,
or marked by the cluster autoscaler. Connections that are here stay; so `/livez`, for whoever restarts processes, only
looks at the rules. Pure.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from api.core.node import Node
from component.health import Page

LEAVING_TAINT = "ToBeDeletedByClusterAutoscaler"
TOLERATED_S = 60.0
"""How long rules may be out of date: a balancer should not run from a node for one failed attempt."""


def is_eligible(node: Node) -> bool:
    """Whether a node will stay."""
    is_marked = any(taint.key == LEAVING_TAINT for taint in node.spec.taints)
    return not is_marked and not node.metadata.deletion_timestamp


def page(path: str, *, is_healthy: bool, is_eligible: bool, updated: float, now: float) -> Page:
    """Return the answer for a path; `updated` is when the rules were last right. Times are seconds of the epoch."""
    content: dict[str, object] = {"lastUpdated": _spell(now if is_healthy else updated), "currentTime": _spell(now)}
    if path == "/healthz":
        content["nodeEligible"] = is_eligible
        is_healthy = is_healthy and is_eligible
    elif path != "/livez":
        return Page(404, "text/plain", b"there are /healthz, /livez here\n")
    headers = ("X-Content-Type-Options: nosniff",)
    return Page(200 if is_healthy else 503, "application/json", json.dumps(content).encode(), headers)


def _spell(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")

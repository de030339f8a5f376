"""DenyServiceExternalIPs: no Service takes traffic of an address that it merely names (CVE-2020-8554).

Those that a Service has already may stay, and be taken away.
"""

from __future__ import annotations

from typing import Any

from api.core import service
from apiserver.admission.namespace_lifecycle import refusal
from apiserver.request import AdmissionRequest


class DenyServiceExternalIPs:
    """The plugin."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Judge new external IPs; raises Forbidden."""
        if (
            request.resource is not service.RESOURCE
            or request.subresource
            or request.operation not in ("CREATE", "UPDATE")
        ):
            return
        new: Any = request.object
        old: Any = request.old
        known = old.spec.external_ips if old is not None else ()
        if not set(new.spec.external_ips) <= set(known):
            raise refusal(request, "Use of external IPs is denied by admission control.")

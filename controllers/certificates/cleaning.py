"""Deletes requests for certificates that nobody needs any more: done an hour ago, undecided for a day, or expired."""

from __future__ import annotations

import math
from typing import Final

from api import timestamps
from api.certificates import certificatesigningrequest as requests_kind
from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.certificates.reading import read_certificates
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import Delete, Plan
from controllers.runner import Controller, Listers

DECIDED_S: Final = 3600.0
UNDECIDED_S: Final = 24 * 3600.0
LOOK_AGAIN_S_MAX: Final = 3600.0


def observe(key: ObjectKey, listers: Listers) -> CertificateSigningRequest | None:
    """Read the request."""
    return listers[requests_kind.RESOURCE].get(key)


def useless_at(request: CertificateSigningRequest) -> float:
    """Return from when on nobody needs the request."""
    created = timestamps.parse(request.metadata.creation_timestamp)
    moments = []
    for condition in request.status.conditions:
        said = timestamps.parse(condition.last_update_time) if condition.last_update_time else created
        if condition.type in ("Denied", "Failed") or (condition.type == "Approved" and request.status.certificate):
            moments.append(said + DECIDED_S)
    if not request.status.conditions:
        moments.append(created + UNDECIDED_S)
    if request.status.certificate:
        try:
            moments.append(read_certificates(request.status.certificate)[0].not_valid_after_utc.timestamp())
        except ValueError:
            moments.append(created + DECIDED_S)
    return min(moments, default=math.inf)


def reconcile(observed: CertificateSigningRequest, now: float) -> Plan:
    """Delete it, or look again when its time has come."""
    left_s = useless_at(observed) - now
    if left_s > 0 or observed.metadata.deletion_timestamp:
        return Plan(requeue_after_s=min(max(left_s, 1.0), LOOK_AGAIN_S_MAX))
    return Plan((Delete(requests_kind.RESOURCE, key_of(observed), observed.metadata.uid),))


CONTROLLER: Controller[CertificateSigningRequest, CertificateSigningRequest] = Controller(
    name="csrcleaner", resource=requests_kind.RESOURCE, observe=observe, reconcile=reconcile, workers=1
)

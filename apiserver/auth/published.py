"""Publishes how users are known here, for aggregated servers: ConfigMap kube-system/extension-apiserver-authentication.

They read whose client certificates name users, and whom to believe what X-Remote-* headers say; role
`extension-apiserver-authentication-reader` lets them. CAs that another server of the cluster has put there stay for as
long as they are in date, so that servers with old and new CAs can run side by side. Keys are upstream's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from api.certificates.reading import read_certificates
from api.core import configmap
from api.core.configmap import ConfigMap
from api.errors import ApiError, NotFound
from api.meta import ObjectMeta
from apiserver.bootstrap import create_if_missing
from apiserver.registry.codec import Stored
from apiserver.registry.deletion import Keep, Put, Write
from apiserver.registry.registries import Registries
from component.clock import Clock

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-system"
NAME: Final = "extension-apiserver-authentication"
LOOK_S: Final = 5.0
_CLIENT_CA, _PROXY_CA = "client-ca-file", "requestheader-client-ca-file"


def wanted(client_ca: bytes, front_proxy_ca: bytes | None, names: Sequence[str]) -> dict[str, str]:
    """Return what the ConfigMap should say. Pure."""
    data = {_CLIENT_CA: client_ca.decode()}
    if front_proxy_ca is not None:
        data |= {
            _PROXY_CA: front_proxy_ca.decode(),
            "requestheader-allowed-names": _listed(names),
            "requestheader-extra-headers-prefix": _listed(["X-Remote-Extra-"]),
            "requestheader-group-headers": _listed(["X-Remote-Group"]),
            "requestheader-uid-headers": _listed(["X-Remote-Uid"]),
            "requestheader-username-headers": _listed(["X-Remote-User"]),
        }
    return data


def merged(have: Mapping[str, str], want: Mapping[str, str], now_s: float) -> dict[str, str]:
    """Return `have` brought up to `want`, with the CAs that are there and in date kept. Pure."""
    found = {**have, **want}
    for key in (_CLIENT_CA, _PROXY_CA):
        if key in want:
            ours = _certificates(want[key])
            theirs = [
                each for each in _certificates(have.get(key, "")) if each not in ours and _is_in_date(each, now_s)
            ]
            kept = [each.public_bytes(Encoding.PEM).decode() for each in theirs]
            found[key] = want[key] + "".join(kept)
    return found


def _listed(names: Sequence[str]) -> str:
    return msgspec.json.encode(list(names)).decode()


def _certificates(pem: str) -> list[x509.Certificate]:
    try:
        return read_certificates(pem.encode())
    except ValueError:
        return []


def _is_in_date(certificate: x509.Certificate, now_s: float) -> bool:
    return certificate.not_valid_after_utc > datetime.fromtimestamp(now_s, UTC)


class Published:
    """Keeps the ConfigMap; `run` must be running."""

    def __init__(self, registries: Registries, clock: Clock, data: Callable[[], Mapping[str, str]]) -> None:
        self._registries = registries
        self._clock = clock
        self._data = data

    async def run(self) -> None:
        """Look after it until cancelled."""
        while True:
            try:
                await self.reconcile()
            except ApiError as error:
                log.info("ConfigMap not kept", extra={"object": NAME, "why": error.message})
            await self._clock.sleep(LOOK_S)

    async def reconcile(self) -> None:
        """Make it, or bring it up to date."""
        made = ConfigMap(metadata=ObjectMeta(name=NAME, namespace=NAMESPACE), data=dict(self._data()))
        if await create_if_missing(self._registries, configmap.RESOURCE, made):
            return

        async def decide(current: Stored) -> Write:
            obj = current.codec.decode(current.json)
            data = merged(obj.data, self._data(), self._clock.now())
            if data == obj.data:
                return Keep()
            obj.data = data
            return Put(obj)

        try:
            await self._registries.of(configmap.RESOURCE).write(NAMESPACE, NAME, decide)
        except NotFound:
            return

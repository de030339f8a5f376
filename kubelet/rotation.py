"""A node's certificates, renewed before they end while the kubelet runs.

`renew_at_s` is pure: when, between 70 and 90 percent of a certificate's life, so that nodes that joined together do not
come together again (upstream's certificate manager does the same). `Rotation` asks for the next certificate with the
one there is, and replaces key and certificate in one file at once, so that no reader and no power cut sees half of it.
Who uses the file reads it again by itself (`client.transport`, `component.certificates`).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from api.errors import ApiError
from client.certificates import NotIssued, Wanted, obtain
from client.verbs import Client
from component.clock import Clock
from component.files import write_private
from component.metrics import Family, Gauge
from kubelet import metrics

log = logging.getLogger(__name__)

EARLIEST, LATEST = 0.7, 0.9
"""Of a certificate's life."""
RETRY_S = 30.0
RETRY_S_MAX = 120.0
"""Upstream's asks every half minute: whoever renews again, a short certificate must not end before it is noticed."""
CLOCK_SKEW_S = 300.0
"""By how much signers date certificates back (upstream's do, ours do)."""
LOOK_EVERY_S = 60.0
"""How soon a clock that was set forward, or a certificate replaced by hand, is noticed."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """One certificate to keep fresh."""

    wanted: Wanted
    file: Path
    """Key and certificate, PEM."""


def renew_at_s(not_before_s: float, not_after_s: float, share: float) -> float:
    """Return when to renew a certificate; `share` in [0, 1) says where in the span that is left to chance."""
    return not_before_s + (not_after_s - not_before_s) * (EARLIEST + (LATEST - EARLIEST) * share)


def issued_at_s(not_before_s: float, not_after_s: float) -> float:
    """Return when a certificate was most likely issued: they are good from a little earlier on, for clocks behind."""
    return not_before_s + min(CLOCK_SKEW_S, (not_after_s - not_before_s) / 2)


def lifetime_s(file: Path) -> tuple[float, float]:
    """Return from when until when the certificate in `file` is good; (0, 0) when there is none to read."""
    from cryptography import x509  # late: a kubelet that rotates nothing does without the library

    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return 0.0, 0.0
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


class Rotation:
    """Keeps a node's certificates fresh."""

    def __init__(self, client: Client, rotated: Sequence[Rotated], *, clock: Clock, rng: random.Random) -> None:
        self._client = client
        self._rotated = rotated
        self._clock = clock
        self._shares = {each.file: rng.random() for each in rotated}
        self.last_error: str | None = None
        """Why the last attempt failed, until one succeeds."""

    def families(self) -> list[Family]:
        """Return how long each certificate is still good, for a scrape."""
        found: list[Family] = []
        for each in self._rotated:
            which = "client" if "client auth" in each.wanted.usages else "server"
            name = f"kubelet_certificate_manager_{which}_ttl_seconds"
            found.append(Gauge(name, "How long the certificate is still good.", partial(self._left_s, each.file)))
        return found

    def _left_s(self, file: Path) -> float:
        return lifetime_s(file)[1] - self._clock.now()

    async def run(self) -> None:
        """Renew each in time, until cancelled."""
        retry_s = RETRY_S
        while True:
            now = self._clock.now()
            due = {each.file: self._due_s(each.file) for each in self._rotated}
            late = [each for each in self._rotated if due[each.file] <= now]
            if not late:
                await self._clock.sleep(min(min(due.values()) - now, LOOK_EVERY_S))
                continue
            try:
                for each in late:
                    await self._renew(each)
                self.last_error, retry_s = None, RETRY_S
            except (NotIssued, ApiError, OSError) as error:
                self.last_error = f"{error}"
                metrics.RENEWAL_ERRORS.add()
                self._complain(late, error)
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_S_MAX)

    def _due_s(self, file: Path) -> float:
        begin, end = lifetime_s(file)
        return renew_at_s(issued_at_s(begin, end), end, self._shares[file])

    async def _renew(self, each: Rotated) -> None:
        key, certificate = await obtain(self._client, each.wanted)
        write_private(each.file, key + certificate)
        log.info("certificate renewed", extra={"file": each.file, "signer": each.wanted.signer})

    def _complain(self, late: Sequence[Rotated], error: Exception) -> None:
        now = self._clock.now()
        for each in late:
            if lifetime_s(each.file)[1] <= now:
                log.error(
                    "this node's certificate has ended, and no other can be asked for with it: run "
                    "`steer token create` on a control-plane machine, and `steer join` here as it prints",
                    extra={"file": each.file, "why": error},
                )
            else:
                log.warning("certificate not renewed yet", extra={"file": each.file, "why": error})

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.errors import ServiceUnavailable
from client.certificates import CLIENT_SIGNER, Wanted, request
from client.verbs import Client
from controllers.certificates.signing import Authority as Signer
from controllers.certificates.signing import load
from deploy.pki import Authority, Leaf
from kubelet.rotation import EARLIEST, LATEST, Rotated, Rotation, issued_at_s, lifetime_s, renew_at_s

WANTED = Wanted(CLIENT_SIGNER, "n1")


@given(st.floats(0, 1e9), st.floats(1, 1e9), st.floats(0, 1, exclude_max=True))
def test_a_certificate_is_renewed_late_in_its_life_and_before_its_end(begin: float, life: float, share: float) -> None:
    at = renew_at_s(begin, begin + life, share)
    assert begin + EARLIEST * life - 1 <= at <= begin + LATEST * life + 1


@given(st.floats(1e3, 1e9), st.floats(60, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_certificate_just_issued_is_not_due_though_it_is_short_and_dated_back(
    now: float, life: float, share: float
) -> None:
    for dated_back in (0.0, 300.0):
        begin, end = now - dated_back, now + life
        due = renew_at_s(issued_at_s(begin, end), end, share)
        assert now < due < end
    assert renew_at_s(issued_at_s(now - 300, now + 301), now + 301, 0) > now + 200


def test_a_missing_or_damaged_file_is_due(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    assert lifetime_s(tmp_path / "x.pem") == (0.0, 0.0) == lifetime_s(tmp_path / "y.pem")


class Stop(Exception):
    pass


class Clock:
    """Stands at `at`; sleeping moves it, and after `sleeps` sleeps the test is over."""

    def __init__(self, at: float, sleeps: int) -> None:
        self.at, self.sleeps, self.slept = at, sleeps, list[float]()

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        if len(self.slept) >= self.sleeps:
            raise Stop


class Server:
    """Signs at once what it is asked, or cannot."""

    def __init__(self, signer: Signer, at: Clock) -> None:
        self.signer, self.at, self.is_well, self.asked = signer, at, True, 0

    async def create(self, resource: Any, obj: CertificateSigningRequest) -> CertificateSigningRequest:
        self.asked += 1
        if not self.is_well:
            raise ServiceUnavailable("no quorum")
        obj.metadata.name = f"csr-{self.asked}"
        obj.status.certificate = self.signer.sign(obj, self.at.now())
        return obj


def rotation(tmp_path: Path, sleeps: int, at_share_of_life: float) -> tuple[Rotation, Clock, Server, Path]:
    authority = Authority(tmp_path / "ca", "test")
    file = tmp_path / "client.pem"
    authority.ensure_in_one(Leaf("client", "system:node:n1", ("system:nodes",)), file)
    begin, end = lifetime_s(file)
    clock = Clock(begin + (end - begin) * at_share_of_life, sleeps)
    server = Server(load(authority.cert_path, tmp_path / "ca" / "ca.key"), clock)
    rotated = Rotated(WANTED, file)
    made = Rotation(cast(Client, server), [rotated], clock=cast(Any, clock), rng=random.Random(1))
    return made, clock, server, file


async def run(made: Rotation) -> None:
    try:
        await made.run()
    except Stop:
        return


async def test_a_fresh_certificate_is_left_alone(tmp_path: Path) -> None:
    made, clock, server, file = rotation(tmp_path, sleeps=1, at_share_of_life=0.1)
    before = file.read_bytes()
    await run(made)
    assert (server.asked, file.read_bytes()) == (0, before)
    assert clock.slept[0] <= 60


async def test_an_old_one_is_renewed_in_place(tmp_path: Path) -> None:
    made, clock, server, file = rotation(tmp_path, sleeps=1, at_share_of_life=0.95)
    before = lifetime_s(file)[1]
    await run(made)
    assert server.asked == 1
    assert lifetime_s(file)[1] > before
    assert file.read_bytes().count(b"PRIVATE KEY") == 2 and file.stat().st_mode & 0o077 == 0


async def test_a_failure_is_tried_again_ever_more_slowly_and_keeps_the_old_one(tmp_path: Path) -> None:
    made, clock, server, file = rotation(tmp_path, sleeps=3, at_share_of_life=0.95)
    before, server.is_well = file.read_bytes(), False
    await run(made)
    assert clock.slept == [30.0, 60.0, 120.0]
    assert file.read_bytes() == before
    assert made.last_error == "no quorum"


def test_a_request_asks_for_the_nodes_own_name_only() -> None:
    from client.certificates import make_key
    from controllers.certificates.requests import asked_in, check_kubelet_client

    asked = asked_in(request(WANTED, make_key()))
    assert check_kubelet_client(asked) == ""
    assert (asked.common_name, asked.organizations) == ("system:node:n1", ("system:nodes",))

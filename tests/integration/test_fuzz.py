"""A short run of the fuzzer with a fixed seed, and proof that it would see what it looks for."""

from __future__ import annotations

import pytest

from apiserver.request import Answer
from apiserver.verbs import get
from deploy.pki import Pki
from tests.fuzz.__main__ import STEPS, Run, episode
from tests.fuzz.arena import certificates
from tests.fuzz.watching import Held
from tests.fuzz.wire import Request

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return certificates(tmp_path_factory.mktemp("pki"))


async def found(pki: Pki, steps: int, seconds: float) -> str:
    _, failures = await episode(pki, "7:0", steps, seconds)
    return "\n".join(failures)


async def test_random_requests_find_nothing_wrong(pki: Pki):
    tally, failures = await episode(pki, "7:0", STEPS, 10)
    assert not failures, [failure.text for failure in failures.values()]
    assert tally["create"] and tally["answers 2xx"] and tally["answers 4xx"]


async def test_it_notices_an_answer_that_is_not_what_is_stored(pki: Pki, monkeypatch: pytest.MonkeyPatch):
    def altered(json: bytes, *rest: str) -> Answer:
        return Answer(json.replace(b'"fuzz"', b'"buzz"'), *rest)

    monkeypatch.setattr(get, "Answer", altered)
    assert "read-back" in await found(pki, 30, 10)


async def test_it_notices_a_traceback_and_a_500(pki: Pki, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> Answer:
        raise KeyError("on purpose")

    monkeypatch.setattr(get, "Answer", fail)
    noticed = await found(pki, 30, 10)
    assert "log: KeyError" in noticed
    assert "not-there" in noticed


async def test_it_notices_a_watch_that_loses_an_event(pki: Pki, monkeypatch: pytest.MonkeyPatch):
    async def lose(self: Held, history: object, judge=Held.judge) -> str | None:
        del self.heard[-1:]
        self.is_over = True
        return await judge(self, history)

    monkeypatch.setattr(Held, "judge", lose)
    assert "watch-differs" in await found(pki, 200, 10)


def test_a_run_goes_on_where_its_file_left_off(tmp_path):
    run = Run(seed=3, episodes=2, minutes=1.5, cases={"create": 7}, found={"log: x": "0001.json"})
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == run


def test_a_saved_request_is_the_one_that_was_sent():
    request = Request("POST", "/x?y=%00", b"\xff\x00", {"A": "b"}, b"raw\r\n")
    assert Request.from_json(request.to_json()) == request

from __future__ import annotations

import ssl
from typing import Any

import pytest

from deploy.machine import discovery
from deploy.machine.rest import NoAnswer, Refused, Rest


class Starting(Rest):
    """An API server that answers after a while."""

    def __init__(self, *answers: Exception | dict[str, Any]) -> None:
        super().__init__("https://127.0.0.1:1", ssl.create_default_context())
        self.answers = list(answers)

    def get(self, path: str) -> dict[str, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_server_that_is_just_starting_is_asked_again():
    server = Starting(NoAnswer("refused"), Refused(503, "the store does not answer"), {"data": {}})
    assert discovery._get(server, "/") == {"data": {}}


def test_a_refusal_is_final():
    with pytest.raises(Refused):
        discovery._get(Starting(Refused(403, "no"), {"data": {}}), "/")


def test_a_server_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(discovery, "ANSWER_WITHIN_S", 0.0)
    with pytest.raises(NoAnswer):
        discovery._get(Starting(NoAnswer("refused"), {"data": {}}), "/")


def test_a_connection_that_nobody_takes_is_no_answer():
    with pytest.raises(NoAnswer, match="https://127.0.0.1:9 does not answer"):
        Rest("https://127.0.0.1:9", ssl.create_default_context()).get("/")

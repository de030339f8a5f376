"""Tokens stand for users while they are used, and for nobody afterwards."""

from __future__ import annotations

from store.auth import tokens
from store.auth.tokens import LASTING_S, Tokens


def test_a_token_lasts_as_long_as_it_is_used():
    held = Tokens()
    held.assign("t", "alice")
    for now in (0.0, LASTING_S, 2 * LASTING_S):
        assert held.user_of("t", now) == "alice"
    assert held.user_of("t", 3 * LASTING_S + 1) is None
    assert held.user_of("t", 3 * LASTING_S + 1) is None
    assert len(held) == 0


def test_one_that_is_never_used_goes_in_the_end():
    held = Tokens()
    held.assign("t", "alice")
    held.sweep(10.0)
    assert len(held) == 1
    held.sweep(11.0 + LASTING_S)
    assert len(held) == 0


def test_a_users_tokens_go_with_it_and_are_no_more_than_so_many(monkeypatch):
    monkeypatch.setattr(tokens, "PER_USER_MAX", 3)
    held = Tokens()
    for number in range(5):
        held.assign(f"a{number}", "alice")
    held.assign("b", "bob")
    assert [held.user_of(f"a{number}", 0.0) for number in range(5)] == [None, None, "alice", "alice", "alice"]
    held.forget("alice")
    held.forget("nobody")
    assert held.user_of("a4", 0.0) is None and held.user_of("b", 0.0) == "bob"
    held.clear()
    assert len(held) == 0

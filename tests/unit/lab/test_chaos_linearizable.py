import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.chaos.history import Call, Kind, Outcome
from lab.chaos.linearizable import ABSENT, Answer, check_key, step


def call(kind: Kind, began: float, ended: float | None, *, client: int = 0, **fields) -> Call:
    outcome = Outcome.UNKNOWN if ended is None else Outcome.OK
    return Call(client, "m1", kind, "k", began, outcome=outcome, returned=ended or math.inf, **fields)


def put(value: str, began: float, ended: float | None) -> Call:
    return call(Kind.PUT, began, ended, argument=value)


def get(value: str | None, began: float, ended: float, version: int | None = None) -> Call:
    return call(Kind.GET, began, ended, value=value, version=version)


def answer(*calls: Call) -> Answer:
    return check_key("k", calls).answer


def test_reads_concurrent_with_a_write_may_see_either_value():
    assert answer(put("a", 0, 1), put("b", 2, 9), get("a", 3, 4), get("b", 5, 6)) is Answer.YES


def test_a_stale_read_is_caught():
    judgement = check_key("k", [put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)])
    assert judgement.answer is Answer.NO
    assert judgement.stuck is not None and judgement.stuck.value == "a"
    assert "no place for" in "\n".join(judgement.describe())


def test_reads_that_go_back_in_time_are_caught_even_during_the_write():
    assert answer(put("a", 0, 1), put("b", 2, 9), get("b", 3, 4), get("a", 5, 6)) is Answer.NO


def test_a_lost_acknowledged_write_is_caught():
    assert answer(put("a", 0, 1), get(None, 2, 3)) is Answer.NO


def test_an_unknown_write_may_be_lost_or_appear_late():
    assert answer(put("a", 0, None), get(None, 1, 2)) is Answer.YES
    assert answer(put("a", 0, None), get(None, 1, 2), get("a", 3, 4)) is Answer.YES


def test_an_unknown_write_may_not_come_and_go():
    assert answer(put("a", 0, None), get("a", 1, 2), get(None, 3, 4)) is Answer.NO


def test_a_write_applied_twice_shows_in_the_version():
    assert answer(put("a", 0, 1), get("a", 2, 3, version=1)) is Answer.YES
    assert answer(put("a", 0, 1), get("a", 2, 3, version=2)) is Answer.NO
    assert answer(put("a", 0, 1), put("b", 2, 3), get("b", 4, 5, version=3)) is Answer.NO


def test_a_failed_write_must_not_appear():
    failed = put("a", 0, 1)
    failed.outcome = Outcome.FAILED
    assert answer(failed, get(None, 2, 3)) is Answer.YES
    assert answer(failed, get("a", 2, 3)) is Answer.NO


def test_two_conditional_writes_on_one_value_cannot_both_win():
    first = call(Kind.CAS, 0, 5, argument="a", expected=None, is_done=True)
    second = call(Kind.CAS, 1, 6, argument="b", expected=None, is_done=True)
    assert answer(first, second) is Answer.NO
    second.is_done, second.value = False, "a"
    assert answer(first, second) is Answer.YES


def test_reads_that_may_be_stale_are_not_judged():
    stale = get(None, 2, 3)
    stale.is_serializable = True
    assert answer(put("a", 0, 1), stale) is Answer.YES


def test_hundreds_of_unseen_unknown_writes_are_decided_quickly():
    calls = [put("seen", 0, 1)]
    calls += [put(f"u{n}", 1 + n / 1000, None) for n in range(60)]
    calls += [call(Kind.DELETE, 1.5, None, client=n) for n in range(10)]
    calls += [put("last", 2, 3), get("last", 4, 5, version=43)]
    judgement = check_key("k", calls)
    assert judgement.answer is Answer.YES
    assert judgement.tried < 20_000


def test_giving_up_is_said_and_is_not_a_yes():
    calls = [put(f"v{n}", 0, 100) for n in range(12)] + [get("nobody wrote this", 101, 102)]
    assert check_key("k", calls, tried_max=50).answer is Answer.UNDECIDED


# -- against brute force


def explains(calls: list[Call]) -> bool:
    """Try every order of every choice of unknown calls."""
    definite = [c for c in calls if c.outcome is Outcome.OK]
    unknown = [c for c in calls if c.outcome is Outcome.UNKNOWN and c.kind is not Kind.GET]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            for order in itertools.permutations([*definite, *chosen]):
                if any(b.returned < a.invoked for a, b in itertools.combinations(order, 2)):
                    continue
                state = ABSENT
                for each in order:
                    following = step(state, each)
                    if following is None:
                        break
                    state = following
                else:
                    return True
    return False


@st.composite
def histories(draw) -> list[Call]:
    calls = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(list(Kind)))
        began = draw(st.integers(0, 8)) + number / 100
        is_known = draw(st.booleans()) or draw(st.booleans())
        ended = began + draw(st.integers(0, 6)) + 0.5 if is_known else None
        values = st.sampled_from([None, "v0", "v1", "v2", "v3"])
        calls.append(
            call(
                kind,
                began,
                ended,
                argument=f"v{number}" if kind in (Kind.PUT, Kind.CAS) else None,
                expected=draw(values) if kind is Kind.CAS else None,
                value=draw(values) if is_known else None,
                version=draw(st.sampled_from([None, None, 0, 1, 2])) if is_known else None,
                is_done=draw(st.booleans()),
            )
        )
    return calls


@given(histories())
@settings(max_examples=300, deadline=None)
def test_the_search_agrees_with_trying_every_order(calls: list[Call]):
    expected = Answer.YES if explains(calls) else Answer.NO
    assert check_key("k", calls).answer is expected


@st.composite
def real_histories(draw) -> list[Call]:
    """What a register that works would answer: each call takes effect somewhere within its time."""
    calls, state = [], ABSENT
    for number in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(list(Kind)))
        is_known = draw(st.integers(0, 4)) > 0
        made = call(
            kind,
            number - draw(st.floats(0, 3)),
            number + draw(st.floats(0.01, 3)) if is_known else None,
            argument=f"v{number}",
            expected=draw(st.sampled_from([None, state[0]])) if kind is Kind.CAS else None,
        )
        value, version = state
        made.is_done = value == made.expected if kind is Kind.CAS else value is not None
        if is_known:
            made.value, made.version = value, version
        if is_known or draw(st.booleans()):
            following = step(state, made)
            assert following is not None
            state = following
        calls.append(made)
    return calls


@given(real_histories())
@settings(max_examples=200, deadline=None)
def test_what_a_working_register_answers_is_never_accused(calls: list[Call]):
    assert check_key("k", calls).answer is Answer.YES


@pytest.mark.parametrize("kind", list(Kind))
def test_a_call_is_described_for_people(kind: Kind):
    made = call(kind, 1, 2, argument="v", expected="w", value="x", version=3)
    assert made.describe().startswith("client 0 via m1, 1.0000 to 2.0000: " + kind)
    assert Call.from_json(made.to_json()) == made

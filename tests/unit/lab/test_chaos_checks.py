import math

from lab.chaos.checks import (
    check_leases,
    check_ledger,
    check_members_agree,
    check_registers,
    check_revisions,
    check_watches,
    longest_silence,
)
from lab.chaos.history import Call, Event, History, Kind, LeaseLife, Outcome, Watched


def put(key: str, value: str, began: float, ended: float, revision: int, outcome: Outcome = Outcome.OK) -> Call:
    ended = math.inf if outcome is Outcome.UNKNOWN else ended
    return Call(0, "m1", Kind.PUT, key, began, value, outcome=outcome, returned=ended, revision=revision)


def get(key: str, value: str | None, began: float, ended: float, revision: int) -> Call:
    return Call(1, "m2", Kind.GET, key, began, outcome=Outcome.OK, returned=ended, value=value, revision=revision)


def event(revision: int, key: str, value: str | None, version: int = 1, previous: str | None = None) -> Event:
    return Event(revision, key, value, version, previous, float(revision))


def seen(*events: Event, covered: int = 9) -> Watched:
    return Watched("m1", 1, list(events), covered)


# -- order in time


def test_revisions_that_agree_with_time_are_clean():
    assert check_revisions([put("a", "1", 0, 1, 2), put("b", "2", 0.5, 3, 3), get("a", "1", 4, 5, 3)]) == []


def test_a_stale_read_of_another_key_is_caught_by_its_revision():
    found = check_revisions([put("a", "1", 0, 1, 2), put("b", "2", 2, 3, 3), get("a", "1", 4, 5, 2)])
    assert len(found) == 1 and found[0].startswith("older than what was answered")


def test_a_stale_read_is_excused_where_it_was_asked_for():
    stale = get("a", "1", 4, 5, 2)
    stale.is_serializable = True
    assert check_revisions([put("b", "2", 2, 3, 3), stale]) == []


def test_two_writes_cannot_share_a_revision():
    found = check_revisions([put("a", "1", 0, 5, 2), put("b", "2", 0, 5, 2)])
    assert found[0].startswith("two writes at one revision")


# -- writes that must last


def test_an_acknowledged_write_that_is_gone_is_a_loss():
    calls = [put("a", "1", 0, 1, 2), put("b", "2", 0, 1, 3)]
    found = check_ledger(calls, {"a": ("1", 1, 2)})
    assert len(found) == 1 and found[0].startswith("acknowledged and lost")


def test_a_write_applied_twice_is_caught():
    assert check_ledger([put("a", "1", 0, 1, 2)], {"a": ("1", 2, 3)})[0].startswith("applied 2 times")


def test_an_unknown_write_may_be_there_or_not_but_not_twice():
    perhaps = put("a", "1", 0, 1, 0, Outcome.UNKNOWN)
    assert check_ledger([perhaps], {}) == []
    assert check_ledger([perhaps], {"a": ("1", 1, 7)}) == []
    assert check_ledger([perhaps], {"a": ("1", 2, 7)}) != []


def test_a_refused_write_must_not_be_there():
    found = check_ledger([put("a", "1", 0, 1, 0, Outcome.FAILED)], {"a": ("1", 1, 7)})
    assert "though it was refused" in found[0]


def test_what_nobody_wrote_must_not_be_there():
    assert check_ledger([], {"a": ("1", 1, 7)}) == ["there, and nobody wrote it: a"]


def test_thousands_of_losses_are_summed_up():
    found = check_ledger([put(f"k{n}", "1", 0, 1, n + 2) for n in range(5000)], {})
    assert len(found) == 6 and found[-1] == "acknowledged and lost: and 4995 more"


# -- watches


def test_watchers_that_saw_the_same_are_clean():
    events = [event(2, "a", "1"), event(3, "a", "2", 2, "1"), event(4, "a", None, 0, "2")]
    calls = [put("a", "1", 0, 1, 2), put("a", "2", 2, 3, 3)]
    calls.append(Call(0, "m1", Kind.DELETE, "a", 4, outcome=Outcome.OK, returned=5, revision=4))
    assert check_watches([seen(*events), seen(*events)], calls, 9) == []


def test_an_event_missed_told_twice_or_out_of_order_is_caught():
    calls = [put("a", "1", 0, 1, 2), put("b", "2", 0, 1, 3)]
    one, two = event(2, "a", "1"), event(3, "b", "2")
    assert "missed revision 3 of b" in check_watches([seen(one, two), seen(one)], calls, 9)[0]
    assert "told twice" in check_watches([seen(one, two, two)], calls, 9)[0]
    assert "out of order" in check_watches([seen(two, one)], calls, 9)[0]


def test_what_was_compacted_before_a_watcher_came_back_is_excused():
    calls = [put("a", "1", 0, 1, 2), put("b", "2", 0, 1, 3)]
    late = seen(event(3, "b", "2"))
    late.gaps.append((1, 2))
    assert check_watches([seen(event(2, "a", "1"), event(3, "b", "2")), late], calls, 9) == []


def test_an_acknowledged_write_that_no_watcher_saw_is_caught():
    assert "no watcher was told" in check_watches([seen()], [put("a", "1", 0, 1, 2)], 9)[0]


def test_an_event_of_a_write_nobody_made_is_caught():
    assert "nobody made" in check_watches([seen(event(2, "a", "1"))], [], 9)[0]


def test_a_watcher_that_never_catches_up_is_caught():
    assert "never got past revision 5 of 9" in check_watches([seen(covered=5)], [], 9)[0]


# -- leases, members


def test_a_lease_that_ends_before_its_time_is_caught():
    good = LeaseLife(1, "a", 3, alive_until=10, gone_by=10.2)
    early = LeaseLife(2, "b", 3, alive_until=10, gone_by=9.9)
    revoked = LeaseLife(3, "c", 3, alive_until=10, gone_by=5, is_revoked=True)
    assert check_leases([good, revoked]) == []
    assert "ended 0.100 s early: b" in check_leases([early])[0]


def test_a_lease_that_never_ends_is_caught():
    assert "never ended" in check_leases([LeaseLife(1, "a", 3, alive_until=10)])[0]


def test_members_that_differ_are_caught():
    same = {"a": ("1", 1, 2)}
    assert check_members_agree({"m1": same, "m2": same}, {"m1": (7, 2), "m2": (7, 2)}) == []
    assert check_members_agree({"m1": same, "m2": {}}, {})[0].startswith("a: m1 has")
    assert "hash differently" in check_members_agree({}, {"m1": (7, 2), "m2": (8, 2)})[0]


def test_registers_are_judged_key_by_key():
    history = History([put("a", "1", 0, 1, 2), put("b", "2", 0, 1, 3), get("b", None, 2, 3, 3)])
    found = check_registers(history)
    assert found[0].startswith("b: not linearizable")


def test_the_longest_silence_is_between_acknowledged_writes():
    calls = [put("a", str(n), n, n + 0.1, n + 2) for n in (1, 2, 5)]
    assert round(longest_silence(calls, 0, 6), 3) == 3.0


def test_a_wrong_previous_value_is_caught_unless_what_was_before_it_had_been_compacted():
    calls = [put("a", "1", 0, 1, 2), put("a", "2", 2, 3, 3)]
    first = event(2, "a", "1")
    assert "previous value" in check_watches([seen(first, event(3, "a", "2", 2, "9"))], calls, 9)[0]
    late = seen(first, event(3, "a", "2", 2, None))
    assert "previous value" in check_watches([late], calls, 9)[0]
    assert "previous value" in check_watches([late], calls, 9, [(3.5, 2), (2.5, 1)])[0]
    assert check_watches([late], calls, 9, [(2.5, 2)]) == []


def test_a_writer_told_of_a_conflict_with_its_own_write_is_caught():
    call = put("a", "1", 0, 1, 0)
    call.is_done = False
    assert "told that it was not" in check_ledger([call], {"a": ("1", 1, 2)})[0]

from __future__ import annotations

import json

import pytest

from deploy.machine import create, invite, join, leave, sync, upgrade
from deploy.machine.cluster import Common, add_member, remove_member
from deploy.machine.host import write_machine
from deploy.machine.invite import Invitation
from deploy.machine.plan import Layout, Member, units
from deploy.machine.steps import Step, carry_out, never, show
from deploy.machine.tokens import Token
from deploy.report import CannotDo
from store.client import StoreMember
from tests.unit.deploy.machine.builders import M1, M2, M3, control_plane, worker

HASH = "sha256:" + "ab" * 32


def test_steps_do_only_what_is_not_done_and_go_on_after_a_failure() -> None:
    done: list[str] = []
    broken = True

    def second() -> None:
        if broken:
            raise CannotDo("not today")
        done.append("second")

    steps = [
        Step("first", lambda: "first" in done, lambda: done.append("first")),
        Step("second", lambda: "second" in done, second),
    ]
    told: list[str] = []
    with pytest.raises(CannotDo, match="not today"):
        carry_out(steps, told.append)
    broken = False
    assert carry_out(steps, told.append) == 1
    assert told == ["first", "second", "second"]
    assert carry_out(steps, told.append) == 0


def test_a_dry_run_does_nothing() -> None:
    did: list[int] = []
    lines = show([Step("a", never, lambda: did.append(1)), Step("b", lambda: True, lambda: did.append(2))])
    assert [line.split() for line in lines] == [["would", "a"], ["done", "already", "b"]]
    assert not did


def test_an_error_of_the_machine_is_a_sentence() -> None:
    def fails() -> None:
        raise PermissionError(13, "Permission denied", "/etc/x")

    with pytest.raises(CannotDo, match="could not write it: /etc/x: Permission denied"):
        carry_out([Step("write it", never, fails)], lambda _: None)


def test_init_goes_on_with_its_own_cluster_and_leaves_others_alone(tmp_path) -> None:
    layout = Layout(tmp_path)
    wanted = create.first_machine("m1", "10.0.0.1", "default", [])
    assert create.settle(wanted, layout) == wanted
    write_machine(layout, control_plane("m1"))
    assert len(create.settle(wanted, layout).members) == 3
    with pytest.raises(CannotDo, match="--address 10.0.0.1"):
        create.settle(create.first_machine("m1", "10.0.0.7", "default", []), layout)
    write_machine(layout, control_plane("m2"))
    with pytest.raises(CannotDo, match="began"):
        create.settle(create.first_machine("m2", "10.0.0.2", "default", []), layout)


def test_a_newcomer_knows_all_members_and_is_one_of_them() -> None:
    common = Common(members=[M1], founder="m1", names=["lb.example"])
    joined = join.Newcomer("m2", "10.0.0.2", "control-plane").machine(common)
    assert joined.members == [M1, M2] and joined.founder == "m1" and joined.names == ["lb.example"]
    assert join.Newcomer("w1", "10.0.0.9", "worker").machine(common).members == [M1]


def test_the_machine_that_began_the_cluster_joins_again_as_any_other() -> None:
    joined = join.Newcomer("m1", "10.0.0.1", "control-plane").machine(Common(members=[M2, M3], founder="m1"))
    assert joined.founder == "m2" and joined.members == [M1, M2, M3]
    store = next(unit for unit in units(joined, Layout()) if unit.name == "store")
    assert "--join" in store.arguments, "a store that begins anew is another cluster"


def test_no_two_machines_share_a_name_or_an_address() -> None:
    common = Common(members=[M1, M2], founder="m1")
    join.check(join.Newcomer("m2", "10.0.0.2", "control-plane"), common)  # again, after it failed half way
    for name, address in (("m2", "10.0.0.7"), ("m7", "10.0.0.2")):
        with pytest.raises(CannotDo, match="m2 at 10.0.0.2 already"):
            join.check(join.Newcomer(name, address, "control-plane"), common)


def test_a_machine_that_lost_its_store_must_be_forgotten_before_it_joins_again() -> None:
    started = StoreMember(7, "m2", ("https://10.0.0.2:2380",), (), False)
    waiting = StoreMember(7, "", ("https://10.0.0.2:2380",), (), True)
    join.check_own_member([], "m2", "10.0.0.2:2380", has_data=False)
    join.check_own_member([waiting], "m2", "10.0.0.2:2380", has_data=False)
    join.check_own_member([started], "m2", "10.0.0.2:2380", has_data=True)
    with pytest.raises(CannotDo, match="steer leave m2"):
        join.check_own_member([started], "m2", "10.0.0.2:2380", has_data=False)


def test_members_come_and_go_and_twice_changes_nothing() -> None:
    first = add_member(control_plane("m1", (M1,)), "0.1.0-a")(None)
    second = add_member(control_plane("m2"), "0.1.0-a")(first)
    assert second.members == [M1, M2] and second.founder == "m1"
    assert add_member(control_plane("m2"), "0.1.0-a")(second).members == [M1, M2]
    assert remove_member("m1")(second).members == [M2]
    assert remove_member("m1")(second).versions == {"m2": "0.1.0-a"}


def test_the_last_control_plane_machine_cannot_leave() -> None:
    leave.check_last(control_plane("m1"), "m1")
    with pytest.raises(CannotDo, match="only control-plane machine"):
        leave.check_last(control_plane("m1", (M1,)), "m1")


def test_a_machine_takes_over_new_members_but_never_none() -> None:
    machine = worker()
    assert sync.updated(machine, [M1, M2, M3]) is None
    assert sync.updated(machine, []) is None
    changed = sync.updated(machine, [M1, M2])
    assert changed is not None and changed.members == [M1, M2] and changed.founder == machine.founder
    # A control-plane machine that was taken out waits to be stopped; it must not point its processes elsewhere.
    assert sync.updated(control_plane("m1"), [M2, M3]) is None


@pytest.mark.parametrize(
    ("target", "present", "others", "role", "problem"),
    [
        ("0.2.0-b", "0.1.0-a", {"m2": "0.1.0-a"}, "control-plane", None),
        ("0.1.0-b", "0.1.0-a", {"m2": "0.2.0-a"}, "control-plane", None),
        ("0.1.0-a", "0.2.0-b", {"m2": "0.2.0-b"}, "control-plane", None),
        ("0.3.0-c", "0.1.0-a", {}, "control-plane", "go to 0.2 first"),
        ("1.0.0-c", "0.9.0-a", {}, "control-plane", "more than one minor"),
        ("0.2.0-b", "0.1.0-a", {"m2": "0.0.9-z"}, "control-plane", "m2 runs 0.0.9-z"),
        ("0.2.0-b", "0.1.0-a", {"m1": "0.2.0-b", "m2": "0.1.0-a"}, "worker", "no node may be newer"),
        ("0.2.0-b", "0.1.0-a", {"m1": "0.2.0-b", "m2": "0.2.1-b"}, "worker", None),
        ("0.1.0-a", "0.1.0-b", {"m1": "0.2.0-b"}, "worker", None),
    ],
)
def test_versions_may_be_one_minor_apart(target, present, others, role, problem) -> None:
    found = upgrade.skew_problem(target, present, others, role)
    assert (found is None) if problem is None else (found is not None and problem in found)


def test_one_machine_is_upgraded_at_a_time() -> None:
    common = Common(members=[M1, M2], founder="m1", versions={"m1": "0.1.0-a", "m2": "0.1.0-a"})
    held = upgrade.lock("m1", 1000)(common)
    assert held.upgrading == "m1"
    with pytest.raises(CannotDo, match="m1 is being upgraded"):
        upgrade.lock("m2", 1100)(held)
    assert upgrade.lock("m1", 1100)(held).upgrading == "m1"  # again, after it was cut short
    assert upgrade.lock("m2", 1100 + upgrade.LOCK_LASTS_S)(held).upgrading == "m2"  # m1 will not come back
    freed = upgrade.unlock("m2", "0.2.0-b")(held)
    assert freed.upgrading == "" and freed.versions["m2"] == "0.2.0-b"


def arguments(**changed):
    return {"token_file": None, "certificate_key_file": None, "needs_key": False, "is_known": False} | changed


def test_an_invitation_is_read_from_one_file(tmp_path) -> None:
    path = tmp_path / "join.json"
    written = {
        "address": "10.0.0.1:6443",
        "token": "abcdef.0123456789abcdef",
        "caHash": HASH,
        "certificateKey": "ab" * 32,
    }
    path.write_text(json.dumps(written))
    read = invite.read(None, None, str(path), **arguments(needs_key=True))
    assert read == Invitation("10.0.0.1:6443", Token("abcdef", "0123456789abcdef"), HASH, bytes.fromhex("ab" * 32))
    assert "0123456789abcdef" not in repr(read) and "abab" not in repr(read).replace(HASH, "")


def test_secrets_come_from_the_environment_too(monkeypatch) -> None:
    monkeypatch.setenv("STEER_TOKEN", "abcdef.0123456789abcdef")
    assert invite.read("10.0.0.1", HASH, None, **arguments()).address == "10.0.0.1:6443"


def test_everything_that_is_missing_is_said_at_once(monkeypatch) -> None:
    monkeypatch.delenv("STEER_TOKEN", raising=False)
    with pytest.raises(CannotDo, match=r"address .* --ca-hash, a token .*, a certificate key"):
        invite.read(None, None, None, **arguments(needs_key=True))


def test_what_is_printed_holds_no_secret_in_a_command() -> None:
    printed = invite.Printed("10.0.0.1:6443", Token("abcdef", "0123456789abcdef"), HASH, "ab" * 32, None)
    commands = [line for line in printed.lines() if "steer join" in line]
    assert len(commands) == 2
    assert not [line for line in commands if "0123456789abcdef" in line or "abababab" in line.replace(HASH, "")]


def test_members_of_the_cluster_are_compared_whole() -> None:
    assert Member(name="m1", address="10.0.0.1") == M1

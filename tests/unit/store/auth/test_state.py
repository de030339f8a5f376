"""Users and roles change as etcd's do, and what a caller may not do is refused where it is applied."""

from __future__ import annotations

import pytest

from component.clock import RealClock
from proto.etcd import auth_pb2, rpc_pb2
from proto.steersman.v1 import store_pb2
from store.apply import State
from store.auth.permissions import READ, WRITE
from store.auth.state import Auth, AuthRefused, Reason
from store.backend import Backend
from tests.unit.store.test_upkeep import World, put

READWRITE = auth_pb2.Permission.READWRITE


def change(kind: str, **fields) -> store_pb2.AuthChange:
    made = store_pb2.AuthChange()
    part = getattr(made, kind)
    part.SetInParent()
    part.MergeFrom(type(part)(**fields))
    return made


def grant(role: str, kind: int, key: bytes, range_end: bytes = b"") -> store_pb2.AuthChange:
    permission = auth_pb2.Permission(key=key, range_end=range_end)
    permission.permType = kind
    return change("role_grant_permission", name=role, perm=permission)


BEGINNING = [
    change("user_add", name="root", hashedPassword="h"),
    change("user_grant_role", user="root", role="root"),
    change("user_add", name="alice", hashedPassword="h"),
    change("role_add", name="app"),
    grant("app", READWRITE, b"a/", b"a0"),
    grant("app", WRITE, b"w"),
    change("user_grant_role", user="alice", role="app"),
    change("enable"),
]


def enabled() -> Auth:
    auth = Auth(b"")
    for each in BEGINNING:
        auth.apply(each)
    return auth


def caller(auth: Auth, user: str) -> store_pb2.Caller:
    return store_pb2.Caller(user=user, auth_revision=auth.revision)


def refused(action, *arguments) -> Reason:
    with pytest.raises(AuthRefused) as caught:
        action(*arguments)
    return caught.value.reason


def test_what_is_on_disk_is_the_whole_of_it():
    auth = enabled()
    again = Auth(auth.encode())
    assert again.encode() == auth.encode()
    assert (again.is_enabled, again.revision, again.users, again.roles) == (True, 8, ["alice", "root"], ["app"])


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (change("user_add"), Reason.USER_EMPTY),
        (change("user_add", name="alice"), Reason.USER_EXISTS),
        (change("user_delete", name="nobody"), Reason.USER_NOT_FOUND),
        (change("user_delete", name="root"), Reason.INVALID_MANAGEMENT),
        (change("user_change_password", name="nobody"), Reason.USER_NOT_FOUND),
        (change("user_grant_role", user="alice", role="nothing"), Reason.ROLE_NOT_FOUND),
        (change("user_revoke_role", name="alice", role="root"), Reason.ROLE_NOT_GRANTED),
        (change("user_revoke_role", name="root", role="root"), Reason.INVALID_MANAGEMENT),
        (change("role_add"), Reason.ROLE_EMPTY),
        (change("role_add", name="app"), Reason.ROLE_EXISTS),
        (change("role_delete", role="root"), Reason.INVALID_MANAGEMENT),
        (change("role_delete", role="nothing"), Reason.ROLE_NOT_FOUND),
        (change("role_grant_permission", name="app"), Reason.PERMISSION_NOT_GIVEN),
        (change("role_revoke_permission", role="app", key=b"x"), Reason.PERMISSION_NOT_GRANTED),
        (change("authentication", user="nobody", token="t"), Reason.FAILED),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(request_: store_pb2.AuthChange, reason: Reason):
    auth = enabled()
    before = auth.encode()
    assert refused(auth.apply, request_) is reason
    assert auth.encode() == before


def test_enabling_needs_a_root_and_disabling_forgets_who_has_logged_in():
    auth = Auth(b"")
    assert refused(auth.apply, change("enable")) is Reason.ROOT_USER_MISSING
    auth.apply(BEGINNING[0])
    assert refused(auth.apply, change("enable")) is Reason.ROOT_ROLE_MISSING
    auth = enabled()
    auth.apply(change("authentication", user="alice", token="t"))
    assert auth.tokens.user_of("t", 0.0) == "alice"
    assert auth.apply(change("disable")) and not auth.is_enabled
    assert auth.tokens.user_of("t", 0.0) is None
    auth.require(store_pb2.Caller(), WRITE, b"anything")


def test_a_caller_does_what_its_roles_permit_and_nothing_else():
    auth = enabled()
    alice = caller(auth, "alice")
    auth.require(alice, READ, b"a/", b"a0")
    assert refused(auth.require, alice, READ, b"a/", b"a1") is Reason.DENIED
    assert refused(auth.require, alice, READ, b"w") is Reason.DENIED
    auth.require(caller(auth, "root"), WRITE, b"", b"\x00")
    assert refused(auth.require, caller(auth, "stranger"), READ, b"a/") is Reason.DENIED
    assert refused(auth.require, store_pb2.Caller(), READ, b"a/") is Reason.USER_EMPTY
    assert refused(auth.require_admin, alice) is Reason.DENIED
    assert refused(auth.require_admin, store_pb2.Caller()) is Reason.USER_EMPTY
    auth.require_admin(store_pb2.Caller(is_trusted=True))
    auth.apply(grant("app", READ, b"w"))
    assert refused(auth.require, alice, READ, b"w") is Reason.OLD_REVISION
    auth.require(caller(auth, "alice"), READ, b"a/")
    auth.apply(change("role_delete", role="app"))
    assert refused(auth.require, caller(auth, "alice"), READ, b"a/") is Reason.DENIED


def test_a_transaction_needs_permission_for_all_it_might_do():
    auth = enabled()
    alice = caller(auth, "alice")
    harmless = put(b"a/1")

    def with_(**fields) -> rpc_pb2.TxnRequest:
        made = rpc_pb2.TxnRequest()
        made.CopyFrom(harmless)
        made.MergeFrom(rpc_pb2.TxnRequest(**fields))
        return made

    def none(lease: int) -> list[bytes]:
        return []

    auth.require_txn(alice, harmless, none)
    secret = rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=b"secret"))
    for bad in (
        with_(compare=[rpc_pb2.Compare(key=b"secret")]),
        with_(success=[secret]),
        with_(failure=[secret]),
        with_(success=[rpc_pb2.RequestOp(request_txn=rpc_pb2.TxnRequest(failure=[secret]))]),
        with_(success=[rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=b"w", prev_kv=True))]),
        with_(failure=[rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=b"w", prev_kv=True))]),
    ):
        assert refused(auth.require_txn, alice, bad, none) is Reason.DENIED
    leased = put(b"a/1")
    leased.success[0].request_put.lease = 7
    auth.require_txn(alice, leased, none)
    assert refused(auth.require_txn, alice, leased, lambda lease: [b"secret"]) is Reason.DENIED


async def test_applying_refuses_and_a_restart_knows_who_there_is(tmp_path):
    world = World(tmp_path, 2)
    world.apply(store_pb2.Command(lease_grant=rpc_pb2.LeaseGrantRequest(ID=5, TTL=60)))
    leased = put(b"not alice's")
    leased.success[0].request_put.lease = 5
    world.apply(store_pb2.Command(txn=leased))
    for each in BEGINNING:
        world.apply(store_pb2.Command(auth=each))
    auth = world.states[0].auth
    alice = caller(auth, "alice")
    world.apply(store_pb2.Command(txn=put(b"a/1"), caller=alice))
    world.apply(store_pb2.Command(txn=put(b"b"), caller=store_pb2.Caller(is_trusted=True)))
    # By a Pipeline, which nobody has who may not do everything.
    world.apply(store_pb2.Command(txn=put(b"c"), id=store_pb2.RequestId(client=1, sequence=1)))
    revoke = rpc_pb2.LeaseRevokeRequest(ID=5)
    for command in (
        store_pb2.Command(txn=put(b"b"), caller=alice),
        store_pb2.Command(txn=put(b"b")),
        store_pb2.Command(txn=put(b"b"), caller=alice, id=store_pb2.RequestId(client=1, sequence=2)),
        store_pb2.Command(lease_revoke=revoke, caller=alice),
        store_pb2.Command(auth=change("user_add", name="eve"), caller=alice),
        store_pb2.Command(auth=change("disable")),
    ):
        with pytest.raises(AuthRefused):
            world.apply(command)
    world.apply(store_pb2.Command(lease_expiry=store_pb2.LeaseExpiry(leases=[5])))  # the clock's doing, not a caller's
    assert world.states[0].mvcc.revision == world.states[1].mvcc.revision == 6
    before = auth.encode()
    await world.close()
    backend = Backend(tmp_path / "m0", RealClock(), world.fail)
    assert State(backend).auth.encode() == before
    await backend.close()

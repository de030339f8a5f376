"""Ranges united cover exactly the keys that any of them has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proto.etcd import auth_pb2
from store.auth.permissions import READ, WRITE, Permissions, Ranges, span_of

keys = st.text("abc", max_size=2).map(str.encode)
ranges = st.lists(st.tuples(keys, st.one_of(st.none(), keys)), max_size=6)
EVERY = sorted({a + b + c for a in (b"", b"a", b"b", b"c") for b in (b"", b"a", b"b", b"c") for c in (b"", b"\x00")})


def has(spans, key: bytes) -> bool:
    return any(begin <= key and (end is None or key < end) for begin, end in spans)


@given(ranges, keys, st.one_of(st.none(), keys))
def test_a_range_is_covered_if_all_of_its_keys_are(spans, begin: bytes, end):
    covered = Ranges(spans).cover(begin, end)
    wanted = [key for key in EVERY if has([(begin, end)], key)]
    if end is None:
        # Keys beyond all that are looked at: only a range without an end has them.
        assert covered == (all(has(spans, key) for key in wanted) and has(spans, b"d"))
    elif begin < end:
        assert covered == all(has(spans, key) for key in wanted)


def test_what_a_range_end_means_is_etcds():
    assert span_of(b"k", b"") == (b"k", b"k\x00")
    assert span_of(b"k", b"\x00") == (b"k", None)
    assert span_of(b"k", b"m") == (b"k", b"m")


def test_permissions_of_roles_add_up():
    def role(*permissions) -> auth_pb2.Role:
        made = auth_pb2.Role()
        for kind, key, end in permissions:
            made.keyPermission.add(permType=kind, key=key, range_end=end)
        return made

    permissions = Permissions([role((READ, b"a", b"c")), role((auth_pb2.Permission.READWRITE, b"c", b"e"))])
    assert permissions.allow(READ, b"a", b"e")
    assert not permissions.allow(READ, b"a", b"f")
    assert not permissions.allow(READ, b"a", b"\x00")
    assert permissions.allow(WRITE, b"c", b"") and not permissions.allow(WRITE, b"b", b"")

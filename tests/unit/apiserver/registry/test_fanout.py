from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from api.core import pod as pods
from api.errors import Expired
from apiserver.registry import fanout
from apiserver.registry.codec import Codec, Stored
from apiserver.registry.fanout import Change, Delivery, Fanout
from apiserver.registry.selection import select
from apiserver.rest.frames import in_a_row
from tests import builders

CODEC = Codec(pods.RESOURCE)


def stored(name: str, revision: int, node: str = "", **labels: str) -> Stored:
    value = CODEC.encode(builders.pod(name, node=node, **labels))
    return Stored(CODEC, f"default/{name}", CODEC.splice(value, revision), revision)


def watch(fan: Fanout, **selectors: str):
    selection = select(
        pods.RESOURCE, "default", selectors.get("label_selector", ""), selectors.get("field_selector", "")
    )
    return fan.watch(selection, [], revision=0, with_bookmarks=bool(selectors.get("bookmarks")))


def seen(watcher) -> list[tuple[str, str, int]]:
    return [(d.type, d.stored.name if d.stored else "", d.revision) for d in watcher.take()]


class Counting:
    label = "counting"

    def __init__(self) -> None:
        self.count = 0

    def frame(self, delivery: Delivery) -> bytes:
        self.count += 1
        return f"{delivery.type}@{delivery.revision};".encode()


def test_an_event_is_encoded_once_however_many_watch():
    fan, encoding = Fanout(), Counting()
    watchers = [watch(fan) for _ in range(10)] + [watch(fan, label_selector="app=a") for _ in range(10)]
    fan.publish(Change("default/a", 5, None, stored("a", 5, app="a")))
    assert {watcher.take_joined(encoding, in_a_row) for watcher in watchers} == {b"ADDED@5;"}
    assert encoding.count == 1


def test_an_object_that_begins_to_match_is_added_and_one_that_stops_is_deleted():
    fan = Fanout()
    watcher = watch(fan, label_selector="app=a")
    without, with_label = stored("p", 1), stored("p", 2, app="a")
    fan.publish(Change("default/p", 2, without, with_label))
    gone = stored("p", 3)
    fan.publish(Change("default/p", 3, with_label, gone))
    fan.publish(Change("default/p", 4, gone, stored("p", 4, other="x")))
    taken = watcher.take()
    assert [(d.type, d.revision) for d in taken] == [("ADDED", 2), ("DELETED", 3)]
    assert taken[1].stored.labels == {"app": "a"}, "a DELETED event shows the last state that matched"
    assert b'"resourceVersion":"3"' in taken[1].stored.json


def test_only_watchers_of_its_node_are_looked_at_for_a_pod():
    fan = Fanout()
    mine, other = watch(fan, field_selector="spec.nodeName=n1"), watch(fan, field_selector="spec.nodeName=n2")
    fan.publish(Change("default/p", 2, stored("p", 1), stored("p", 2, node="n1")))
    assert seen(mine) == [("ADDED", "p", 2)]
    assert seen(other) == []
    assert list(fan._candidates(Change("default/p", 3, None, stored("p", 3, node="n1")))) == [mine.channel]


def test_a_pod_that_leaves_a_node_is_told_to_its_watcher_as_deleted():
    fan = Fanout()
    mine = watch(fan, field_selector="spec.nodeName=n1")
    fan.publish(Change("default/p", 4, stored("p", 3, node="n1"), stored("p", 4, node="n2")))
    assert seen(mine) == [("DELETED", "p", 4)]


def test_bookmarks_go_only_to_those_who_want_them():
    fan = Fanout()
    wants, wants_not = watch(fan, bookmarks="yes"), watch(fan)
    fan.publish_bookmark(7)
    assert seen(wants) == [("BOOKMARK", "", 7)]
    assert seen(wants_not) == []
    assert wants_not.revision == 7


def test_a_watch_from_a_revision_yet_to_come_hears_of_what_comes_after_it():
    fan = Fanout()
    watcher = fan.watch_ahead(select(pods.RESOURCE, "default"), revision=6, with_bookmarks=True)
    assert fan.watcher_count == 1
    fan.publish_bookmark(4)
    for revision in (5, 6):
        fan.publish(Change(f"default/p{revision}", revision, None, stored(f"p{revision}", revision)))
    assert watcher.is_ahead and seen(watcher) == []
    fan.publish(Change("default/p7", 7, None, stored("p7", 7)))
    fan.publish_bookmark(8)
    assert not watcher.is_ahead and seen(watcher) == [("ADDED", "p7", 7), ("BOOKMARK", "", 8)]
    watcher.close()
    assert fan.watcher_count == 0


def test_a_watch_that_waits_for_its_revision_can_end_too():
    fan = Fanout()
    everything = select(pods.RESOURCE, "default")
    closed, failed = (fan.watch_ahead(everything, revision=6, with_bookmarks=False) for _ in range(2))
    beside = watch(fan)
    closed.close()
    fan.publish(Change("default/a", 5, None, stored("a", 5)))
    assert seen(beside) == [("ADDED", "a", 5)]
    fan.fail_all(Expired("begin anew"))
    assert failed.error is not None and closed.error is None
    assert fan.watcher_count == 0


def test_a_watcher_beyond_its_byte_budget_is_ended_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(fanout, "PENDING_BYTES_MAX", 2000)
    fan = Fanout()
    slow, quick = watch(fan), watch(fan)
    slow.on_ready = lambda: None
    quick.on_ready = lambda: quick.take() and None
    for revision in range(1, 20):
        fan.publish(Change("default/p", revision, None, stored("p", revision)))
        fan.flush()
    assert isinstance(slow.error, Expired)
    assert quick.error is None
    assert quick.revision == 19


def test_the_log_is_forgotten_once_all_have_taken_it():
    fan = Fanout()
    watcher = watch(fan)
    watcher.on_ready = lambda: watcher.take() and None
    for revision in range(1, 50):
        fan.publish(Change("default/p", revision, None, stored("p", revision)))
        fan.flush()
    assert len(watcher.channel._log) == 0


def test_a_closed_watcher_leaves_nothing_behind():
    fan = Fanout()
    for selector in ({"field_selector": "spec.nodeName=n1"}, {"field_selector": "metadata.name=a"}, {}):
        watch(fan, **selector).close()
    assert (fan.watcher_count, fan._channels, fan._by_field, fan._by_namespace, fan._general) == (0, {}, {}, {}, {})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None]), st.sampled_from(["n1", "n2", ""])),
        max_size=30,
    ),
    st.lists(st.integers(0, 5), max_size=30),
)
def test_what_a_watcher_saw_is_always_what_matches(changes, takes):
    """Applying a watch's events, in order, to nothing gives the objects that match: for any mix and any pace."""
    fan = Fanout()
    watchers = {
        "app=x": watch(fan, label_selector="app=x"),
        "spec.nodeName=n1": watch(fan, field_selector="spec.nodeName=n1"),
        "": watch(fan),
    }
    models: dict[str, dict[str, int]] = {key: {} for key in watchers}

    def take(key: str, limit: int) -> None:
        for delivery in watchers[key].take(limit):
            model = models[key]
            if delivery.type == "DELETED":
                del model[delivery.stored.name]
            else:
                assert (delivery.stored.name in model) == (delivery.type == "MODIFIED")
                model[delivery.stored.name] = delivery.revision

    world: dict[str, Stored] = {}
    for revision, (name, label, node) in enumerate(changes, 1):
        labels = {"app": label} if label else {}
        after = None if label is None and node == "" else stored(name, revision, node, **labels)
        before = world.get(name)
        if before is None and after is None:
            continue
        fan.publish(Change(f"default/{name}", revision, before, after))
        world.pop(name, None)
        if after is not None:
            world[name] = after
        if takes:
            take(list(watchers)[revision % 3], takes[revision % len(takes)])
    for key, watcher in watchers.items():
        while watcher.has_pending:
            take(key, 0)
        expected = {name: s.revision for name, s in world.items() if watcher.channel.selection.matches(s)}
        assert models[key] == expected


class Client:
    """Writes what it is handed unless it is full, and takes the rest when it has room again."""

    def __init__(self, watcher, encoding) -> None:
        self.watcher, self.encoding = watcher, encoding
        self.is_full = False
        self.written: list[bytes] = []
        watcher.on_ready = self.look
        watcher.hand_to(self.accept, encoding, in_a_row)
        self.look()

    def accept(self, content: bytes) -> bool:
        if not self.is_full:
            self.written.append(content)
        return not self.is_full

    def look(self) -> None:
        while not self.is_full and self.watcher.has_pending:
            joined = self.watcher.take_joined(self.encoding, in_a_row)
            if joined:
                self.written.append(joined)


def test_all_who_have_taken_everything_are_handed_the_same_bytes():
    fan, encoding = Fanout(), Counting()
    clients = [Client(watch(fan), encoding) for _ in range(5)]
    for revision in (5, 6):
        fan.publish(Change("default/a", revision, None, stored("a", revision)))
    fan.flush()
    assert [client.written for client in clients] == [[b"ADDED@5;ADDED@6;"]] * 5
    assert len({id(client.written[0]) for client in clients}) == 1
    assert encoding.count == 2
    assert {client.watcher.revision for client in clients} == {6}
    assert fan.told_count == 10


def test_what_comes_before_the_log_is_never_overtaken_by_what_is_handed_over():
    fan, encoding = Fanout(), Counting()
    backlog = [Delivery("ADDED", stored("old", 3), 3)]
    watcher = fan.watch(select(pods.RESOURCE, "default"), backlog, revision=2, with_bookmarks=False)
    client = Client.__new__(Client)
    client.watcher, client.encoding, client.is_full, client.written = watcher, encoding, True, []
    watcher.on_ready = client.look
    watcher.hand_to(client.accept, encoding, in_a_row)
    client.is_full = False
    fan.publish(Change("default/a", 5, None, stored("a", 5)))
    assert watcher.revision == 2
    fan.flush()
    assert b"".join(client.written) == b"ADDED@3;ADDED@5;"
    assert watcher.revision == 5


def test_a_closed_or_failed_watch_is_handed_nothing_more():
    fan, encoding = Fanout(), Counting()
    closed, failed, other = (Client(watch(fan), encoding) for _ in range(3))
    closed.watcher.close()
    failed.watcher.fail(Expired("begin anew"))
    fan.publish(Change("default/a", 5, None, stored("a", 5)))
    fan.flush()
    assert [closed.written, failed.written, other.written] == [[], [], [b"ADDED@5;"]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_whoever_is_full_now_and_then_writes_the_same_as_whoever_never_is(steps):
    """Bytes handed over and bytes taken later make one stream, for those with bookmarks and those without."""
    fan, encoding = Fanout(), Counting()
    steady, steady_marked = Client(watch(fan), encoding), Client(watch(fan, bookmarks="yes"), encoding)
    others = [Client(watch(fan), encoding), Client(watch(fan, bookmarks="yes"), encoding)]
    for revision, (what, who) in enumerate(steps, 1):
        if what == 0:
            fan.publish_bookmark(revision)
        elif what == 1:
            fan.publish(Change("default/a", revision, None, stored("a", revision)))
        elif what == 2:
            fan.flush()
        elif who < 2:
            others[who].is_full = not others[who].is_full
            others[who].look()
    for client in others:
        client.is_full = False
        client.look()
    fan.flush()
    for client, expected in zip(others, (steady, steady_marked), strict=True):
        assert b"".join(client.written) == b"".join(expected.written)
        assert client.watcher.revision == expected.watcher.revision

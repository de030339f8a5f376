"""What one step of change makes of a membership, and which steps are refused with etcd's words."""

from __future__ import annotations

import pytest

from store.consensus.membership import MemberRecord, Members, MembershipChange, MembershipRefused

TWO = Members(
    (MemberRecord(1, ("https://127.0.0.1:1",), "s1"), MemberRecord(2, ("https://127.0.0.1:2",), "s2")),
)


def test_a_member_is_added_without_a_vote_and_promoted_later():
    added = TWO.after(MembershipChange("add", 3, peer_urls=("https://127.0.0.1:3",), wants_vote=True))
    assert (added.voters, added.learners, added.quorum) == ((1, 2), (3,), 2)
    promoted = added.after(MembershipChange("promote", 3))
    assert (promoted.voters, promoted.learners) == ((1, 2, 3), ())
    assert Members.decode(promoted.encode()) == promoted


def test_a_removed_id_never_comes_back():
    removed = TWO.after(MembershipChange("remove", 2))
    assert (removed.voters, removed.removed) == ((1,), (2,))
    with pytest.raises(MembershipRefused, match="member ID already exist"):
        removed.after(MembershipChange("add", 2, peer_urls=("https://127.0.0.1:2",)))


def test_a_member_makes_its_name_known():
    added = TWO.after(MembershipChange("add", 3, peer_urls=("https://127.0.0.1:3",)))
    named = added.after(MembershipChange("publish", 3, "s3", client_urls=("https://127.0.0.1:33",)))
    assert named.named("s3").client_urls == ("https://127.0.0.1:33",)
    with pytest.raises(MembershipRefused, match="is taken"):
        added.after(MembershipChange("publish", 3, "s2"))


@pytest.mark.parametrize(
    ("change", "message", "code"),
    [
        (MembershipChange("remove", 9), "member not found", "NOT_FOUND"),
        (MembershipChange("update", 9, peer_urls=("https://a:1",)), "member not found", "NOT_FOUND"),
        (MembershipChange("promote", 1), "can only promote a learner member", "FAILED_PRECONDITION"),
        (
            MembershipChange("add", 3, peer_urls=("https://127.0.0.1:2",)),
            "Peer URLs already exists",
            "FAILED_PRECONDITION",
        ),
        (MembershipChange("add", 3, peer_urls=("http://a:1",)), "given member URLs are invalid", "INVALID_ARGUMENT"),
        (MembershipChange("add", 3), "given member URLs are invalid", "INVALID_ARGUMENT"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_as_etcd_does(change, message, code):
    with pytest.raises(MembershipRefused, match=message) as caught:
        TWO.after(change)
    assert caught.value.code == code


def test_the_last_voter_stays_and_learners_come_one_at_a_time():
    one = TWO.after(MembershipChange("remove", 2))
    with pytest.raises(MembershipRefused, match="not enough started members"):
        one.after(MembershipChange("remove", 1))
    learning = TWO.after(MembershipChange("add", 3, peer_urls=("https://127.0.0.1:3",)))
    with pytest.raises(MembershipRefused, match="too many learner members"):
        learning.after(MembershipChange("add", 4, peer_urls=("https://127.0.0.1:4",)))

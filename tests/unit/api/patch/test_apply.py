from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.node import Node
from api.core.pod import Pod
from api.networking.networkpolicy import NetworkPolicy
from api.patch import apply
from api.patch.failure import PatchFailure
from api.patch.fieldset import difference, union
from api.patch.shape import LEAF, UNTYPED, Shape, shape_of

POD = shape_of(Pod)

VALUES = st.sampled_from(["1", "2", "3"])
CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abc")}, optional={"image": VALUES, "command": st.lists(VALUES)}),
    unique_by=lambda one: one["name"],
    min_size=1,
    max_size=3,
)
PODS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": st.dictionaries(st.sampled_from("xy"), VALUES, min_size=1),
                "finalizers": st.lists(VALUES, unique=True, min_size=1),
            },
        ).filter(bool),
        "spec": st.fixed_dictionaries({}, optional={"containers": CONTAINERS, "nodeName": VALUES}).filter(bool),
    },
)


def containers(*items: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(items)}}


@given(PODS, PODS)
def test_a_merged_document_has_every_field_of_the_configuration(live: Any, config: Any):
    merged = apply.merge(live, config, POD)
    after = apply.compare(merged, apply.merge(merged, config, POD), POD)
    assert after.is_same, "applying twice is applying once"
    assert not difference(apply.fields_in(config, POD), apply.fields_in(merged, POD))


@given(PODS, PODS)
def test_a_comparison_says_what_became_of_every_field(before: Any, after: Any):
    found = apply.compare(before, after, POD)
    back = apply.compare(after, before, POD)
    assert (found.added, found.modified) == (back.removed, back.modified)
    assert found.is_same or before != after


@given(PODS)
def test_all_of_a_new_document_is_added(document: Any):
    found = apply.compare({}, document, POD)
    assert union(found.added, found.modified) == apply.everything_in(document, POD)


@given(PODS, PODS)
def test_what_is_dropped_goes_and_what_is_held_stays(first: Any, second: Any):
    was, now = apply.fields_in(first, POD), apply.fields_in(second, POD)
    pruned = apply.prune(apply.merge(first, second, POD), difference(was, now), now, POD)
    left = apply.fields_in(pruned, POD)
    assert not difference(now, left)
    assert not difference(left, union(now, was))


def test_items_keep_their_places_and_the_configurations_keep_their_order():
    live = containers({"name": "a"}, {"name": "b"}, {"name": "c"})
    config = containers({"name": "c"}, {"name": "a"}, {"name": "new"})
    merged = apply.merge(live, config, POD)
    assert [one["name"] for one in merged["spec"]["containers"]] == ["c", "a", "b", "new"]


def test_an_item_without_its_key_is_refused_in_a_configuration():
    with pytest.raises(PatchFailure, match=r'\.spec\.containers: element 0: associative .* all key fields \["name"\]'):
        apply.fields_in(containers({"image": "x"}), POD)


def test_an_empty_object_that_is_held_survives_the_loss_of_its_fields():
    live = {"spec": {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}}
    held = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    was, now = apply.fields_in(live, POD), apply.fields_in(held, POD)
    assert apply.prune(live, difference(was, now), now, POD) == held


def env(*pairs: tuple[str, str]) -> dict[str, Any]:
    return containers({"name": "web", "env": [{"name": name, "value": value} for name, value in pairs]})


def below_env(fields: Any) -> Any:
    for element in ("f:spec", "f:containers", 'k:{"name":"web"}', "f:env"):
        fields = fields.get(element, {})
    return {element: node for element, node in fields.items() if element != "."}


A = 'k:{"name":"A"}'
B = 'k:{"name":"B"}'
PARTS = {".": {}, "f:name": {}, "f:value": {}}


def test_of_items_that_a_list_repeats_nobody_owns_a_part():
    found = apply.everything_in(env(("A", "1"), ("A", "2"), ("B", "3")), POD)
    assert below_env(found) == {A: {}, B: PARTS}


@pytest.mark.parametrize(
    ("before", "after", "added", "modified", "removed"),
    [
        ([("A", "1"), ("A", "2")], [("A", "1"), ("A", "2"), ("B", "3")], {B: PARTS}, {}, {}),
        ([("A", "1"), ("A", "2")], [("A", "1"), ("A", "3")], {}, {A: {}}, {}),
        ([("A", "1"), ("A", "2")], [("A", "1")], {A: PARTS}, {}, {A: {}}),
        ([("A", "1"), ("A", "2")], [("B", "1")], {B: PARTS}, {}, {A: {}}),
        ([("A", "1")], [("A", "1"), ("A", "2")], {A: {}}, {}, {A: PARTS}),
        ([("B", "1")], [("A", "1"), ("A", "2")], {A: {}}, {}, {B: PARTS}),
    ],
)
def test_repeated_items_are_compared_together(before: Any, after: Any, added: Any, modified: Any, removed: Any):
    found = apply.compare(env(*before), env(*after), POD)
    assert [below_env(each) for each in (found.added, found.modified, found.removed)] == [added, modified, removed]


def test_one_item_applied_takes_the_place_of_all_that_repeat_it():
    live = env(("A", "1"), ("A", "2"), ("B", "3"))
    live["spec"]["containers"][0]["env"][1]["valueFrom"] = {}
    assert apply.merge(live, env(("A", "3")), POD) == env(("A", "3"), ("B", "3"))
    assert (
        apply.merge(live, env(("C", "3")), POD)["spec"]["containers"][0]["env"][:2]
        == (live["spec"]["containers"][0]["env"][:2])
    )


def test_an_item_that_is_said_no_more_goes_with_what_others_put_into_it():
    """Else what is left of it would have neither name nor image."""
    web, side = {"name": "web", "image": "x"}, {"name": "side", "image": "y"}
    former = apply.fields_in(containers(web, side), POD)
    wanted = apply.fields_in(containers(web), POD)
    live = containers(web, {**side, "env": [{"name": "A", "value": "1"}]})
    shown = {f'k:{{"name":"{name}"}}': {"f:resources": {}} for name in ("web", "side")}
    others = difference(apply.everything_in(live, POD), union(former, {"f:spec": {"f:containers": shown}}))
    assert others == {"f:spec": {"f:containers": {'k:{"name":"side"}': {"f:env": {".": {}, A: PARTS}}}}}
    dropped = difference(former, wanted)
    assert apply.prune(live, dropped, union(wanted, others), POD) == containers(web)
    # Who says that it is there keeps it.
    holds = {"f:spec": {"f:containers": {'k:{"name":"side"}': {".": {}, "f:name": {}}}}}
    kept = apply.prune(live, dropped, union(wanted, holds), POD)
    assert [one["name"] for one in kept["spec"]["containers"]] == ["web", "side"]


def test_a_field_that_is_said_no_more_stays_for_what_others_put_below_it():
    live = {"spec": {"securityContext": {"runAsUser": 1, "runAsGroup": 2}}}
    former = {"f:spec": {"f:securityContext": {".": {}, "f:runAsUser": {}}}}
    held = {"f:spec": {"f:securityContext": {"f:runAsGroup": {}}}}
    assert apply.prune(live, former, held, POD) == {"spec": {"securityContext": {"runAsGroup": 2}}}


def test_the_containers_of_a_new_pod_are_owned_one_by_one_with_what_upstream_always_shows():
    """As kubectl shows it: no owner of `containers` as such, `resources` owned though empty."""
    found = apply.everything_in(containers({"name": "web", "image": "x"}), POD)
    assert found == {
        "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}}
    }
    one = containers({"name": "web"})
    more = containers({"name": "web", "resources": {"limits": {"cpu": "1"}}})
    limits = {"f:limits": {".": {}, "f:cpu": {}}}
    assert apply.compare(one, more, POD).added == {
        "f:spec": {"f:containers": {'k:{"name":"web"}': {"f:resources": limits}}}
    }


def test_a_condition_always_has_its_times():
    node = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    ready = {".": {}, "f:lastHeartbeatTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
    assert apply.everything_in(node, shape_of(Node)) == {
        "f:status": {"f:conditions": {".": {}, 'k:{"type":"Ready"}': ready}}
    }


def test_zeros_that_are_always_shown_were_set_by_nobody():
    node = {"spec": {"unschedulable": True}, "status": {"nodeInfo": {"machineID": "", "kernelVersion": "6"}}}
    assert apply.everything_in(node, shape_of(Node)) == {
        "f:spec": {"f:unschedulable": {}}, "f:status": {"f:nodeInfo": {"f:kernelVersion": {}}}
    }  # fmt: skip


def test_a_selector_held_by_value_is_there_before_anybody_writes_it():
    policy = shape_of(NetworkPolicy)
    assert apply.everything_in({"spec": {"podSelector": {}}}, policy) == {}
    assert apply.everything_in({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, policy) == {
        "f:spec": {"f:podSelector": {}}
    }


def test_what_nobody_holds_stays_where_something_beside_it_is_said_no_more():
    live = {"metadata": {"name": "x", "labels": {"a": "1"}, "annotations": {"n": "v"}}}
    former = apply.fields_in({"metadata": {"name": "x", "labels": {"a": "1"}}}, POD)
    held = apply.fields_in({"metadata": {"name": "x"}}, POD)
    assert apply.prune(live, former, held, POD) == {"metadata": {"name": "x", "annotations": {"n": "v"}}}


def test_null_laid_over_a_value_takes_it_away_and_over_a_map_leaves_what_is_in_it():
    live = {"spec": {"nodeName": "n", "nodeSelector": {"a": "b"}, "volumes": [{"name": "v"}]}}
    config = {"spec": {"nodeName": None, "nodeSelector": None, "volumes": None}}
    assert apply.fields_in(config, POD) == {"f:spec": {"f:nodeName": {}, "f:nodeSelector": {}, "f:volumes": {}}}
    merged = apply.merge(live, config, POD)
    # A pod's nodeSelector is one thing for server-side apply; volumes are not.
    assert merged == {"spec": {"nodeName": None, "nodeSelector": None, "volumes": [{"name": "v"}]}}


def test_all_that_is_wrong_with_a_configuration_is_said():
    twice = [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80}]}, {"name": "b"}, {"name": "b"}]
    with pytest.raises(PatchFailure) as failure:
        apply.fields_in(containers(*twice), POD)
    assert str(failure.value) == (
        "errors:\n"
        '  .spec.containers[name="a"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]\n'
        '  .spec.containers: duplicate entries for key [name="b"]'
    )


def test_an_untyped_value_that_becomes_a_map_is_owned_with_all_that_is_in_it():
    found = apply.compare({"x": [1]}, {"x": {"y": 1}}, UNTYPED)
    assert (found.added, found.modified, found.removed) == ({"f:x": {"f:y": {}}}, {"f:x": {}}, {})
    back = apply.compare({"x": {"y": 1}}, {"x": [1]}, UNTYPED)
    assert (back.added, back.modified, back.removed) == ({}, {"f:x": {}}, {"f:x": {"f:y": {}}})
    emptied = apply.compare({"x": {"y": 1}}, {"x": {}}, UNTYPED)
    assert (emptied.added, emptied.modified, emptied.removed) == ({}, {}, {"f:x": {"f:y": {}}})


def test_a_field_that_a_schema_preserves_and_does_not_know_is_owned_itself():
    shape = Shape("object", fields={"known": LEAF})
    assert apply.fields_in({"known": 1, "other": {"x": 1}}, shape) == {
        "f:known": {}, "f:other": {".": {}, "f:x": {}}
    }  # fmt: skip

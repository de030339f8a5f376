import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.apps.deployment import Deployment
from api.core.pod import Pod
from api.patch import strategic
from api.patch.failure import PatchFailure


def containers(document: list[Any], patch: list[Any], **directives: Any) -> Any:
    result = strategic.apply({"spec": {"containers": document}}, {"spec": {"containers": patch, **directives}}, Pod)
    return result["spec"]["containers"]


def test_items_with_the_same_key_are_the_same_item() -> None:
    result = containers([{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}], [{"name": "a", "image": "2"}])
    assert result == [{"name": "a", "image": "2", "args": ["x"]}, {"name": "b"}]


def test_a_new_item_comes_first() -> None:
    assert containers([{"name": "a"}], [{"name": "b"}]) == [{"name": "b"}, {"name": "a"}]


def test_an_item_can_be_deleted() -> None:
    assert containers([{"name": "a"}, {"name": "b"}], [{"name": "a", "$patch": "delete"}]) == [{"name": "b"}]


def test_a_list_can_be_replaced() -> None:
    assert containers([{"name": "a"}], [{"$patch": "replace"}, {"name": "b"}]) == [{"name": "b"}]


def test_lists_without_a_merge_key_are_replaced() -> None:
    assert containers([{"name": "a", "args": ["x", "y"]}], [{"name": "a", "args": ["z"]}]) == [
        {"name": "a", "args": ["z"]}
    ]


def test_nested_items_merge_by_their_own_key() -> None:
    document = [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}]
    patch = [{"name": "a", "env": [{"name": "Y", "value": "3"}]}]
    assert containers(document, patch) == [
        {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "3"}]}
    ]


def test_null_removes_a_field_and_leaves_no_trace() -> None:
    result = strategic.apply({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"a": None}}}, Pod)
    assert result == {"metadata": {"labels": {}}}
    result = strategic.apply({}, {"metadata": {"annotations": {"x": None}}}, Pod)
    assert result == {"metadata": {"annotations": {}}}


def test_scalars_of_a_set_unite_and_can_be_taken_out() -> None:
    document = {"metadata": {"finalizers": ["a/1", "b/2"]}}
    united = strategic.apply(document, {"metadata": {"finalizers": ["c/3", "b/2"]}}, Pod)
    assert sorted(united["metadata"]["finalizers"]) == ["a/1", "b/2", "c/3"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/1"]}}
    assert strategic.apply(document, patch, Pod) == {"metadata": {"finalizers": ["b/2"]}}


def test_the_order_asked_for_is_kept() -> None:
    patch = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}]}
    result = containers([{"name": "a"}, {"name": "b"}], [{"name": "c"}], **patch)
    assert [item["name"] for item in result] == ["b", "a", "c"]
    only_order = strategic.apply({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}, {"spec": patch}, Pod)
    assert [item["name"] for item in only_order["spec"]["containers"]] == ["b", "a"]


def test_items_the_patch_does_not_know_keep_their_place() -> None:
    patch = {"$setElementOrder/containers": [{"name": "a"}, {"name": "c"}]}
    document = [{"name": "sidecar"}, {"name": "a"}, {"name": "c"}]
    result = containers(document, [{"name": "a", "image": "2"}], **patch)
    assert [item["name"] for item in result] == ["sidecar", "a", "c"]


def test_retain_keys_changes_a_union() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(document, patch, Deployment) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_an_object_can_be_replaced_or_emptied() -> None:
    document = {"metadata": {"labels": {"a": "1"}}}
    replaced = strategic.apply(document, {"metadata": {"labels": {"$patch": "replace", "b": "2"}}}, Pod)
    assert replaced == {"metadata": {"labels": {"b": "2"}}}
    assert strategic.apply(document, {"metadata": {"labels": {"$patch": "delete"}}}, Pod) == {
        "metadata": {"labels": {}}
    }


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"$patch": "frob"},
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": ["x"]}},
        {"spec": {"$retainKeys": "x"}},
        {"spec": {"$retainKeys": ["a"], "b": 1}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}},
        {"spec": {"$setElementOrder/containers": "x"}},
        {"spec": {"$setElementOrder/containers": [], "containers": -1}},
        {"spec": {"$setElementOrder/containers": [], "containers": "x"}},
    ],
)
def test_what_is_no_patch_is_refused(patch: Any) -> None:
    with pytest.raises(PatchFailure):
        strategic.apply({"spec": {"containers": [{"name": "a"}]}, "metadata": {"finalizers": []}}, patch, Pod)


items = st.lists(st.sampled_from("abcdef"), max_size=5, unique=True)


@given(items, items)
def test_patching_twice_is_patching_once_and_nothing_is_lost(there: list[str], patched: list[str]) -> None:
    document = {"spec": {"containers": [{"name": name, "image": "old"} for name in there]}}
    patch = {"spec": {"containers": [{"name": name, "image": "new"} for name in patched]}}
    before = copy.deepcopy((document, patch))
    once = strategic.apply(document, patch, Pod)
    assert strategic.apply(once, patch, Pod) == once
    assert {item["name"] for item in once["spec"]["containers"]} == set(there) | set(patched)
    assert all((item["image"] == "new") == (item["name"] in patched) for item in once["spec"]["containers"])
    assert (document, patch) == before


def test_items_must_stand_in_the_order_that_the_patch_asks_for() -> None:
    order = {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
    document = [{"name": "a"}, {"name": "c"}, {"name": "b"}]
    kept = containers(document, [{"name": "c", "image": "2"}, {"name": "x", "$patch": "delete"}], **order)
    assert [item["name"] for item in kept] == ["a", "b", "c"]
    with pytest.raises(
        PatchFailure, match="The order in patch list:\n(.|\n)* doesn't match .setElementOrder/containers"
    ):
        containers(document, [{"name": "c", "image": "2"}, {"name": "a", "image": "1"}], **order)


def test_an_item_without_its_key_is_named_in_gos_words() -> None:
    told = r"map: map\[image:2 stdin:true\] does not contain declared merge key: name"
    with pytest.raises(PatchFailure, match=told):
        containers([{"name": "a"}], [{"stdin": True, "image": "2"}])


def test_an_item_that_says_replace_replaces_the_list_by_the_others() -> None:
    assert containers([{"name": "a"}], [{"name": "b", "$patch": "replace"}, {"name": "c"}]) == [{"name": "c"}]


def test_merging_is_no_directive() -> None:
    with pytest.raises(PatchFailure, match="merging lists cannot yet be specified in the patch"):
        containers([{"name": "a"}], [{"name": "a", "$patch": "merge"}])
    with pytest.raises(PatchFailure, match=r"unknown patch type: merge in map: map\[.patch:merge\]"):
        strategic.apply({"spec": {}}, {"spec": {"$patch": "merge"}}, Pod)

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.patch import fieldset
from api.patch.fieldset import FieldSet

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
PATHS = st.lists(ELEMENTS, min_size=1, max_size=3).map(tuple)
SETS = st.frozensets(PATHS, max_size=8)


def tree(paths: frozenset[tuple[str, ...]]) -> FieldSet:
    """Build a set from its paths, in the form that is stored."""
    made: FieldSet = {}
    for path in sorted(paths):
        one: FieldSet = {}
        fieldset.insert(one, *path)
        made = fieldset.union(made, one)
    return made


def paths_of(fields: FieldSet) -> frozenset[tuple[str, ...]]:
    return frozenset(fieldset.paths(fields))


@given(SETS)
def test_a_set_has_the_paths_it_was_made_of(paths: frozenset[tuple[str, ...]]):
    assert paths_of(tree(paths)) == paths


@given(SETS, SETS)
def test_sets_of_fields_behave_as_sets_of_paths(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]):
    ours, theirs = tree(left), tree(right)
    assert paths_of(fieldset.union(ours, theirs)) == left | right
    assert paths_of(fieldset.difference(ours, theirs)) == left - right
    assert paths_of(fieldset.intersection(ours, theirs)) == left & right


@given(SETS, SETS)
def test_equal_sets_are_equal_trees(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]):
    ours, theirs = tree(left), tree(right)
    assert fieldset.union(ours, theirs) == tree(left | right)
    assert fieldset.difference(ours, theirs) == tree(left - right)
    assert fieldset.intersection(ours, theirs) == tree(left & right)


@given(SETS, SETS)
def test_taking_trees_out_takes_all_below(left: frozenset[tuple[str, ...]], doomed: frozenset[tuple[str, ...]]):
    def is_under(path: tuple[str, ...]) -> bool:
        return any(path[: len(top)] == top for top in doomed)

    assert paths_of(fieldset.without_trees(tree(left), tree(doomed))) == {path for path in left if not is_under(path)}


def test_a_path_is_shown_as_upstream_shows_it():
    path = ("f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', "f:image", 'v:"a"')
    assert fieldset.render(path) == '.spec[containerPort=80,protocol="TCP"].image[="a"]'


def test_what_is_no_set_is_recognised():
    assert fieldset.problem_of({"f:a": {".": {}, "f:b": {}}}) is None
    for bad in ([], {"a": {}}, {"f:a": 1}, {"k:x": {}}, {"k:{}": {}}, {"z:1": {}}):
        assert fieldset.problem_of(bad) is not None


def test_paths_of_one_level_come_before_those_below_them():
    owned: FieldSet = {"f:a": {"f:x": {}}, "f:b": {}, "f:c": {".": {}, "f:y": {}}}
    assert [fieldset.render(path) for path in fieldset.paths(owned)] == [".b", ".c", ".a.x", ".c.y"]

from __future__ import annotations

import pytest

from apiserver.cel import functions, types
from apiserver.cel.authorization import LIBRARY
from apiserver.cel.check import check
from apiserver.cel.program import BadProgram, compile_
from apiserver.cel.types import AUTHORIZER, DYN, INT, STRING, list_of, map_of, object_of

SPEC = object_of("Spec", {"replicas": INT, "names": list_of(STRING), "labels": map_of(STRING, STRING)})
VARIABLES = {"object": object_of("Object", {"spec": SPEC}), "any": DYN, "authorizer": AUTHORIZER}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("object.spec.replicas > 1", "bool"),
        ("object.spec.replicas + 1", "int"),
        ("object.spec.replicas > 1.5", "bool"),
        ("object.spec.names.map(n, size(n))", "list(int)"),
        ("object.spec.names.filter(n, n.startsWith('a'))", "list(string)"),
        ("object.spec.names[0]", "string"),
        ("object.spec.?names[?0].orValue('')", "string"),
        ("object.spec.labels['a'] + object.spec.labels.b", "string"),
        ("has(object.spec.replicas)", "bool"),
        ("any.whatever.there.is", "dyn"),
        ("any == 1 || any == 'a'", "bool"),
        ("any ? 1 : 2", "int"),
        ("{'a': [1, 2]}", "map(string, list(int))"),
        ("[1, any]", "list(dyn)"),
        ("'%s is %d'.format(['a', 1])", "string"),
        ("quantity('1Gi').compareTo(quantity('1G'))", "int"),
        ("url('https://a').getHost()", "string"),
        ("ip('10.0.0.1').family()", "int"),
        ("cidr('10.0.0.0/8').containsIP('10.0.0.1')", "bool"),
        ("format.named('uuid').value().validate('x')", "optional_type(list(string))"),
        ("format.dns1123Label().validate('x').hasValue()", "bool"),
        ("authorizer.group('').resource('pods').check('get').allowed()", "bool"),
        ("authorizer.requestResource.check('get').reason()", "string"),
        ("timestamp('2024-01-01T00:00:00Z') - timestamp('2024-01-01T00:00:00Z')", "duration"),
        ("sets.contains(object.spec.names, ['a'])", "bool"),
        ("type(1) == int", "bool"),
        ("null", "null"),
    ],
)
def test_an_expression_has_a_type(text: str, found: str) -> None:
    assert str(check(text, VARIABLES)) == found
    compile_(text, frozenset(VARIABLES), LIBRARY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.spec.replicas > '1'", "1:22: found no matching overload for '_>_' applied to '(int, string)'"),
        ("object.spec.nope", "1:12: undefined field 'nope'"),
        ("object.spec.replicas.x", "1:21: type 'int' does not support field selection"),
        ("object.spec.names.startsWith('a')", "for 'startsWith' applied to 'list(string).(string)'"),
        ("nope", "1:1: undeclared reference to 'nope' (in container '')"),
        ("any.nope()", "1:9: undeclared reference to 'nope' (in container '')"),
        ("object.spec.replicas.all(x, true)", "cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("1 == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("object.spec.names[object]", "found no matching overload for '_[_]'"),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': true}", "1:15: expected type 'int' but found 'bool'"),
        ("1 +", "Syntax error"),
    ],
)  # fmt: skip
def test_types_that_don_t_fit_are_told_with_their_place(text: str, why: str) -> None:
    with pytest.raises(BadProgram) as refused:
        check(text, VARIABLES)
    assert why in str(refused.value)


def test_a_place_is_shown_under_its_line() -> None:
    with pytest.raises(BadProgram) as refused:
        check("true &&\n  object.nope", VARIABLES)
    assert str(refused.value) == "ERROR: <input>:2:9: undefined field 'nope'\n |   object.nope\n | ........^"


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(BadProgram) as refused:
        check("object.one == object.two", VARIABLES)
    assert str(refused.value).count("ERROR") == 2


def test_whatever_can_be_called_has_a_signature_and_the_other_way_round() -> None:
    compared = {"_<=_", "_>_", "_>=_"}
    logical = {"_&&_", "_||_", "_?_:_"}
    called = {name for name in functions.STANDARD.functions if not name.startswith(("math.", "format."))} - compared
    assert called | logical == {name for name in types.FUNCTIONS if name != "format.named"}
    assert set(LIBRARY.methods) == set(types.METHODS)

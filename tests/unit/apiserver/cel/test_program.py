"""CEL: what expressions mean, and that they cost what they may."""

import contextlib
from random import Random

import pytest

from apiserver.cel.program import BadProgram, CostExceeded, compile_
from apiserver.cel.values import Failure, Optional
from tests.fuzz import expressions

SELF = {"a": 2, "list": ["a", "b"], "map": {"foo-bar": 1, "namespace": "n"}, "nested": [{"k": 1}, {"k": 2}]}


def value_of(text: str) -> object:
    return compile_(text, frozenset({"self"})).evaluate({"self": SELF})[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.a + 1 == 3", True),
        ("-7 / 2", -3),
        ("-7 % 3", -1),
        ("1 + 2 * 3 - 4", 3),
        ("'a' + 'b'", "ab"),
        ("self.list.all(x, x.size() == 1)", True),
        ("self.list.exists(x, x == 'b') ? 'yes' : 'no'", "yes"),
        ("self.list.exists_one(x, x == 'b')", True),
        ("self.list.map(x, x + '!').join(',')", "a!,b!"),
        ("self.nested.filter(x, x.k > 1)[0].k", 2),
        ("self.nested.map(x, x.k > 1, x.k)", [2]),
        ("has(self.b)", False),
        ("has(self.map.foo__dash__bar)", True),
        ("self.map.__namespace__", "n"),
        ("self.map['foo-bar']", 1),
        ("self.?b.orValue(5)", 5),
        ("self.?map.?namespace.hasValue()", True),
        ("optional.of(1).optMap(v, v + 1)", Optional(2, True)),
        ("false && self.b", False),
        ("self.b || true", True),
        ("1 == 1.0 && 1 < 1.5", True),
        ("true == 1", False),
        ("1 in [1, 2] && 'foo-bar' in self.map", True),
        ("'%s has %d of %.2f'.format(['x', 3, 1.5])", "x has 3 of 1.50"),
        ("'abc'.matches('^a.c$')", True),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'hello'.substring(1, 3).upperAscii()", "EL"),
        ("duration('1h30m') > duration('80m')", True),
        ("timestamp('2024-02-29T12:00:00Z').getDayOfYear()", 59),
        ("timestamp('2024-01-01T00:00:00Z') + duration('1s') == timestamp('2024-01-01T00:00:01Z')", True),
        ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", True),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3') && !isIP('300.1.1.1')", True),
        ("url('https://example.com:80/p').getHostname()", "example.com"),
        ("sets.contains([1, 2, 3], [3, 1]) && [1, 2, 3].sum() == 6", True),
        ("!format.dns1123Label().validate('a-b').hasValue()", True),
        ("type(1) == int && type('') != int", True),
        ("b'\\xff'.size() + r'\\n'.size()", 3),
        ("string(-0.0) + string(1e20)", "-0100000000000000000000"),
        ("bool('T') && !bool('F')", True),
        ("type(ip('::1')) == net.IP && type(cidr('::/0')) == net.CIDR", True),
        ("ip('255.255.255.255').isGlobalUnicast()", False),
        ("format.date().validate('2020-02-30').hasValue()", True),
        ("format.uri().validate('a b').value()[0]", 'parse "a b": invalid URI for request'),
        ("string(duration('1m')) + string(duration('90.5s')) + string(duration('0s'))", "60s90.5s0s"),
        ("'%e %.1e'.format([3.14, 0.00025])", "3.140000×10⁰⁰ 2.5×10⁻⁰⁴"),
        ("optional.ofNonZeroValue(duration('0s')).hasValue()", False),
        ("optional.ofNonZeroValue(timestamp('0001-01-01T00:00:00Z')).hasValue()", False),
        ("optional.ofNonZeroValue(timestamp('1970-01-01T00:00:00Z')).hasValue()", True),
        ("format.dns1123SubdomainPrefix().validate('a.b.-').hasValue()", False),
        ("isURL('http://a b') || isURL('/a%2') || isURL('a')", False),
        ("isURL('a:b') && isURL('/a') && isURL('https://[::1]:80/?q')", True),
    ],
)
def test_an_expression_has_this_value(text: str, value: object) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("self.b", "no such key: b"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1 + 'a'", "no such overload"),
        ("self.list[2]", "index out of bounds: 2"),
        ("1 + 1.0", "no such overload"),
        ("'a'.matches('(')", "error parsing regexp"),
    ],
)
def test_what_has_no_value_fails(text: str, why: str) -> None:
    with pytest.raises(Failure, match=why.replace("(", r"\(")):
        value_of(text)


@pytest.mark.parametrize("text", ["self.", "1 +", "slf.a", "self.nope()", "has(self)", "if", "'a", "((((1)", "a ? b"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(BadProgram, match="ERROR: <input>:1:"):
        value_of(text)


def test_an_expression_nests_only_so_deep() -> None:
    with pytest.raises(BadProgram, match="recursion limit"):
        value_of("(" * 100 + "1" + ")" * 100)


def test_an_evaluation_stops_when_it_costs_too_much() -> None:
    program = compile_("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", frozenset({"self"}))
    with pytest.raises(CostExceeded):
        program.evaluate({"self": list(range(1000))})


@pytest.mark.parametrize(
    "text",
    ["duration('1h').masked()", "'x'.prefixLength()", "['a'].join(1.5)", "[].join(1)", "{'a': 1}[{}]", "{'a': 1}[[]]"],
)
def test_a_function_of_another_type_is_no_overload_and_nothing_worse(text: str) -> None:
    with pytest.raises(Failure, match="no such overload"):
        value_of(text)


def test_random_expressions_have_a_value_or_a_failure() -> None:
    random, values = Random(1), (1, None, "a", "10.0.0.1", [1, 2], ["a"], {"a": 1}, 1.5, [{"a": [1]}])
    for _ in range(1500):
        with contextlib.suppress(BadProgram, Failure, CostExceeded):
            program = compile_(expressions.rule(random), frozenset({"self", "oldSelf"}))
            program.evaluate({"self": random.choice(values), "oldSelf": random.choice(values)}, 10_000)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("timestamp('2024-01-01T02:00:00+02:00')", "2024-01-01T02:00:00+02:00"),
        ("timestamp('2024-01-01T02:00:00.5-05:30') + duration('1h')", "2024-01-01T03:00:00.5-05:30"),
        ("duration('24h') + timestamp('2024-01-01T02:00:00+02:00')", "2024-01-02T02:00:00+02:00"),
        ("timestamp('2024-01-01T02:00:00+02:00') - duration('3h')", "2023-12-31T23:00:00+02:00"),
        ("timestamp('2024-01-01T02:00:00+00:00')", "2024-01-01T02:00:00Z"),
    ],
)
def test_a_moment_is_shown_by_the_clock_that_it_was_read_from(text: str, shown: str):
    assert compile_(f"string({text})", frozenset()).evaluate({})[0] == shown
    same = compile_("timestamp('2024-01-01T02:00:00+02:00') == timestamp('2024-01-01T00:00:00Z')", frozenset())
    assert same.evaluate({})[0] is True


def test_a_declared_variable_that_is_not_there_this_time_is_a_failure() -> None:
    with pytest.raises(Failure, match=r"no such attribute\(s\): oldSelf"):
        compile_("oldSelf.x", frozenset({"self", "oldSelf"})).evaluate({"self": {}})

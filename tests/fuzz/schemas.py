"""Random CustomResourceDefinitions with structural schemas and rules in CEL, and objects of them."""

from __future__ import annotations

import copy
from random import Random
from typing import Any, Final

from tests.fuzz import expressions
from tests.fuzz.objects import NUMBERS, ODD, WORDS, Plain

GROUP: Final = "fuzz.example.com"
_FORMATS: Final = (
    "date-time",
    "date",
    "duration",
    "uuid",
    "ipv4",
    "ipv6",
    "cidr",
    "email",
    "uri",
    "byte",
    "hostname",
    "password",
    "mac",
    "nonsense",
)
_PATTERNS: Final = ("^a", "^[a-z]*$", "(a+)+$", "(", "[", "^.{1,5}$", "\\d+", "(?=a)", "\\p{L}", "a{1001}", "")
_RULES: Final[dict[str, tuple[str, ...]]] = {
    "object": (
        "has(self.a)",
        "!has(self.b) || self.b == self.b",
        "size(self) < 100",
        "self == oldSelf",
        "self.nothing == 1",
        "has(self.a) ? self.a != '' : true",
        "true",
    ),
    "array": (
        "size(self) < 10",
        "self.all(x, x == x)",
        "self.exists(x, x == self[0])",
        "self[0] == self[0]",
        "self.map(x, x).size() == self.size()",
        "self.all(x, self.all(y, self.all(z, x == y || y == z)))",
        "self == self + self",
        "self.isSorted()",
        "self.sum() >= 0",
    ),
    "string": (
        "self != 'x'",
        "self.size() < 5",
        "self.startsWith('a')",
        "self.matches('^[a-z]*$')",
        "self.matches('(')",
        "self == oldSelf",
        "self.split('a').size() > 0",
        "self.find('[0-9]+') == ''",
        "url(self).getHost() != ''",
        "quantity(self).isGreaterThan(quantity('1'))",
        "ip(self).family() == 4",
        "timestamp(self) < timestamp('2024-01-01T00:00:00Z')",
        "self.format([1]) == ''",
        "'%s'.format([self]) == self",
        "int(self) > 1",
        "self.substring(1, 3) == 'x'",
        "self.replace('', 'xxxxxxxx').size() > 1",
        "duration(self) > duration('1s')",
        "format.dns1123Label().validate(self).hasValue()",
    ),
    "integer": (
        "self > 0",
        "self >= oldSelf",
        "10 / self > 1",
        "self % 2 == 0",
        "self * self > self",
        "-self < 0",
        "self + 9223372036854775807 > 0",
        "string(self) != ''",
        "self in [1, 2, 3]",
    ),
    "number": ("self > 0.5", "self / 0.0 > 1.0", "int(self) > 0", "math.greatest(self, 1.0) == 1.0"),
    "boolean": ("self", "!self", "self || 1 / 0 == 1", "self ? true : 'x'"),
}
_BROKEN: Final = (
    "",
    "self.",
    "1 +",
    "self == 1 == true",
    "unknown(self)",
    "[1, 'a'][0]",
    "{'a': 1}.b",
    "a" * 3000,
    "(" * 300 + "self" + ")" * 300,
    "self.x.y.z",
    "'\\u0000'",
    "b'abc' == self",
    "1u - 2u",
    "-9223372036854775808",
)


def schema(random: Random, depth: int = 0) -> Plain:
    """Return a random schema, structural as a rule."""
    type_ = random.choice(("object", "object", "array", "string", "integer", "number", "boolean"))
    if depth > 3 and type_ in ("object", "array"):
        type_ = "string"
    made: Plain = {"type": type_}
    chance = random.random
    match type_:
        case "object":
            if chance() < 0.8:
                made["properties"] = {
                    name: schema(random, depth + 1)
                    for name in random.sample(("a", "b", "c", "d-e", "f_g", "if"), random.randint(1, 4))
                }
                if chance() < 0.3:
                    made["required"] = random.sample(tuple(made["properties"]), 1)
            else:
                made["additionalProperties"] = (
                    schema(random, depth + 1) if chance() < 0.8 else random.choice((True, False))
                )
            _maybe(random, made, 0.1, "maxProperties", (0, 1, 5, -1))
            _maybe(random, made, 0.1, "x-kubernetes-preserve-unknown-fields", (True, False))
            _maybe(random, made, 0.05, "x-kubernetes-embedded-resource", (True,))
            _maybe(random, made, 0.05, "x-kubernetes-map-type", ("atomic", "granular", "x"))
        case "array":
            made["items"] = schema(random, depth + 1)
            _maybe(random, made, 0.5, "maxItems", (0, 1, 5, 10, 10**6))
            _maybe(random, made, 0.2, "x-kubernetes-list-type", ("atomic", "set", "map", "x"))
            if made.get("x-kubernetes-list-type") == "map":
                made["x-kubernetes-list-map-keys"] = random.choice((["a"], ["a", "b"], [], ["z"]))
            _maybe(random, made, 0.05, "uniqueItems", (True, False))
        case "string":
            _maybe(random, made, 0.3, "format", _FORMATS)
            _maybe(random, made, 0.2, "pattern", _PATTERNS)
            _maybe(random, made, 0.3, "maxLength", (0, 1, 5, 100, -1))
            _maybe(random, made, 0.2, "enum", (["a", "b"], [], ["x", None], ["a", "a"]))
        case "integer" | "number":
            _maybe(random, made, 0.2, "minimum", (0, -5, 1e300))
            _maybe(random, made, 0.2, "multipleOf", (2, 0.1, 0, -3))
            _maybe(random, made, 0.1, "format", ("int32", "int64", "float", "double"))
            if chance() < 0.1:
                made.pop("type")
                made["x-kubernetes-int-or-string"] = True
    _maybe(random, made, 0.15, "nullable", (True,))
    if depth and chance() < 0.15:
        made["default"] = value(random, made)
    if chance() < 0.3:
        made["x-kubernetes-validations"] = [_rule(random, type_) for _ in range(random.choice((1, 1, 2)))]
    if chance() < 0.06:
        made[random.choice(("anyOf", "oneOf", "allOf"))] = [{"required": ["a"]}, {"maxLength": 3}]
    if chance() < 0.03:
        made[random.choice(("$ref", "not", "title", "example", "definitions", "type"))] = random.choice(ODD)
    return made


def _maybe(random: Random, made: Plain, chance: float, key: str, values: tuple[Any, ...]) -> None:
    if random.random() < chance:
        made[key] = copy.deepcopy(random.choice(values))


def _rule(random: Random, type_: str) -> Plain:
    way = random.random()
    known = _BROKEN if way < 0.05 else _RULES.get(type_, ("true",))
    rule: Plain = {"rule": expressions.rule(random) if way > 0.5 else random.choice(known)}
    if rule["rule"] in ("self", "") or way > 0.9:
        rule["rule"] = f"self == self || {rule['rule']}"
    _maybe(random, rule, 0.3, "message", ("no", "", "a\nb"))
    _maybe(random, rule, 0.15, "messageExpression", ("'x'", "string(self)", "1", "''", "'a\\nb'", "self"))
    if random.random() < 0.1:
        rule["messageExpression"] = expressions.make(random)
    _maybe(random, rule, 0.15, "reason", ("FieldValueInvalid", "FieldValueRequired", "x"))
    _maybe(random, rule, 0.1, "fieldPath", (".a", ".b", ".nothing", "x", "", "['d-e']"))
    _maybe(random, rule, 0.1, "optionalOldSelf", (True, False))
    return rule


def definition(random: Random, plural: str) -> Plain:
    """Return a definition whose objects have a random `spec`, and perhaps a status."""
    versions = []
    for name in random.choice((("v1",), ("v1",), ("v1", "v1beta1"))):
        top: Plain = {"type": "object", "properties": {"spec": schema(random), "status": schema(random, 2)}}
        if random.random() < 0.05:
            top = schema(random)
        version: Plain = {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": top}}
        if random.random() < 0.5:
            version["subresources"] = {"status": {}}
            if random.random() < 0.4:
                paths = {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.a"}
                version["subresources"]["scale"] = random.choice(
                    (paths, {**paths, "labelSelectorPath": ".status.b"}, {})
                )
        if random.random() < 0.4:
            version["additionalPrinterColumns"] = [
                {
                    "name": "A",
                    "type": random.choice(("string", "integer", "date", "boolean", "number", "x")),
                    "jsonPath": random.choice(
                        (
                            ".spec.a",
                            ".spec",
                            ".spec.a[*].b",
                            ".metadata.creationTimestamp",
                            ".spec.a[?(@.b=='c')].d",
                            "spec",
                            "..",
                            ".spec['d-e']",
                            ".[",
                            "$.a",
                        )
                    ),
                }
            ]
        if random.random() < 0.2:
            version["selectableFields"] = [{"jsonPath": random.choice((".spec.a", ".spec.b", ".spec", "x"))}]
        versions.append(version)
    kind = plural.capitalize()
    made: Plain = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"},
            "versions": versions,
        },
    }
    if random.random() < 0.1:
        made["spec"]["preserveUnknownFields"] = random.choice((True, False))
    return made


def value(random: Random, made: Plain, depth: int = 0) -> Any:
    """Return a value of a schema, mostly a sound one."""
    if random.random() < 0.04 or not isinstance(made, dict):
        return copy.deepcopy(random.choice(ODD))
    if made.get("nullable") and random.random() < 0.2:
        return None
    if isinstance(made.get("enum"), list) and made["enum"] and random.random() < 0.8:
        return random.choice(made["enum"])
    if made.get("x-kubernetes-int-or-string"):
        return random.choice((1, "50%", 1.5, True))
    match made.get("type"):
        case "object":
            found = {
                name: value(random, inner, depth + 1)
                for name, inner in (made.get("properties") or {}).items()
                if random.random() < 0.75 or name in (made.get("required") or ())
            }
            more = made.get("additionalProperties")
            if isinstance(more, dict):
                found.update({random.choice("xyz"): value(random, more, depth + 1) for _ in range(2)})
            if random.random() < 0.1:
                found[random.choice(WORDS)] = copy.deepcopy(random.choice(ODD))
            if made.get("x-kubernetes-embedded-resource"):
                found |= {"apiVersion": "v1", "kind": "X", "metadata": {"name": random.choice(WORDS)}}
            return found
        case "array":
            return [value(random, made.get("items", {}), depth + 1) for _ in range(random.choice((0, 1, 2, 3, 6)))]
        case "integer":
            return random.choice(NUMBERS)
        case "number":
            return random.choice((0.5, 1, 2, -1.5, 1e300))
        case "boolean":
            return random.random() < 0.5
    return random.choice(
        (*WORDS[:14], "2024-01-01T00:00:00Z", "1h30m", "10.0.0.1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "5Gi", "12")
    )

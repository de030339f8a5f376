"""Random objects of the built-in kinds: sound ones, changed a little or a lot along the kinds' declarations."""

from __future__ import annotations

import base64
import copy
import functools
from pathlib import Path
from random import Random
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.discover import by_kind
from api.resource import Resource
from api.schema import FieldSchema, Struct, TypeSchema, fields_of

Plain = dict[str, Any]
DEPTH_MAX: Final = 5
WORDS: Final = (
    "a",
    "b",
    "c",
    "d",
    "name",
    "http",
    "nginx",
    "default",
    "fuzz",
    "example.com/x",
    "a-b.c",
    "A_b",
    "",
    "-bad-",
    "UPPER",
    "x" * 64,
    "y" * 254,
    "a/b/c",
    "TCP",
    "UDP",
    "Always",
    "Never",
    "IfNotPresent",
    "OnFailure",
    "Exists",
    "Equal",
    "In",
    "NotIn",
    "DoesNotExist",
    "NoSchedule",
    "NoExecute",
    "ClusterIP",
    "NodePort",
    "None",
    "ExternalName",
    "LoadBalancer",
    "IPv4",
    "IPv6",
    "SingleStack",
    "PreferDualStack",
    "RollingUpdate",
    "Recreate",
    "OnDelete",
    "ReadWriteOnce",
    "Retain",
    "Delete",
    "Ignore",
    "Fail",
    "Allow",
    "Forbid",
    "Replace",
    "Indexed",
    "10.0.0.1",
    "::1",
    "fe80::1%eth0",
    "10.0.0.0/8",
    "fd00::/64",
    "300.1.1.1",
    "50%",
    "150%",
    "-1",
    "80",
    "1Gi",
    "100m",
    "2024-01-01T00:00:00Z",
    "\u00e9\u4e2d",
    "\U0001f600",
    "\x00",
    "a\nb",
    "\\",
    '"',
    "*",
    "/",
    "..",
    "%s",
    "$(A)",
    "{{",
    "null",
)
NUMBERS: Final = (0, 1, 2, 3, 10, 80, 443, 30000, 65535, 65536, -1, 100, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63)
QUANTITIES: Final = ("0", "1", "100m", "1Gi", "1.5", "-1", "1e3", "12E", "1n", "9" * 30, "0.0000000001", "1KI", "", ".")
TIMES: Final = (
    "2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00.123456Z",
    "1969-12-31T23:59:60Z",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2024-02-30T00:00:00Z",
    "2024-01-01",
    "2024-01-01T00:00:00+25:00",
    "x",
)
ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    "",
    "x",
    [],
    {},
    [None],
    [[]],
    {"": None},
    [{}],
    {"a": {"b": {"c": []}}},
    2**64,
    -0.0,
    "\ud7ff",
    ["a", "a"],
    [1, "a"],
)


@functools.cache
def certificate_request() -> str:
    """Return a sound request for a certificate, as the API has it in JSON."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


@functools.cache
def seeds() -> tuple[tuple[Resource[Any], Plain], ...]:
    """Return every kind with a sound object of it."""
    found = []
    for seed in yaml.safe_load((Path(__file__).parent / "seeds.yaml").read_text()):
        if seed.get("spec", {}).get("request") == "CSR":
            seed["spec"]["request"] = certificate_request()
        resource = by_kind(seed["apiVersion"], seed["kind"])
        assert resource is not None, seed
        found.append((resource, seed))
    return tuple(found)


def sound(random: Random, resource: Resource[Any], seed: Plain, name: str) -> Plain:
    """Return a sound object under that name, or the one name its kind allows it."""
    made = copy.deepcopy(seed)
    metadata = made.setdefault("metadata", {})
    metadata.setdefault("name", name)
    if random.random() < 0.6:
        metadata["labels"] = {key: random.choice("xyz") for key in random.sample(("app", "tier", "a"), 2)}
    if random.random() < 0.2:
        metadata["finalizers"] = ["example.com/hold"]
    if random.random() < 0.2:
        metadata["annotations"] = {"example.com/note": random.choice(WORDS)}
    return made


def change(random: Random, value: Plain, struct: type[Struct], times: int) -> Plain:
    """Return a copy of `value`, an object of `struct`, changed in so many places."""
    changed = copy.deepcopy(value)
    for _ in range(times):
        _change_one(random, changed, struct)
    return changed


def _change_one(random: Random, value: Plain, struct: type[Struct], depth: int = 0) -> None:
    """Walk down at random and change what is there: set, drop, replace, repeat."""
    declared = fields_of(struct)
    present = [name for name in value if name in declared]
    if present and depth < 8 and random.random() < 0.75:
        name = random.choice(present)
        inner, schema = value[name], declared[name].type
        if isinstance(inner, dict) and schema.struct is not None:
            return _change_one(random, inner, schema.struct, depth + 1)
        if isinstance(inner, list) and inner and schema.item is not None and random.random() < 0.8:
            at = random.randrange(len(inner))
            if isinstance(inner[at], dict) and schema.item.struct is not None:
                if random.random() < 0.8:
                    return _change_one(random, inner[at], schema.item.struct, depth + 1)
                inner.insert(random.randrange(len(inner) + 1), copy.deepcopy(inner[at]))
                return None
    way = random.random()
    if way < 0.6 or not present:
        name = random.choice(tuple(declared))
        value[name] = of_field(random, declared[name], depth)
    elif way < 0.75:
        del value[random.choice(present)]
    elif way < 0.9:
        value[random.choice(present)] = copy.deepcopy(random.choice(ODD))
    elif way < 0.95:
        value[random.choice(WORDS)] = copy.deepcopy(random.choice(ODD))
    else:
        name = random.choice(present)
        if isinstance(value[name], list) and value[name]:
            value[name] = [copy.deepcopy(item) for item in value[name]] * 2
    return None


def of_field(random: Random, declared: FieldSchema, depth: int = 0) -> Any:
    """Return a random value for a field, mostly of its type."""
    if random.random() < 0.03:
        return copy.deepcopy(random.choice(ODD))
    return of_type(random, declared.type, depth)


def of_type(random: Random, schema: TypeSchema, depth: int = 0) -> Any:
    """Return a random value of a type."""
    forms = {
        "quantity": lambda: random.choice(QUANTITIES),
        "int-or-string": lambda: random.choice((*NUMBERS[:8], "50%", "http", "-5%", "x%", "")),
        "date-time": lambda: random.choice(TIMES),
        "micro-time": lambda: random.choice(TIMES),
        "duration": lambda: random.choice(("1s", "5m0s", "-1h", "x", "")),
        "fields": lambda: random.choice(({"f:metadata": {}}, {"f:spec": {"f:x": {}}}, {"k:{": 1}, {".": {}}, [])),
    }
    if schema.form in forms:
        return forms[schema.form]()
    match schema.kind:
        case "struct" if schema.struct is not None:
            return _struct(random, schema.struct, depth + 1)
        case "list" if schema.item is not None:
            return [of_type(random, schema.item, depth + 1) for _ in range(random.choice((0, 1, 1, 1, 2, 3)))]
        case "map" if schema.item is not None:
            item = schema.item
            return {random.choice(WORDS): of_type(random, item, depth + 1) for _ in range(random.choice((0, 1, 2)))}
        case "string":
            return random.choice(WORDS)
        case "integer":
            return random.choice(NUMBERS)
        case "number":
            return random.choice((0.5, 1, -1e9))
        case "boolean":
            return random.random() < 0.5
        case "bytes":
            return random.choice(("", "YQ==", "YQ", "!!", "A" * 4000))
    if schema.item is not None and random.random() < 0.5:
        return of_type(random, schema.item, depth + 1)
    return copy.deepcopy(random.choice(ODD))


def _struct(random: Random, struct: type[Struct], depth: int) -> Plain:
    made: Plain = {}
    for name, declared in fields_of(struct).items():
        is_required = declared.wire is not None and declared.wire.required
        if depth > DEPTH_MAX and not (is_required and depth < 2 * DEPTH_MAX):
            continue
        if is_required or random.random() < 0.25:
            made[name] = of_field(random, declared, depth)
    return made

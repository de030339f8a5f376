"""Protobuf bodies: round trips of every kind, Go's habits, and what is refused."""

from __future__ import annotations

import base64
import contextlib
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import protobuf, serde, timestamps
from api.apiextensions.customresourcedefinition import JSONSchemaProps
from api.apps import deployment
from api.authentication import tokenrequest
from api.core import pod, secret, service
from api.core.containers import Container, ContainerPort, Probe
from api.core.pod import Pod, PodSpec
from api.core.security_context import SecurityContext
from api.core.volumes import EmptyDirVolumeSource, Volume
from api.discover import KINDS
from api.errors import BadRequest
from api.meta import DeleteOptions, ObjectMeta, Preconditions
from api.resource import Resource
from api.schema import Struct, TypeSchema, fields_of
from tests.unit.api.test_reference import structs

# Objects are drawn by a plain generator from a seed: strategies for types as large as Pod take seconds to build.


def draw(schema: TypeSchema, random: Random, depth: int) -> Any:
    if schema.kind == "struct":
        assert schema.struct is not None
        return draw_object(schema.struct, random, depth - 1)
    if schema.kind in ("list", "map"):
        item = schema.item
        assert item is not None
        count = random.randrange(3) if depth > 0 else 0
        if schema.kind == "list":
            return [draw(item, random, depth) for _ in range(count)]
        return {draw_text(random): draw(item, random, depth) for _ in range(count)}
    if schema.form.startswith("schema-or"):
        assert schema.item is not None
        made = draw(schema.item, random, depth - 1)
        others = {"schema-or-bool": random.random() < 0.5, "schema-or-array": [made, made], "schema-or-strings": ["a"]}
        return random.choice([made, others[schema.form]])
    moment = random.randrange(-(10**9), 7 * 10**9)
    match schema.form or schema.kind:
        case "int-or-string":
            return random.choice([0, -1, 2**31 - 1, "", "80%", "http"])
        case "quantity":
            return random.choice(["0", "1", "100m", "1Gi", "1500m", "10k"])
        case "date-time":
            return timestamps.render(moment)
        case "micro-time":
            return timestamps.render_micro(moment + random.randrange(1000) / 1024)
        case "duration":
            return f"{random.randrange(10**6)}s"
        case "int32":
            return random.choice([0, 1, -1, 127, 128, 2**31 - 1, -(2**31)])
        case "int64" | "integer":
            return random.choice([0, 1, -1, 300, 2**63 - 1, -(2**63)])
        case "number":
            return random.choice([0.0, 1.5, -1e300])
        case "boolean":
            return random.random() < 0.5
        case "bytes":
            return random.randbytes(random.randrange(4))
        case "string":
            return draw_text(random)
    return {"a": [1, "b", {"c": None}]}


def draw_text(random: Random) -> str:
    return "".join(random.choice("ab-\u00e9\u4e16\U0001f600\n") for _ in range(random.randrange(4)))


def draw_object(struct: type[Struct], random: Random, depth: int) -> Any:
    made = struct()
    for field in fields_of(struct).values():
        is_deeper = depth <= 0 and (field.type.kind == "struct" or field.type.form.startswith("schema-or"))
        if field.wire is not None and not is_deeper and random.random() < 0.6:
            setattr(made, field.name, draw(field.type, random, depth))
    return made


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: f"{resource.api_version}.{resource.kind}")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_an_object_survives_the_wire(resource: Resource[Any], seed: int) -> None:
    obj = draw_object(resource.type, Random(seed), 5)
    body = protobuf.encode(obj, resource.api_version, resource.kind)
    decoded = serde.decode(body, resource, content_type=protobuf.MEDIA).object
    assert serde.to_value(decoded) == serde.to_value(obj)


def test_every_field_of_a_message_has_a_number() -> None:
    missing = [
        f"{struct.__name__}.{name}"
        for struct in structs()
        for name, field in fields_of(struct).items()
        if field.wire is None
        and not (name in ("apiVersion", "kind") and ("metadata" in fields_of(struct) or struct is DeleteOptions))
        and struct.__name__ != "TypeMeta"
    ]
    assert missing == []


def test_no_two_fields_of_a_message_share_a_number() -> None:
    for struct in structs():
        paths = [field.wire.number for field in fields_of(struct).values() if field.wire is not None]
        assert len(paths) == len(set(paths)), struct.__name__
        for path in paths:
            assert not any(other != path and other[: len(path)] == path for other in paths), struct.__name__


# A message written out by hand, so that the reader is not only compared with our own writer.


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def tag(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def number(field: int, value: int) -> bytes:
    assert 0 <= value < 128
    return bytes([field << 3, value])


def enveloped(raw: bytes, api_version: str = "v1", kind: str = "Pod", more: bytes = b"") -> bytes:
    meta = tag(1, api_version.encode()) + tag(2, kind.encode())
    return b"k8s\0" + tag(1, meta) + tag(2, raw) + more


def test_an_object_as_kubectl_sends_it() -> None:
    metadata = (
        tag(1, b"web") + tag(2, b"") + tag(3, b"a") + number(7, 0) + tag(8, b"") + tag(11, tag(1, b"k") + tag(2, b"v"))
    )
    port = tag(1, b"http") + number(2, 0) + number(3, 80) + tag(4, b"") + tag(5, b"")
    limits = tag(1, tag(1, b"cpu") + tag(2, tag(1, b"0.5")))
    probe = tag(1, tag(2, tag(1, b"/") + tag(2, number(1, 1) + number(2, 0) + tag(3, b"http"))))
    context = number(4, 0)
    container = tag(1, b"c") + tag(2, b"nginx") + tag(6, port) + tag(8, limits) + tag(10, probe) + tag(15, context)
    volume = tag(1, b"v") + tag(2, tag(2, tag(1, b"")))
    spec = tag(1, volume) + tag(2, container) + tag(3, b"Always") + number(4, 0)
    value = protobuf.to_value(enveloped(tag(1, metadata) + tag(2, spec)), Pod)
    assert value == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "a", "labels": {"k": "v"}},
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [
                {
                    "name": "c",
                    "image": "nginx",
                    "ports": [{"name": "http", "containerPort": 80}],
                    "resources": {"limits": {"cpu": "0.5"}},
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
                    "securityContext": {"runAsUser": 0},
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 0,
        },
    }
    decoded = serde.decode_value(value, pod.RESOURCE).object
    assert decoded.spec.containers[0].resources.limits == {"cpu": "500m"}


def test_zeros_of_scalars_are_dropped_and_those_of_pointers_kept() -> None:
    spec = deployment.DeploymentSpec(replicas=0, min_ready_seconds=0, paused=False)
    body = protobuf.encode(deployment.Deployment(spec=spec), "apps/v1", "Deployment")
    value = protobuf.to_value(body, deployment.Deployment)
    assert value["spec"]["replicas"] == 0
    assert "minReadySeconds" not in value["spec"] and "paused" not in value["spec"]


def test_times_bytes_and_fields_take_their_form_in_json() -> None:
    metadata = tag(8, b"") + tag(9, number(1, 1) + number(2, 5)) + tag(17, tag(1, b"m") + tag(7, tag(1, b'{"f:a":{}}')))
    value = protobuf.to_value(
        enveloped(tag(1, metadata) + tag(2, tag(1, b"k") + tag(2, b"\xff")), kind="Secret"), secret.Secret
    )
    assert value["metadata"]["deletionTimestamp"] == "1970-01-01T00:00:01Z"
    assert "creationTimestamp" not in value["metadata"]
    assert value["metadata"]["managedFields"] == [{"manager": "m", "fieldsV1": {"f:a": {}}}]
    assert base64.b64decode(value["data"]["k"]) == b"\xff"


def test_negative_numbers_come_out_negative() -> None:
    body = protobuf.encode(Pod(spec=PodSpec(priority=-5)), "v1", "Pod")
    assert protobuf.to_value(body, Pod)["spec"]["priority"] == -5


def test_packed_lists_are_read_too() -> None:
    value = protobuf.to_value(enveloped(tag(2, tag(14, tag(4, bytes([1, 2, 3]))))), Pod)
    assert value["spec"]["securityContext"]["supplementalGroups"] == [1, 2, 3]


def test_unknown_fields_are_passed_over_and_messages_merge() -> None:
    more = tag(1, tag(3, b"a")) + tag(1, tag(1, b"n")) + bytes([99 << 3 & 127 | 128 | 1, 6]) + b"12345678"
    assert protobuf.to_value(enveloped(more), Pod)["metadata"] == {"namespace": "a", "name": "n"}


def test_delete_options_and_token_requests_are_read() -> None:
    options = DeleteOptions(
        grace_period_seconds=0, preconditions=Preconditions(uid="u"), propagation_policy="Foreground"
    )
    value = protobuf.to_value(protobuf.encode(options, "v1", "DeleteOptions"), DeleteOptions)
    assert msgspec.convert(value, DeleteOptions) == msgspec.structs.replace(
        options, api_version="v1", kind="DeleteOptions"
    )
    spec = tokenrequest.TokenRequestSpec(audiences=["a"], expiration_seconds=600)
    request = tokenrequest.TokenRequest(metadata=ObjectMeta(name="x"), spec=spec)
    body = protobuf.encode(request, "authentication.k8s.io/v1", "TokenRequest")
    assert serde.decode(body, tokenrequest.RESOURCE, content_type=protobuf.MEDIA).object == request


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "expected prefix"),
        (b'{"kind":"Pod"}', "expected prefix"),
        (b"k8s\0\x0a", "ends in the middle of a number"),
        (b"k8s\0\x12\x05ab", "says it has 5 bytes, and 2 are left"),
        (enveloped(b"\x0a\x03\x0a\x04a"), "and 1 are left"),
        (enveloped(b"\x08\x01"), "should be a message"),
        (enveloped(tag(1, tag(1, b"\xff"))), "name is not UTF-8"),
        (enveloped(tag(1, tag(7, b"x"))), "generation should be a number"),
        (enveloped(b"\x0b\x0c"), "wire type 3"),
        (enveloped(b"\x00\x00"), "number 0"),
        (enveloped(tag(1, b"\x38" + b"\xff" * 10 + b"\x01")), "more than 64 bits"),
        (enveloped(tag(1, tag(8, b"\x08" + b"\xff" * 8 + b"\x7f"))), "no year of four digits"),
        (enveloped(b"", more=tag(3, b"gzip")), "not encoded"),
        (enveloped(b"", more=tag(4, b"application/json")), "application/json"),
        (enveloped(tag(2, b"\x12\x00" * 23_000)), "more than 250000 values"),
    ],
)
def test_a_body_that_is_not_one_is_refused_in_a_sentence(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        serde.decode(body, pod.RESOURCE, content_type=protobuf.MEDIA)


def test_a_schema_within_a_schema_within_a_schema_ends_somewhere() -> None:
    negated = fields_of(JSONSchemaProps)["not"].wire
    assert negated is not None
    raw = b""
    for _ in range(10_000):
        raw = tag(negated.number[0], raw)
    with pytest.raises(BadRequest, match="nests deeper than 100 levels"):
        protobuf.to_value(enveloped(raw), JSONSchemaProps)


def test_the_kind_must_be_the_one_of_the_path() -> None:
    with pytest.raises(BadRequest, match="unknown conversion"):
        serde.decode(enveloped(b""), service.RESOURCE, content_type=protobuf.MEDIA)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_bytes_are_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    container = Container(
        name="c",
        ports=[ContainerPort(container_port=80)],
        liveness_probe=Probe(period_seconds=3),
        security_context=SecurityContext(run_as_user=0),
    )
    full = Pod(
        metadata=ObjectMeta(name="a", labels={"k": "v"}, creation_timestamp="2024-01-01T00:00:00Z"),
        spec=PodSpec(
            containers=[container], volumes=[Volume(name="v", empty_dir=EmptyDirVolumeSource(size_limit="1Gi"))]
        ),
    )
    body = bytearray(protobuf.encode(full, "v1", "Pod"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(body) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                body[at] = data.draw(st.integers(0, 255))
            case 1:
                del body[at]
            case _:
                body.insert(at, data.draw(st.integers(0, 255)))
    with contextlib.suppress(BadRequest):
        serde.decode(bytes(body), pod.RESOURCE, content_type=protobuf.MEDIA)


def test_what_is_written_grows_with_what_is_said_and_no_faster() -> None:
    def written(count: int) -> int:
        containers = [Container(name=f"c{number:04}", image="i") for number in range(count)]
        return len(protobuf.encode(Pod(spec=PodSpec(containers=containers)), "v1", "Pod"))

    one, ten, hundred = written(1), written(10), written(100)
    assert ten - one < 10 * 32 and hundred - ten < 90 * 32
    assert written(0) < 40, "an object that says nothing is hardly more than its envelope"


def test_a_schema_as_deep_as_any_that_is_read_can_be_written() -> None:
    schema = JSONSchemaProps(type="string")
    for _ in range(90):
        schema = JSONSchemaProps(type="object", properties={"a": schema})
    body = protobuf.encode(schema, "v1", "JSONSchemaProps")
    assert len(body) < 90 * 40


def test_equal_objects_are_equal_bytes() -> None:
    one = ObjectMeta(labels={"a": "1", "b": "2"}, annotations={})
    other = ObjectMeta(annotations={}, labels={"b": "2", "a": "1"})
    assert protobuf.encode(one, "v1", "M") == protobuf.encode(other, "v1", "M")

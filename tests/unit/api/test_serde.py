import json
from typing import Any

import pytest

from api import serde
from api.apps import deployment, statefulset
from api.core import event, pod, secret
from api.discover import KINDS
from api.discovery import endpointslice
from api.errors import BadRequest
from api.rbac import clusterrole, role, rules
from api.storage import csinode, csistoragecapacity


def read(value: Any, resource: Any = deployment.RESOURCE, **options: Any) -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return serde.decode(body, resource, **options)


def refusal(value: Any, resource: Any = deployment.RESOURCE, **options: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        read(value, resource, **options)
    return caught.value.message


def test_strict_problems_are_told_in_the_order_of_the_text() -> None:
    body = b'{"spec": {"a": 1, "replicas": 2, "b": 1, "replicas": 3, "c": 1}}'
    told = refusal(body, field_validation="Strict").partition("strict decoding error: ")[2]
    assert told == (
        'unknown field "spec.a", unknown field "spec.b", duplicate field "spec.replicas", unknown field "spec.c"'
    )


@pytest.mark.parametrize(
    ("resource", "shown"),
    [
        (endpointslice.RESOURCE, {"addressType": "", "endpoints": [], "ports": []}),
        (role.RESOURCE, {"rules": []}),
        (clusterrole.RESOURCE, {"rules": []}),
        (csinode.RESOURCE, {"spec": {"drivers": []}}),
    ],
)
def test_lists_that_upstream_always_shows_are_shown_when_they_are_empty(resource: Any, shown: Any) -> None:
    made = json.loads(serde.encode(resource.type()))
    assert {name: value for name, value in made.items() if name not in ("apiVersion", "kind", "metadata")} == shown
    one, other = resource.type(), resource.type()
    if hasattr(one, "rules"):
        one.rules.append(rules.PolicyRule())
        assert not other.rules


def test_keys_that_yaml_gives_twice_are_told_by_line() -> None:
    body = b"spec:\n  replicas: 1\n  a: 1\n  replicas: 2\n"
    told = refusal(body, field_validation="Strict", content_type="application/yaml")
    assert told.endswith(
        'strict decoding error: yaml: unmarshal errors:\n  line 4: key "replicas" already set in map, '
        'unknown field "spec.a"'
    )


def test_null_means_absent() -> None:
    decoded = read({"metadata": {"creationTimestamp": None, "labels": None}, "spec": {"replicas": None}}).object
    assert decoded == deployment.Deployment()


def test_null_inside_a_map_or_a_list_is_an_empty_value() -> None:
    decoded = read({"metadata": {"labels": {"a": None}}, "spec": {"containers": [None]}}, pod.RESOURCE).object
    assert decoded.metadata.labels == {"a": ""}
    assert len(decoded.spec.containers) == 1


@pytest.mark.parametrize("validation", ["Ignore", "Warn", "Strict"])
def test_quantities_may_be_numbers_and_become_canonical(validation: str) -> None:
    container = {"name": "c", "resources": {"limits": {"cpu": 1.5, "memory": "1024Mi", "pods": 1000}}}
    decoded = read({"spec": {"containers": [container]}}, pod.RESOURCE, field_validation=validation).object
    assert decoded.spec.containers[0].resources.limits == {"cpu": "1500m", "memory": "1Gi", "pods": "1k"}


@pytest.mark.parametrize("validation", ["Ignore", "Strict"])
def test_times_come_out_in_utc(validation: str) -> None:
    body = {"metadata": {"creationTimestamp": "2024-01-01T02:00:00+02:00"}}
    assert read(body, field_validation=validation).object.metadata.creation_timestamp == "2024-01-01T00:00:00Z"


def test_unknown_fields_are_refused_reported_or_dropped() -> None:
    body = {"spec": {"foo": 1, "template": {"spec": {"containers": [{"name": "a", "bar": 2}]}}}}
    assert refusal(body, field_validation="Strict") == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error:'
        ' unknown field "spec.foo", unknown field "spec.template.spec.containers[0].bar"'
    )
    assert read(body, field_validation="Warn").warnings == (
        'unknown field "spec.foo"',
        'unknown field "spec.template.spec.containers[0].bar"',
    )
    assert read(body).warnings == ()


def test_of_an_unknown_field_given_twice_it_is_said_once_that_it_is_unknown() -> None:
    body = b'{"spec": {"foo": 1, "replicas": 1, "foo": 2, "replicas": 2}}'
    assert read(body, field_validation="Warn").warnings == (
        'unknown field "spec.foo"',
        'duplicate field "spec.replicas"',
    )


def test_fields_given_twice_are_found() -> None:
    body = b'{"spec": {"replicas": 1, "replicas": 2}}'
    assert read(body, field_validation="Warn").warnings == ('duplicate field "spec.replicas"',)
    assert read(body).object.spec.replicas == 2
    yaml = b"spec:\n  replicas: 1\n  replicas: 2\n"
    assert 'line 3: key "replicas" already set in map' in refusal(
        yaml, content_type="application/yaml", field_validation="Strict"
    )


CONTAINERS = "spec.template.spec.containers"


def in_container(fields: Any) -> Any:
    return {"spec": {"template": {"spec": {"containers": fields}}}}


@pytest.mark.parametrize(
    ("body", "found", "where", "wanted"),
    [
        ({"spec": {"replicas": "3"}}, "string", "DeploymentSpec.spec.replicas", "int32"),
        ({"spec": {"replicas": 3.5}}, "number 3.5", "DeploymentSpec.spec.replicas", "int32"),
        ({"spec": {"replicas": 2**31}}, "number 2147483648", "DeploymentSpec.spec.replicas", "int32"),
        ({"spec": {"paused": "yes"}}, "string", "DeploymentSpec.spec.paused", "bool"),
        ({"metadata": {"labels": {"a": 1}}}, "number", "ObjectMeta.metadata.labels", "string"),
        (in_container([{"env": [{"value": 1}]}]), "number", f"EnvVar.{CONTAINERS}.env.value", "string"),
        (in_container({}), "object", f"PodSpec.{CONTAINERS}", "[]v1.Container"),
        (in_container([3]), "number", f"PodSpec.{CONTAINERS}", "v1.Container"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(body: Any, found: str, where: str, wanted: str) -> None:
    assert refusal(body) == (
        'Deployment in version "v1" cannot be handled as a Deployment:'
        f" json: cannot unmarshal {found} into Go struct field {where} of type {wanted}"
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"3", b"{", b'{"a":NaN}', b"\xff", b'{"a":' * 5000, b'{"apiVersion":"v1"}', b'{"kind":"Pod"}'],
)
@pytest.mark.parametrize("validation", ["Ignore", "Strict"])
def test_what_is_no_deployment_at_all_is_refused(body: bytes, validation: str) -> None:
    refusal(body, field_validation=validation)


def test_a_bad_quantity_or_time_is_refused_by_path() -> None:
    body = {"spec": {"containers": [{"resources": {"limits": {"cpu": "much"}}}]}}
    assert "spec.containers[0].resources.limits.cpu" in refusal(body, pod.RESOURCE)
    assert "metadata.creationTimestamp" in refusal({"metadata": {"creationTimestamp": "today"}}, pod.RESOURCE)


def test_an_empty_text_is_no_quantity() -> None:
    assert 'capacity: "" is not a quantity' in refusal({"capacity": ""}, csistoragecapacity.RESOURCE)


def test_yaml_keeps_dates_as_text_and_keys_as_strings() -> None:
    yaml = b"metadata:\n  name: 2024-01-01\n  labels: {1: 'a'}\nspec: {hostNetwork: yes}\n"
    decoded = read(yaml, pod.RESOURCE, content_type="application/yaml").object
    assert decoded.metadata.name == "2024-01-01"
    assert decoded.metadata.labels == {"1": "a"}
    assert decoded.spec.host_network is True


def test_yaml_that_unfolds_without_end_is_refused() -> None:
    lines = [b'a0: &a0 ["x","x","x","x","x","x","x","x","x","x"]']
    for i in range(1, 9):
        lines.append(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]".encode())
    assert "unfolds" in refusal(b"\n".join(lines), pod.RESOURCE, content_type="application/yaml")


def test_secret_bytes_travel_in_base64() -> None:
    decoded = read({"data": {"a": "aGk="}}, secret.RESOURCE, field_validation="Strict").object
    assert decoded.data == {"a": b"hi"}
    refusal({"data": {"a": "!"}}, secret.RESOURCE)


@pytest.mark.parametrize("asked", ["Ignore", "Strict"])
def test_lines_of_base64_may_be_broken(asked: Any) -> None:
    decoded = read({"data": {"a": "aG\r\nk=\n"}}, secret.RESOURCE, field_validation=asked).object
    assert decoded.data == {"a": b"hi"}
    assert serde.normalise({"data": {"a": "aG\nk="}}, secret.RESOURCE) == ({"data": {"a": "aGk="}}, [])


@pytest.mark.parametrize("asked", ["Ignore", "Warn"])
def test_what_a_manager_owns_is_kept_the_same_however_it_is_written(asked: Any) -> None:
    entry = rb'{"manager": "m", "fieldsV1": {"f:a" : {"k:{\"x\":\"\u0041\"}":  {}}}}'
    body = b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","managedFields":[' + entry + b"]}}"
    (found,) = serde.decode(body, secret.RESOURCE, field_validation=asked).object.metadata.managed_fields
    assert bytes(found.fields_v1) == rb'{"f:a":{"k:{\"x\":\"A\"}":{}}}'


def test_numbers_and_names_that_clients_read_are_told_when_they_are_empty_too() -> None:
    assert serde.to_value(statefulset.StatefulSet())["status"]["availableReplicas"] == 0
    told = serde.to_value(event.Event())
    assert (told["reportingComponent"], told["reportingInstance"]) == ("", "")


@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_every_kind_reads_back_what_it_writes(resource: Any) -> None:
    empty = resource.type()
    assert serde.decode(serde.encode(empty), resource, field_validation="Strict").object == empty
    resource.default(empty)
    once = serde.encode(empty)
    resource.default(empty)
    assert serde.encode(empty) == once, "defaulting twice changes nothing"
    assert serde.decode(once, resource).object == empty

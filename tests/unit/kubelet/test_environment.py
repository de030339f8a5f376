from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.configmap import ConfigMap
from api.core.secret import Secret
from api.core.service import Service
from kubelet.downward import PodFacts
from kubelet.environment import ConfigError, compute_environment, expand, names_of_objects, service_variables
from tests.unit.kubelet.builders import pod

FACTS = PodFacts(host_ips=("192.0.2.1",), pod_ips=("10.0.0.5",), allocatable={"cpu": "4", "memory": "8Gi"})


class Objects:
    def __init__(self, config_maps: dict[str, dict[str, str]] | None = None, secrets: dict[str, bytes] | None = None):
        self._config_maps = config_maps or {}
        self._secrets = secrets

    def config_map(self, name: str) -> ConfigMap | None:
        return ConfigMap(data=self._config_maps[name]) if name in self._config_maps else None

    def secret(self, name: str) -> Secret | None:
        return Secret(data=self._secrets) if self._secrets is not None else None


def service(of: str, ip: str = "10.96.0.7", namespace: str = "default", **port: object) -> Service:
    body = {"clusterIP": ip, "ports": [{"port": 80, "protocol": "TCP"} | port]}
    return msgspec.convert({"metadata": {"name": of, "namespace": namespace}, "spec": body}, Service)


def environment(*env: dict[str, object], objects: Objects | None = None, **container: object) -> dict[str, str]:
    p = pod(metadata={"labels": {"app": "x"}})
    made = msgspec.convert({"name": "main", "env": list(env), **container}, type(p.spec.containers[0]))
    return compute_environment(p, made, [], objects or Objects(), FACTS)


def test_references_are_expanded_and_unknown_ones_are_left():
    assert expand("$(A)-$(B)-$$(A)-$(", {"A": "1"}) == "1-$(B)-$(A)-$("


@given(st.text(alphabet="ab$()", max_size=30))
def test_expanding_without_variables_only_unescapes_dollars(text: str):
    assert expand(text.replace("$", "$$"), {}) == text


def test_a_variable_sees_those_above_it():
    found = environment({"name": "A", "value": "1$(B)"}, {"name": "B", "value": "$(A)"})
    assert found == {"A": "1$(B)", "B": "1$(B)"}


def test_fields_of_the_pod_and_its_resources_are_shown():
    found = environment(
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        resources={"limits": {"cpu": "1500m"}},
    )
    assert found == {"IP": "10.0.0.5", "APP": "x", "CPU": "1500", "MEMORY": "8192"}


def test_a_missing_config_map_is_an_error_unless_optional():
    ref = {"name": "settings", "key": "a"}
    with pytest.raises(ConfigError, match='configmap "settings" not found'):
        environment({"name": "A", "valueFrom": {"configMapKeyRef": ref}})
    assert environment({"name": "A", "valueFrom": {"configMapKeyRef": ref | {"optional": True}}}) == {}


def test_a_missing_key_is_named():
    ref = {"name": "settings", "key": "a"}
    with pytest.raises(ConfigError, match="couldn't find key a in ConfigMap default/settings"):
        environment({"name": "A", "valueFrom": {"configMapKeyRef": ref}}, objects=Objects({"settings": {}}))


def test_whole_objects_come_before_single_variables():
    objects = Objects({"settings": {"a": "1", "b": "2"}}, {"pw": b"s3"})
    sources = [{"prefix": "P_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "any"}}]
    found = environment({"name": "P_a", "value": "mine"}, objects=objects, envFrom=sources)
    assert found == {"P_a": "mine", "P_b": "2", "pw": "s3"}


def test_services_of_the_namespace_become_variables():
    found = service_variables(pod(), [service("my-db", name="sql"), service("other", namespace="elsewhere")])
    assert found == {
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "80",
        "MY_DB_SERVICE_PORT_SQL": "80",
        "MY_DB_PORT": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_ADDR": "10.96.0.7",
    }


def test_without_service_links_only_the_api_server_is_shown():
    services = [service("db"), service("kubernetes", "10.96.0.1", name="https"), service("headless", "None")]
    found = service_variables(pod(enableServiceLinks=False), services)
    assert {key.split("_")[0] for key in found} == {"KUBERNETES"}


def test_names_of_what_an_environment_refers_to():
    p = pod()
    made = msgspec.convert(
        {
            "name": "main",
            "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}],
            "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "c", "key": "k"}}}],
        },
        type(p.spec.containers[0]),
    )
    assert names_of_objects(made) == ({"a"}, {"b", "c"})

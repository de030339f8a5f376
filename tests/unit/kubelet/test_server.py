from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from api.core.secret import Secret
from kubelet.__main__ import Settings, check
from kubelet.registry_auth import credentials, matching


def test_registry_credentials_are_read_from_a_pull_secret():
    auth = base64.b64encode(b"me:pass").decode()
    config = {"auths": {"https://reg.example/v1/": {"auth": auth}, "https://index.docker.io/v1/": {"username": "u"}}}
    secret = Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": msgspec.json.encode(config)})
    found = credentials(secret)
    (ours,) = matching(found, "reg.example/web:1")
    assert (ours.username, ours.password) == ("me", "pass")
    assert [a.username for a in matching(found, "docker.io/library/web:1")] == ["u"]
    assert credentials(Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": b"{"})) == []


def settings(**fields: object) -> Settings:
    values: dict[str, object] = {"apiserver": ("x:1",), "cert": "c", "key": "k", "serving_cert": "c"}
    values |= {"serving_key": "k", "ca": Path("/nowhere"), "client_ca": Path("/nowhere")}
    return Settings(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "--node-name is required"),
        ({"node_name": "n"}, "--node-ip is required"),
        ({"node_name": "n", "node_ip": ("1.2.3.4",), "runtime_endpoint": "x"}, "unix:///"),
        ({"runtime": "hollow"}, "--hollow-nodes"),
        ({"hollow_nodes": ("a",), "node_name": "n", "node_ip": ("1.2.3.4",)}, "--runtime hollow"),
    ],
)
def test_settings_that_cannot_work_are_explained(given: dict[str, object], problem: str, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert problem in (check(settings(**given)) or "")


def test_a_missing_file_is_named():
    assert check(settings(runtime="hollow", node_name="n")) == "/nowhere: no such file; it should hold PEM"

"""JSONPath, as printer columns use it."""

import pytest

from apiserver.crd.jsonpath import BadPath, compile_, simple_path

VALUE = {
    "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 443, "name": "b"}], "a.b": 1},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.ports[0].port", [80]),
        (".spec.ports[*].port", [80, 443]),
        (".spec.ports[-1].name", ["b"]),
        (".spec.ports[0:1].name", ["a"]),
        (r".spec.a\.b", [1]),
        (".spec['a.b']", [1]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Old')].status", ["False"]),
        (".spec.ports[?(@.port>100)].name", ["b"]),
        ("..port", [80, 443]),
        ("{.spec.ports[0].name}", ["a"]),
        (".spec.absent.field", []),
    ],
)
def test_a_path_finds_these_values(path: str, found: list[object]) -> None:
    assert compile_(path)(VALUE) == found


@pytest.mark.parametrize("path", [".spec[", ".spec[x]", ".spec..", ".a b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BadPath):
        compile_(path)


def test_only_paths_of_fields_are_simple() -> None:
    assert simple_path(".spec.replicas") == ("spec", "replicas")
    assert simple_path(".spec.ports[0]") is None
    assert simple_path("spec") is None

from __future__ import annotations

import pytest

from apiserver.filters.request_info import is_nothing_watched, old_watch_options, request_info


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", {}, ("list", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/d/pods", {"watch": "1"}, ("watch", "", "v1", "pods", "", "d", "")),
        ("GET", "/api/v1/namespaces/d/pods/p", {}, ("get", "", "v1", "pods", "", "d", "p")),
        ("HEAD", "/api/v1/namespaces/d/pods/p", {}, ("get", "", "v1", "pods", "", "d", "p")),
        ("GET", "/api/v1/namespaces/d/pods/p/log", {}, ("get", "", "v1", "pods", "log", "d", "p")),
        ("POST", "/apis/apps/v1/namespaces/d/deployments", {}, ("create", "apps", "v1", "deployments", "", "d", "")),
        ("DELETE", "/apis/apps/v1/namespaces/d/deployments", {},
         ("deletecollection", "apps", "v1", "deployments", "", "d", "")),
        ("PUT", "/api/v1/namespaces/d/status", {}, ("update", "", "v1", "namespaces", "status", "d", "d")),
        ("PUT", "/api/v1/namespaces/d/finalize", {}, ("update", "", "v1", "namespaces", "finalize", "d", "d")),
        ("GET", "/api/v1/namespaces/d", {}, ("get", "", "v1", "namespaces", "", "d", "d")),
        ("GET", "/api/v1/namespaces", {}, ("list", "", "v1", "namespaces", "", "", "")),
        ("GET", "/api/v1/nodes/n", {}, ("get", "", "v1", "nodes", "", "", "n")),
        ("GET", "/api/v1/secrets", {"fieldSelector": "metadata.name=s"}, ("list", "", "v1", "secrets", "", "", "s")),
        ("PATCH", "/apis/apps/v1/namespaces/d/deployments/w/scale", {},
         ("patch", "apps", "v1", "deployments", "scale", "d", "w")),
        ("GET", "/api/v1/watch/pods", {}, ("watch", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/watch/namespaces/d/pods/p", {}, ("watch", "", "v1", "pods", "", "d", "p")),
        ("GET", "/apis/apps/v1/watch/namespaces/d/deployments", {},
         ("watch", "apps", "v1", "deployments", "", "d", "")),
        ("GET", "/api/v1/watch/namespaces/d", {}, ("watch", "", "v1", "namespaces", "", "d", "d")),
        ("GET", "/api/v1/watch", {}, ("list", "", "v1", "watch", "", "", "")),
        ("GET", "/api/v1/namespaces//pods", {}, ("list", "", "v1", "pods", "", "", "")),
        ("GET", "/api/v1/nodes//", {}, ("list", "", "v1", "nodes", "", "", "")),
        ("GET", "/api/v1/nodes/n/proxy//x", {}, ("get", "", "v1", "nodes", "proxy", "", "n")),
        ("GET", "/api/v1//namespaces/d/pods", {}, ("get", "", "", "", "", "", "")),
        ("GET", "//api/v1/namespaces/d/pods", {}, ("get", "", "", "", "", "", "")),
        ("DELETE", "/api/v1/namespaces/proxy/pods//x", {}, ("delete", "", "", "", "", "", "")),
        ("GET", "/api/v1/watch//pods", {}, ("get", "", "", "", "", "", "")),
        ("DELETE", "/api/v1/watch/pods", {}, ("watch", "", "v1", "pods", "", "", "")),
    ],
)  # fmt: skip
def test_a_path_says_what_is_asked(method, path, query, expected):
    info = request_info(method, path, query)
    shown = (info.verb, info.group, info.version, info.plural, info.subresource, info.namespace, info.name)
    assert shown == expected


@pytest.mark.parametrize("path", ["/version", "/api", "/api/", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1/", "/"])
def test_a_path_outside_the_resources_asks_for_itself(path):
    info = request_info("GET", path, {})
    assert (info.plural, info.path, info.verb) == ("", path, "get")


def test_the_old_way_to_watch_one_object_is_a_watch_with_a_selector():
    info = request_info("GET", "/api/v1/watch/namespaces/d/pods/p", {})
    asked = old_watch_options(info, {"fieldSelector": "spec.nodeName=n", "limit": "1"})
    assert asked == {"watch": "true", "fieldSelector": "spec.nodeName=n,metadata.name=p", "limit": "1"}
    everything = request_info("GET", "/api/v1/watch/pods", {})
    assert old_watch_options(everything, {}) == {"watch": "true"}


def test_a_path_that_says_how_to_ask_and_not_what_for_is_known() -> None:
    assert is_nothing_watched("/api/v1/watch") and is_nothing_watched("/apis/apps/v1/proxy/")
    assert not is_nothing_watched("/api/v1/watch/pods") and not is_nothing_watched("/api/v1/pods")

from __future__ import annotations

import pytest

from api.core.containers import Container
from api.core.node import DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeStatus
from api.core.pod import Pod, PodSpec
from api.errors import BadRequest, NotFound, Unauthorized
from api.meta import ObjectMeta
from apiserver.admission.connections import options_of
from apiserver.request import RequestInfo
from apiserver.subresources.node_proxy import KubeletAddress, address_of
from apiserver.subresources.streaming import Streams, choose_subprotocols, token_of

WEB = Pod(
    metadata=ObjectMeta(name="web", namespace="a"), spec=PodSpec(containers=[Container(name="c")], node_name="n1")
)
ADDRESS = KubeletAddress("n1", "10.0.0.1", 10250)


class Kubelets:
    async def locate(self, found: Pod) -> KubeletAddress:
        return ADDRESS


async def target(subresource: str, query: str, found: Pod = WEB) -> str:
    async def read(resource, key):
        return found

    info = RequestInfo("create", "", "", "v1", "pods", subresource, "a", "web")
    destination = await Streams(Kubelets(), read).locate(info, options_of("pods", subresource, f"/x?{query}"))
    assert destination.address == ADDRESS
    return destination.target


async def test_the_query_is_said_again_in_the_kubelets_words() -> None:
    asked = "container=c&stdin=true&stdout=true&stderr=true&command=sh&command=-c&command=echo+%22a%26b%22"
    assert await target("exec", asked) == (
        "/exec/a/web/c?input=1&output=1&error=1&command=sh&command=-c&command=echo+%22a%26b%22"
    )
    assert await target("attach", "stdout=1&stderr=0") == "/attach/a/web/c?output=1"
    assert await target("portforward", "") == "/portForward/a/web"
    assert await target("portforward", "ports=80&ports=81,82") == "/portForward/a/web?port=80&port=81&port=82"


async def test_a_terminal_has_no_stderr_of_its_own() -> None:
    asked = "stdin=true&stdout=true&stderr=true&tty=true&command=sh"
    assert await target("exec", asked) == "/exec/a/web/c?input=1&output=1&tty=1&command=sh"


async def test_streams_without_a_purpose_are_refused() -> None:
    for subresource, query in (("exec", "command=ls"), ("exec", "stdout=true"), ("attach", "tty=true")):
        with pytest.raises(BadRequest):
            await target(subresource, query)


def test_subprotocols_that_no_kubelet_knows_are_left_out_and_none_left_is_refused() -> None:
    bearer = "base64url.bearer.authorization.k8s.io.dG9rZW4"
    offered = ["v9.channel.k8s.io", "v5.channel.k8s.io", "v4.channel.k8s.io", bearer]
    assert choose_subprotocols(offered, "exec") == ["v5.channel.k8s.io", "v4.channel.k8s.io"]
    assert choose_subprotocols(["SPDY/3.1+portforward.k8s.io"], "portforward") == ["SPDY/3.1+portforward.k8s.io"]
    assert choose_subprotocols([bearer], "exec") == []
    for unknown, subresource in ((["v9.channel.k8s.io"], "exec"), (["v5.channel.k8s.io"], "portforward")):
        with pytest.raises(BadRequest, match="unable to upgrade"):
            choose_subprotocols(unknown, subresource)


def test_a_browser_offers_its_token_among_the_subprotocols() -> None:
    assert token_of(["v4.channel.k8s.io", "base64url.bearer.authorization.k8s.io.dG9rZW4"]) == "token"
    assert token_of(["v4.channel.k8s.io"]) == ""
    with pytest.raises(Unauthorized):
        token_of(["base64url.bearer.authorization.k8s.io.a"])


def test_a_kubelet_is_reached_at_its_internal_address_and_reported_port() -> None:
    def made(*addresses: tuple[str, str], port: int = 0) -> Node:
        status = NodeStatus(
            addresses=[NodeAddress(type=kind, address=address) for kind, address in addresses],
            daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=port)),
        )
        return Node(metadata=ObjectMeta(name="n1"), status=status)

    assert address_of(made(("Hostname", "n1"), ("InternalIP", "10.0.0.1"))) == ADDRESS
    assert address_of(made(("Hostname", "h"), port=7)) == KubeletAddress("n1", "h", 7)
    with pytest.raises(NotFound, match="no preferred addresses found for node n1"):
        address_of(made())


@pytest.mark.parametrize(
    ("plural", "target", "path"),
    [
        ("pods", "/api/v1/namespaces/proxy/pods/proxy/proxy", "/"),
        ("pods", "/api/v1/namespaces/a/pods/web/proxy/", "/"),
        ("services", "/api/v1/namespaces/a/services/web/proxy/a%20b/proxy/c?x=1", "/a b/proxy/c"),
        ("nodes", "/api/v1/nodes/n1/proxy/metrics", "/metrics"),
    ],
)
def test_what_is_asked_of_a_proxied_server_is_the_path_behind_the_subresource(plural, target, path) -> None:
    assert options_of(plural, "proxy", target).path == path

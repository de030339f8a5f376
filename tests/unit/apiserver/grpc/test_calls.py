from __future__ import annotations

from apiserver.grpc.calls import call_of, remote_of
from apiserver.request import Credentials
from proto.steersman.v1 import resources_pb2 as pb


def test_a_list_of_one_name_is_authorized_by_that_name() -> None:
    request = pb.ListRequest(resource=pb.Resource(version="v1", plural="secrets"), namespace="a")
    call = call_of("list", request, Credentials(), fieldSelector="metadata.name=token")
    assert (call.info.plural, call.info.namespace, call.info.name) == ("secrets", "a", "token")
    assert call_of("list", request, Credentials(), fieldSelector="type=Opaque").info.name == ""


class Peer:
    def __init__(self, text: str) -> None:
        self._text = text

    def peer(self) -> str:
        return self._text


def test_a_peers_address_is_told_without_its_port() -> None:
    assert remote_of(Peer("ipv4:10.0.0.1:4711")) == "10.0.0.1"  # type: ignore[arg-type]
    assert remote_of(Peer("ipv6:%5B::1%5D:4711")) == "::1"  # type: ignore[arg-type]
    assert remote_of(Peer("ipv6:[::1]:4711")) == "::1"  # type: ignore[arg-type]

from __future__ import annotations

import pytest

from api.certificates.certificatesigningrequest import CertificateSigningRequest
from api.core.node import Node, NodeAddress, NodeStatus
from api.meta import ObjectMeta
from api.timestamps import render
from client.certificates import CLIENT_SIGNER, SERVING_SIGNER, Wanted, make_key, request
from controllers.actions import Patch
from controllers.certificates.serving import LOOK_AGAIN_S, LOOK_S_MAX, Observed, is_own, reconcile

NOW = 1_700_000_000.0


def node(name: str, *addresses: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name),
        status=NodeStatus(addresses=[NodeAddress(type="InternalIP", address=each) for each in addresses]),
    )


def asked(
    by: str = "n1", name: str = "n1", hosts: tuple[str, ...] = ("n1", "10.0.0.1"), signer: str = SERVING_SIGNER
) -> CertificateSigningRequest:
    made = request(Wanted(signer, name, hosts), make_key())
    made.metadata.name, made.metadata.creation_timestamp = "csr-1", render(NOW)
    made.spec.username, made.spec.groups = f"system:node:{by}", ["system:nodes", "system:authenticated"]
    return made


N1, N2 = node("n1", "10.0.0.1"), node("n2", "10.0.0.2")


def test_a_node_gets_the_certificate_of_its_own_server() -> None:
    plan = reconcile(Observed(asked(), (N1, N2)), NOW)
    (patch,) = plan.actions
    assert isinstance(patch, Patch) and patch.subresource == "approval"
    assert patch.patch["status"]["conditions"][0]["type"] == "Approved"  # type: ignore[call-overload,index]


@pytest.mark.parametrize(
    "wrong",
    [
        asked(by="n2"),
        asked(hosts=("n1", "10.0.0.2")),
        asked(hosts=("n1", "10.0.0.1", "kubernetes.default.svc")),
        asked(hosts=("n2",)),
        asked(hosts=()),
        asked(signer=CLIENT_SIGNER),
        asked(by="n3", name="n3", hosts=("n3",)),
    ],
    ids=["as another", "another's address", "the API server's name", "another's name", "none", "as client", "unknown"],
)
def test_nothing_else_is_approved(wrong: CertificateSigningRequest) -> None:
    assert not is_own(wrong, (N1, N2))
    assert reconcile(Observed(wrong, (N1, N2)), NOW).actions == ()


def test_a_node_that_claims_anothers_address_gets_nothing_for_it() -> None:
    thief = node("n1", "10.0.0.1", "10.0.0.2")
    assert not is_own(asked(hosts=("n1", "10.0.0.2")), (thief, N2))


def test_who_is_no_node_is_not_believed_to_be_one() -> None:
    made = asked()
    made.spec.groups = ["system:authenticated"]
    assert not is_own(made, (N1,))


def test_a_request_waits_for_its_node_but_not_for_ever() -> None:
    assert reconcile(Observed(asked(), ()), NOW).requeue_after_s == LOOK_AGAIN_S
    assert reconcile(Observed(asked(), ()), NOW + LOOK_S_MAX).requeue_after_s is None

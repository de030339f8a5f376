from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from api.errors import BadRequest, Invalid, NotFound
from api.resource import ObjectKey
from apiserver.auth.authorizers import Authorizers, Step
from apiserver.auth.node import NodeAuthorizer
from apiserver.auth.policy import rule
from apiserver.auth.tokens import Bound, Claims, TokenAuthenticator, TokenIssuer
from apiserver.request import Call, Decision, RequestInfo, RuleSource, User
from apiserver.subresources.reviews import (
    AccessReviewHandler,
    RulesReviewHandler,
    SelfReviewHandler,
    SubjectAccessReviewHandler,
    TokenReviewHandler,
)
from component.clock import RealClock
from tests.builders import service_account, store
from tests.unit.apiserver.auth.test_rbac import JANE, TO_JANE, authorizer, bind, cluster_role

AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io/v1", "authentication.k8s.io/v1"


def judge() -> Any:
    return authorizer([cluster_role("r", rule("core", "pods", "get"))], [bind("r", TO_JANE)])


async def ask(
    handler: Any, kind: str, spec: dict[str, Any], *, group: str = AUTHORIZATION, namespace: str = "", user: User = JANE
) -> Any:
    body = {"kind": kind, "apiVersion": group, "spec": spec}
    call = Call(RequestInfo("create", namespace=namespace), user=user, body=json.dumps(body).encode())
    answer = await handler(call)
    assert answer.code == 201
    return json.loads(answer.json)["status"]


async def ask_self(**spec: Any) -> Any:
    return await ask(AccessReviewHandler(judge()), "SelfSubjectAccessReview", spec)


async def test_a_review_says_what_the_authorizer_says_and_why() -> None:
    allowed = await ask_self(resourceAttributes={"verb": "get", "resource": "pods", "namespace": "a"})
    assert allowed["allowed"] is True and "RBAC: allowed by ClusterRoleBinding" in allowed["reason"]
    assert await ask_self(resourceAttributes={"verb": "*", "resource": "*", "group": "*"}) == {"allowed": False}
    assert await ask_self(nonResourceAttributes={"verb": "get", "path": "/metrics"}) == {"allowed": False}


async def test_a_review_asks_about_one_thing() -> None:
    with pytest.raises(Invalid, match="exactly one of nonResourceAttributes or resourceAttributes"):
        await ask_self()
    with pytest.raises(Invalid, match="cannot be specified in combination"):
        await ask_self(resourceAttributes={}, nonResourceAttributes={})


async def test_one_may_ask_about_somebody_else() -> None:
    handler = SubjectAccessReviewHandler(judge(), is_local=False)
    attributes = {"verb": "get", "resource": "pods", "namespace": "a"}
    for subject, allowed in (
        ({"user": JANE.name}, True),
        ({"user": "joe"}, False),
        ({"groups": ["system:masters"]}, True),
    ):
        answer = await ask(handler, "SubjectAccessReview", {"resourceAttributes": attributes, **subject})
        assert answer["allowed"] is allowed
    with pytest.raises(Invalid, match="at least one of user or group"):
        await ask(handler, "SubjectAccessReview", {"resourceAttributes": attributes})


async def test_a_local_review_is_about_its_own_namespace() -> None:
    handler = SubjectAccessReviewHandler(judge(), is_local=True)
    spec = {"user": JANE.name, "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "a"}}
    assert (await ask(handler, "LocalSubjectAccessReview", spec, namespace="a"))["allowed"] is True
    with pytest.raises((Invalid, BadRequest)):
        await ask(handler, "LocalSubjectAccessReview", spec, namespace="b")


def nodes_and_rbac() -> Authorizers:
    return Authorizers([Step("Node", "node", NodeAuthorizer(store(), store(), store())), Step("RBAC", "rbac", judge())])


async def test_rules_are_listed_as_they_are_held() -> None:
    asked = nodes_and_rbac()
    assert isinstance(asked, RuleSource)
    status = await ask(RulesReviewHandler(asked), "SelfSubjectRulesReview", {"namespace": "a"})
    assert status["resourceRules"] == [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]
    assert status["incomplete"] is False
    with pytest.raises(Invalid, match="no namespace on request"):
        await ask(RulesReviewHandler(asked), "SelfSubjectRulesReview", {})


async def test_a_node_is_told_that_rules_are_not_all_that_it_may_do() -> None:
    handler = RulesReviewHandler(nodes_and_rbac())
    node = User("system:node:n1", groups=("system:nodes",))
    status = await ask(handler, "SelfSubjectRulesReview", {"namespace": "a"}, user=node)
    assert status["incomplete"] is True
    assert status["evaluationError"] == "node authorizer does not support user rule resolution"


async def test_one_learns_who_one_is() -> None:
    body = {"kind": "SelfSubjectReview", "apiVersion": AUTHENTICATION}
    user = User("jane", "u1", ("dev", "system:authenticated"), {"scopes": ("a", "b")})
    answer = await SelfReviewHandler(RealClock())(
        Call(RequestInfo("create"), user=user, body=json.dumps(body).encode())
    )
    assert json.loads(answer.json)["status"]["userInfo"] == {
        "username": "jane",
        "uid": "u1",
        "groups": ["dev", "system:authenticated"],
        "extra": {"scopes": ["a", "b"]},
    }


async def test_a_token_review_tells_whose_a_token_is_and_for_whom() -> None:
    issuer = TokenIssuer(ec.generate_private_key(ec.SECP256R1()), "https://us")
    account = service_account()
    account.metadata.name, account.metadata.namespace, account.metadata.uid = "bob", "a", "u1"

    async def read(resource: Any, key: ObjectKey) -> Any:
        if key != ObjectKey("a", "bob"):
            raise NotFound("no such account")
        return account

    now = int(RealClock().now())
    claims = Claims("a", Bound("bob", "u1"), ("https://us", "vault"), now, now + 600, token_id="id")
    handler = TokenReviewHandler(TokenAuthenticator(issuer, read, RealClock()))

    async def review(token: str, *audiences: str) -> Any:
        spec = {"token": token, "audiences": list(audiences)}
        return await ask(handler, "TokenReview", spec, group=AUTHENTICATION)

    token = issuer.sign(claims, now)
    status = await review(token)
    assert status["authenticated"] is True and status["audiences"] == ["https://us"]
    assert status["user"]["username"] == "system:serviceaccount:a:bob" and status["user"]["uid"] == "u1"
    assert (await review(token, "other", "vault"))["audiences"] == ["vault"]
    for wrong in (await review(token, "other"), await review(token[:-4] + "AAAA"), await review("nonsense")):
        assert "authenticated" not in wrong and wrong["error"]
    gone = issuer.sign(replace(claims, account=Bound("eve", "u2")), now)
    assert "authenticated" not in await review(gone)
    with pytest.raises(Invalid, match=r"spec\.token"):
        await review("")


@pytest.mark.parametrize(
    ("selector", "allowed"),
    [
        ({"rawSelector": "spec.nodeName=n1"}, True),
        ({"rawSelector": "spec.nodeName=n2"}, False),
        ({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}, True),
        ({"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["n1"]}]}, False),
        ({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1", "n2"]}]}, False),
        (None, False),
    ],
)
async def test_a_review_may_be_about_a_selection(selector: dict[str, Any] | None, allowed: bool) -> None:
    attributes = {
        "verb": "list",
        "resource": "pods",
        "version": "v1",
        **({"fieldSelector": selector} if selector else {}),
    }
    spec = {"user": "system:node:n1", "groups": ["system:nodes"], "resourceAttributes": attributes}
    handler = SubjectAccessReviewHandler(nodes_and_rbac(), is_local=False)
    assert (await ask(handler, "SubjectAccessReview", spec))["allowed"] is allowed


async def test_a_review_carries_both_selectors_to_the_authorizer_and_its_whole_answer_back() -> None:
    asked: list[RequestInfo] = []

    class Denies:
        def authorize(self, user: User, request: RequestInfo) -> Decision:
            asked.append(request)
            return Decision(False, "never", denied=True, error="half of it")

    requirements = [
        {"key": "app", "operator": "In", "values": ["x", "a"]},
        {"key": "b", "operator": "Exists"},
        {"key": "c", "operator": "DoesNotExist"},
        {"key": "d", "operator": "Near", "values": ["e"]},
    ]
    attributes = {
        "verb": "list",
        "resource": "pods",
        "labelSelector": {"requirements": requirements},
        "fieldSelector": {"rawSelector": "metadata.name=n"},
    }
    handler = SubjectAccessReviewHandler(Denies(), is_local=False)
    status = await ask(handler, "SubjectAccessReview", {"user": "jane", "resourceAttributes": attributes})
    assert status == {"allowed": False, "denied": True, "reason": "never", "evaluationError": "half of it"}
    assert (asked[0].label_selector, asked[0].field_selector) == ("app in (a,x),b,!c", "metadata.name=n")

from __future__ import annotations

import json

import pytest

from api.errors import Invalid
from apiserver.auth.policy import rule
from apiserver.request import Call, RequestInfo
from apiserver.subresources.access_review import AccessReviewHandler
from tests.unit.apiserver.auth.test_rbac import JANE, TO_JANE, authorizer, bind, cluster_role


async def ask(**spec) -> dict:
    tested = authorizer([cluster_role("r", rule("core", "pods", "get"))], [bind("r", TO_JANE)])
    body = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
    call = Call(RequestInfo("create"), user=JANE, body=json.dumps(body).encode())
    answer = await AccessReviewHandler(tested)(call)
    assert answer.code == 201
    return json.loads(answer.json)["status"]


async def test_a_review_says_what_the_authorizer_says_and_why() -> None:
    allowed = await ask(resourceAttributes={"verb": "get", "resource": "pods", "namespace": "a"})
    assert allowed["allowed"] is True and "RBAC: allowed by ClusterRoleBinding" in allowed["reason"]
    assert await ask(resourceAttributes={"verb": "*", "resource": "*", "group": "*"}) == {"allowed": False}
    assert await ask(nonResourceAttributes={"verb": "get", "path": "/metrics"}) == {"allowed": False}


async def test_a_review_asks_about_one_thing() -> None:
    for spec in ({}, {"resourceAttributes": {}, "nonResourceAttributes": {}}):
        with pytest.raises(Invalid, match="exactly one of nonResourceAttributes or resourceAttributes"):
            await ask(**spec)

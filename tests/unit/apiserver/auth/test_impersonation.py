from __future__ import annotations

import pytest

from api.errors import BadRequest, Forbidden
from apiserver.auth.impersonation import impersonate
from apiserver.auth.policy import rule
from apiserver.request import User
from tests.unit.apiserver.auth.test_rbac import JANE, TO_JANE, authorizer, bind, cluster_role

ROOT = User("root", groups=("system:masters",))


async def test_without_headers_everybody_is_themselves() -> None:
    assert await impersonate(JANE, {}, authorizer()) is JANE


async def test_a_superuser_may_act_as_anyone() -> None:
    headers = {"impersonate-user": ("bob",), "impersonate-group": ("dev",), "impersonate-extra-acme.com%2fx": ("1",)}
    user = await impersonate(ROOT, headers, authorizer())
    assert (user.name, user.groups, user.extra) == ("bob", ("dev", "system:authenticated"), {"acme.com/x": ("1",)})


async def test_a_service_account_brings_its_groups() -> None:
    user = await impersonate(ROOT, {"impersonate-user": ("system:serviceaccount:a:bot",)}, authorizer())
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")


async def test_each_name_needs_its_own_permission() -> None:
    tested = authorizer([cluster_role("r", rule("core", "users", "impersonate", ["bob"]))], [bind("r", TO_JANE)])
    assert (await impersonate(JANE, {"impersonate-user": ("bob",)}, tested)).name == "bob"
    with pytest.raises(Forbidden, match='users "eve" is forbidden: User "jane" cannot impersonate resource "users"'):
        await impersonate(JANE, {"impersonate-user": ("eve",)}, tested)
    with pytest.raises(Forbidden, match="groups"):
        await impersonate(JANE, {"impersonate-user": ("bob",), "impersonate-group": ("system:masters",)}, tested)


async def test_groups_without_a_user_make_no_sense() -> None:
    with pytest.raises(BadRequest, match="without impersonating a user"):
        await impersonate(ROOT, {"impersonate-group": ("x",)}, authorizer())


@pytest.mark.parametrize(
    ("name", "asked", "groups"),
    [
        ("bob", ("system:unauthenticated",), ("system:unauthenticated",)),
        ("bob", ("system:authenticated", "dev"), ("system:authenticated", "dev")),
        ("system:anonymous", (), ("system:unauthenticated",)),
        ("system:anonymous", ("dev",), ("dev", "system:unauthenticated")),
    ],
)
async def test_the_group_of_all_is_added_unless_one_of_the_two_is_asked_for(
    name: str, asked: tuple[str, ...], groups: tuple[str, ...]
) -> None:
    headers = {"impersonate-user": (name,), **({"impersonate-group": asked} if asked else {})}
    assert (await impersonate(ROOT, headers, authorizer())).groups == groups

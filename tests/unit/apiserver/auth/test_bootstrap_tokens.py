from __future__ import annotations

import pytest

from api.core import secret
from api.core.secret import Secret
from api.errors import NotFound, Unauthorized
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.auth.bootstrap_tokens import BootstrapTokenAuthenticator
from apiserver.request import Credentials
from component.clock import RealClock

TOKEN = "abcdef.0123456789abcdef"
NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


class Time(RealClock):
    def now(self) -> float:
        return NOW


def a_secret(type: str = "bootstrap.kubernetes.io/token", **changed: str | None) -> Secret:
    data = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers, system:bootstrappers:kubeadm:default-node-token",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    found = {name: value.encode() for name, value in data.items() if value is not None}
    return Secret(metadata=ObjectMeta(name="bootstrap-token-abcdef", namespace="kube-system"), type=type, data=found)


async def user_with(found: Secret | None, token: str = TOKEN):
    async def read(resource, key):
        assert (resource, key) == (secret.RESOURCE, ObjectKey("kube-system", "bootstrap-token-abcdef"))
        if found is None:
            raise NotFound("gone")
        return found

    return await BootstrapTokenAuthenticator(read, Time()).authenticate(Credentials(token=token))


async def test_a_token_that_a_secret_vouches_for_is_believed() -> None:
    user = await user_with(a_secret(expiration="2023-11-14T22:13:21Z"))
    assert user.name == "system:bootstrap:abcdef"
    assert user.groups == (
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
        "system:bootstrappers:workers",
        "system:authenticated",
    )


@pytest.mark.parametrize(
    "found",
    [
        None,
        a_secret("Opaque"),
        a_secret(token_secret="0123456789abcdee"),
        a_secret(token_secret=None),
        a_secret(token_id="abcdeg"),
        a_secret(expiration="2023-11-14T22:13:20Z"),
        a_secret(expiration="soon"),
        a_secret(usage_bootstrap_authentication="false"),
        a_secret(usage_bootstrap_authentication=None),
        a_secret(auth_extra_groups="system:masters"),
        a_secret(auth_extra_groups="system:bootstrappers:"),
    ],
)
async def test_any_other_is_not(found: Secret | None) -> None:
    with pytest.raises(Unauthorized):
        await user_with(found)


@pytest.mark.parametrize("token", ["", "abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef\n", "a.b.c"])
async def test_what_has_another_form_is_for_others_to_judge(token: str) -> None:
    assert await user_with(a_secret(), token) is None

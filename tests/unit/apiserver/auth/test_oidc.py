"""ID tokens of a provider that runs here, over TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.errors import Unauthorized
from apiserver.auth.oidc import BadSettings, OidcAuthenticator, OidcSettings, user_of
from apiserver.request import Credentials
from component.clock import RealClock
from tests.certificates import Authority

KEYS = {"RS256": rsa.generate_private_key(65537, 2048), "ES256": ec.generate_private_key(ec.SECP256R1())}
NOW = 1_700_000_000


class Time(RealClock):
    passed = 0.0

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return self.passed


class Provider:
    """An identity provider; counts how often its keys are fetched."""

    def __init__(self, url: str, ca: Path) -> None:
        self.url, self.fetched, self.published = url, 0, ["RS256", "ES256"]
        self.settings = OidcSettings(
            url, "me", groups_claim="groups", groups_prefix="oidc:", ca_file=ca, signing_algs=("RS256", "ES256")
        )

    def key_set(self) -> dict:
        self.fetched += 1
        makers = {"RS256": jwt.algorithms.RSAAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
        keys = []
        for name in self.published:
            described = makers[name].to_jwk(KEYS[name].public_key(), as_dict=True)
            keys.append({**{k: v for k, v in described.items() if k != "key_ops"}, "kid": name, "use": "sig"})
        return {"keys": [{"kty": "oct", "kid": "odd", "k": "AA"}, *keys]}

    def token(self, alg: str = "RS256", kid: str | None = None, **changed: object) -> str:
        claims = {"iss": self.url, "aud": "me", "sub": "ann", "exp": NOW + 60, "groups": ["builders"], **changed}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, KEYS[alg], algorithm=alg, headers={"kid": kid or alg})


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    identity = Authority(tmp_path).issue("provider")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert, identity.key)

    async def describe(_: web.Request) -> web.Response:
        return web.json_response({"issuer": made.url, "jwks_uri": f"{made.url}/keys"})

    async def keys(_: web.Request) -> web.Response:
        return web.json_response(made.key_set())

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", describe)
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made = Provider(f"https://localhost:{runner.addresses[0][1]}", identity.ca)
    yield made
    await runner.cleanup()


async def user(authenticator: OidcAuthenticator, token: str):
    return await authenticator.authenticate(Credentials(token=token))


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
async def test_a_token_that_the_provider_signed_is_believed(provider: Provider, alg: str) -> None:
    authenticator = OidcAuthenticator(provider.settings.issuer(), Time())
    for _ in range(3):
        found = await user(authenticator, provider.token(alg))
        assert found.name == f"{provider.url}#ann" and found.groups == ("oidc:builders", "system:authenticated")
    assert provider.fetched == 1


async def test_tokens_of_others_are_for_others_to_judge(provider: Provider) -> None:
    authenticator = OidcAuthenticator(provider.settings.issuer(), Time())
    for token in ("", "abc", "abcdef.0123456789abcdef", provider.token(iss="https://other")):
        assert await user(authenticator, token) is None
    assert provider.fetched == 0


async def test_what_is_forged_expired_or_for_others_is_refused(provider: Provider) -> None:
    authenticator = OidcAuthenticator(provider.settings.issuer(), Time())
    unsigned = jwt.encode({"iss": provider.url, "aud": "me", "sub": "ann", "exp": NOW + 60}, None, algorithm="none")
    forged = jwt.encode({"iss": provider.url, "aud": "me", "sub": "ann", "exp": NOW + 60}, "x" * 32, algorithm="HS256")
    crossed = provider.token("ES256", kid="RS256")
    bad = [unsigned, forged, crossed, provider.token()[:-4] + "AAAA"]
    bad += [provider.token(exp=NOW), provider.token(exp=None), provider.token(nbf=NOW + 60), provider.token(aud="you")]
    bad += [provider.token(sub=None), provider.token(groups=[1]), provider.token(kid="unknown")]
    for token in bad:
        with pytest.raises(Unauthorized):
            await user(authenticator, token)


async def test_new_keys_are_fetched_when_they_are_used_but_not_at_every_odd_token(provider: Provider) -> None:
    clock = Time()
    authenticator = OidcAuthenticator(provider.settings.issuer(), clock)
    provider.published = ["RS256"]
    await user(authenticator, provider.token())
    provider.published = ["RS256", "ES256"]
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await user(authenticator, provider.token("ES256"))
    assert provider.fetched == 1
    clock.passed = 11.0
    await user(authenticator, provider.token("ES256"))
    assert provider.fetched == 2


async def test_a_provider_that_calls_itself_otherwise_is_not_believed(provider: Provider) -> None:
    real, provider.url = provider.url, "https://other.example"
    authenticator = OidcAuthenticator(replace(provider.settings, issuer_url=real).issuer(), Time())
    with pytest.raises(Unauthorized):
        await user(authenticator, provider.token(iss=real))


def test_claims_become_users_as_the_settings_say() -> None:
    settings = OidcSettings("https://i", "me")
    claims = {"sub": "7", "email": "ann@example.org", "groups": "builders", "team": "red"}
    assert user_of(settings, claims).name == "https://i#7"
    by_mail = replace(settings, username_claim="email")
    assert user_of(by_mail, claims).name == "ann@example.org"
    assert user_of(replace(by_mail, username_prefix="x:"), claims).name == "x:ann@example.org"
    assert user_of(replace(settings, username_prefix="-"), claims).name == "7"
    assert user_of(replace(settings, groups_claim="groups"), claims).groups == ("builders", "system:authenticated")
    with pytest.raises(jwt.InvalidTokenError, match="not verified"):
        user_of(by_mail, {**claims, "email_verified": False})
    assert user_of(replace(settings, required_claims={"team": "red"}), claims)
    with pytest.raises(jwt.InvalidTokenError, match="'team' is not 'blue'"):
        user_of(replace(settings, required_claims={"team": "blue"}), claims)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (OidcSettings("http://i", "me"), "must begin with https://"),
        (OidcSettings("https://i", ""), "--oidc-client-id is needed"),
        (OidcSettings("https://i", "me", signing_algs=("HS256",)), "--oidc-signing-algs HS256"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: OidcSettings, said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        settings.issuer()

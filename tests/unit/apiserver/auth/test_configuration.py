"""AuthenticationConfiguration: claims to users by its expressions, and each thing that is wrong with a file."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from api.errors import Unauthorized
from apiserver.auth.configuration import BadConfiguration, parse
from apiserver.auth.configured import Configured
from apiserver.filters.authn import with_authentication
from apiserver.metrics import ApiMetrics
from apiserver.request import ANONYMOUS, Call, Credentials, RequestInfo, User
from component.clock import RealClock
from tests.certificates import Authority

ISSUER = {"url": "https://id.example.org", "audiences": ["cluster"]}
JWT: dict[str, Any] = {"issuer": ISSUER, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}


def file(*providers: dict[str, Any], **more: Any) -> bytes:
    head = {"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration"}
    return json.dumps({**head, "jwt": list(providers), **more}).encode()


def provider(**changed: Any) -> dict[str, Any]:
    return copy.deepcopy({**JWT, **changed})


def user(claims: dict[str, Any], **changed: Any) -> User:
    (issuer,) = parse(file(provider(**changed))).issuers
    return issuer.user_of(claims)


def test_claims_become_users_by_their_names_and_prefixes() -> None:
    mappings = {
        "username": {"claim": "sub", "prefix": "id:"},
        "groups": {"claim": "teams", "prefix": "team-"},
        "uid": {"claim": "number"},
        "extra": [{"key": "example.org/country", "valueExpression": "claims.country"}],
    }
    found = user({"sub": "ann", "teams": ["a", "b"], "number": "7", "country": "NZ"}, claimMappings=mappings)
    assert found == User(
        "id:ann", uid="7", groups=("team-a", "team-b", "system:authenticated"), extra={"example.org/country": ("NZ",)}
    )
    assert user({"sub": "ann", "teams": "a", "country": []}, claimMappings=mappings) == User(
        "id:ann", groups=("team-a", "system:authenticated")
    )


def test_claims_become_users_by_expressions() -> None:
    mappings = {
        "username": {"expression": "claims.email_verified ? claims.email.lowerAscii() : ''"},
        "groups": {"expression": "claims.roles.split(',').map(r, 'role:' + r)"},
        "uid": {"expression": "has(claims.number) ? string(claims.number) : ''"},
        "extra": [{"key": "example.org/roles", "valueExpression": "claims.roles.split(',')"}],
    }
    claims = {"email": "Ann@example.org", "email_verified": True, "roles": "x,y", "number": 7}
    found = user(claims, claimMappings=mappings)
    assert (found.name, found.uid, found.groups) == (
        "ann@example.org",
        "7",
        ("role:x", "role:y", "system:authenticated"),
    )
    assert found.extra == {"example.org/roles": ("x", "y")}
    with pytest.raises(jwt.InvalidTokenError, match="no username"):
        user({**claims, "email_verified": False}, claimMappings=mappings)
    with pytest.raises(jwt.InvalidTokenError, match="has no value: no such key: roles"):
        user({"email": "a@b", "email_verified": True}, claimMappings=mappings)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"sub": "ann", "hd": "example.org", "life": 10}, None),
        ({"sub": "ann", "hd": "else.org", "life": 10}, "the claim 'hd' is not 'example.org'"),
        ({"sub": "ann", "hd": "example.org", "life": 100}, "lives too long"),
        ({"sub": "system:admin", "hd": "example.org", "life": 1}, "that name is taken"),
        ({"sub": "nobody", "hd": "example.org", "life": 1}, "the user does not satisfy"),
        ({"sub": "", "hd": "example.org", "life": 1}, "give no username"),
    ],
)
def test_claims_and_users_have_to_satisfy_the_rules(claims: dict[str, Any], said: str | None) -> None:
    rules = {
        "claimValidationRules": [
            {"claim": "hd", "requiredValue": "example.org"},
            {"expression": "claims.life < 50", "message": "lives too long"},
        ],
        "userValidationRules": [
            {"expression": "!user.username.startsWith('system:')", "message": "that name is taken"},
            {"expression": "user.username != 'nobody' && user.groups.size() == 0"},
        ],
    }
    if said is None:
        assert user(claims, **rules).name == "ann"
    else:
        with pytest.raises(jwt.InvalidTokenError, match=said):
            user(claims, **rules)


def test_an_unverified_address_is_nobodys_name() -> None:
    mappings = {"username": {"claim": "email", "prefix": ""}}
    assert user({"email": "a@b"}, claimMappings=mappings).name == "a@b"
    with pytest.raises(jwt.InvalidTokenError, match="not verified"):
        user({"email": "a@b", "email_verified": False}, claimMappings=mappings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [", "it is not YAML"),
        (b"kind: Policy", "kind AuthenticationConfiguration, and is -, Policy"),
        (file(provider(colour="red")), "unknown field `colour`"),
        (file(provider(issuer={**ISSUER, "url": "http://id"})), "jwt[0].issuer.url: 'http://id' must be"),
        (file(provider(issuer={**ISSUER, "url": "https://a?b"})), "must have no a query"),
        (file(provider(issuer={**ISSUER, "audiences": []})), "jwt[0].issuer.audiences: at least one"),
        (file(provider(issuer={**ISSUER, "audiences": ["a", "b"]})), "audienceMatchPolicy: must be MatchAny"),
        (file(provider(issuer={**ISSUER, "discoveryURL": ISSUER["url"] + "/"})), "must be another than url"),
        (file(provider(issuer={**ISSUER, "certificateAuthority": "x"})), "is no certificate in PEM"),
        (file(provider(), provider()), "jwt[1].issuer.url: https://id.example.org is another issuer's already"),
        (file(provider(claimMappings={})), "jwt[0].claimMappings.username: claim or expression is needed"),
        (file(provider(claimMappings={"username": {"claim": "sub"}})), "username.prefix: is needed with a claim"),
        (
            file(provider(claimMappings={"username": {"claim": "sub", "expression": "claims.sub"}})),
            "claim and expression can't both be set",
        ),
        (
            file(provider(claimMappings={"username": {"expression": "claims.sub", "prefix": "x"}})),
            "prefix: can't be set with an expression",
        ),
        (file(provider(claimMappings={"username": {"expression": "claim.sub"}})), "undeclared reference to 'claim'"),
        (file(provider(claimMappings={"username": {"expression": "claims.email"}})), "claims.email_verified must be"),
        (file(provider(claimValidationRules=[{}])), "claimValidationRules[0]: either claim or expression"),
        (file(provider(userValidationRules=[{"expression": "claims.sub == ''"}])), "undeclared reference to 'claims'"),
        (
            file(
                provider(claimMappings={**JWT["claimMappings"], "extra": [{"key": "Country", "valueExpression": "1"}]})
            ),
            "extra[0].key: 'Country' must be DOMAIN/PATH",
        ),
        (
            file(
                provider(
                    claimMappings={**JWT["claimMappings"], "extra": [{"key": "a.k8s.io/b", "valueExpression": "1"}]}
                )
            ),
            "is reserved for Kubernetes",
        ),
        (file(anonymous={"enabled": False, "conditions": [{"path": "/livez"}]}), "enabled must be set to true"),
        (file(anonymous={"enabled": True, "conditions": [{}]}), "anonymous.conditions[0].path: a path is needed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(text: bytes, said: str) -> None:
    with pytest.raises(BadConfiguration) as raised:
        parse(text)
    assert said in str(raised.value)


async def test_a_file_that_changes_is_followed_unless_it_makes_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "authentication.yaml"
    ca = Authority(tmp_path).issue("x").ca.read_text()
    path.write_bytes(file(provider(issuer={**ISSUER, "certificateAuthority": ca})))
    followed = Configured(path, RealClock(), own_issuer="https://own")
    token = jwt.encode({"iss": ISSUER["url"]}, "x" * 32, algorithm="HS256")
    with pytest.raises(Unauthorized):
        await followed.authenticate(Credentials(token=token))
    for senseless in (b"a: [", file(provider(issuer={**ISSUER, "url": "https://own"}))):
        path.write_bytes(senseless)
        followed.look()
        with pytest.raises(Unauthorized):
            await followed.authenticate(Credentials(token=token))
    path.write_bytes(file(anonymous={"enabled": False}))
    followed.look()
    assert await followed.authenticate(Credentials(token=token)) is None
    assert followed.anonymous is not None and not followed.anonymous.may("/livez")
    path.unlink()
    followed.look()
    with pytest.raises(BadConfiguration, match="--authentication-config .*own is the issuer of this cluster's own"):
        path.write_bytes(file(provider(issuer={**ISSUER, "url": "https://own"})))
        Configured(path, RealClock(), own_issuer="https://own")


async def test_who_says_no_name_gets_where_anonymous_requests_may_go() -> None:
    class Nobody:
        async def authenticate(self, credentials: Credentials) -> User | None:
            return None

    async def answer(call: Call) -> User:
        return call.user

    anonymous = parse(file(anonymous={"enabled": True, "conditions": [{"path": "/livez"}]})).anonymous
    assert anonymous is not None
    durations = ApiMetrics().authentication_durations
    handle = with_authentication(answer, Nobody(), durations, may_be_anonymous=anonymous.may)
    assert await handle(Call(RequestInfo("get", "/livez"))) is ANONYMOUS
    with pytest.raises(Unauthorized):
        await handle(Call(RequestInfo("list", "/api/v1/pods", "", "v1", "pods")))


def test_the_configuration_in_the_documentation_can_be_used() -> None:
    page = (Path(__file__).parents[4] / "docs" / "operating-the-api-server.md").read_text()
    wanted = "kind: AuthenticationConfiguration\n"
    (text,) = (block.partition("```")[0] for block in page.split("```yaml\n")[1:] if wanted in block)
    found = parse(text.encode())
    claims = {"sub": "ann", "teams": ["a"], "iat": 0, "exp": 3600}
    assert found.issuers[0].user_of(claims).groups == ("id:a", "system:authenticated")
    assert found.anonymous is not None and found.anonymous.may("/livez") and not found.anonymous.may("/version")

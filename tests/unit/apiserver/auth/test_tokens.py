from __future__ import annotations

import base64
import contextlib
import json
import time
from random import Random

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from api.core import node, pod, secret, serviceaccount
from api.core.pod import Pod, PodSpec
from api.core.references import ObjectReference
from api.core.secret import Secret
from api.core.serviceaccount import ServiceAccount
from api.errors import BadRequest, Conflict, Invalid, NotFound, Unauthorized
from api.meta import ObjectMeta
from api.resource import ObjectKey
from apiserver.admission.chain import AdmissionChain
from apiserver.auth.certificates import EXPIRY, CertificateAuthenticator, der_of_grpc_peer, user_of
from apiserver.auth.chain import AuthenticationChain
from apiserver.auth.tokens import TokenAuthenticator, TokenIssuer
from apiserver.request import Call, Credentials, RequestInfo
from apiserver.subresources.token import TokenHandler
from component.clock import RealClock
from component.signing_keys import load_private_key
from controllers import serviceaccount_tokens
from tests.certificates import Authority

ISSUER = "https://kubernetes.default.svc.cluster.local"
KEYS = {"rsa": rsa.generate_private_key(65537, 2048), "ec": ec.generate_private_key(ec.SECP256R1())}


class Time(RealClock):
    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def now(self) -> float:
        return self.at


class World:
    """Objects, an issuer and its two sides."""

    def __init__(self, key: str = "rsa") -> None:
        self.objects = {}
        self.clock = Time()
        self.issuer = TokenIssuer(KEYS[key], ISSUER)
        self.handler = TokenHandler(self.issuer, self.read, AdmissionChain([]), self.clock, Random(1))
        self.authenticator = TokenAuthenticator(self.issuer, self.read, self.clock)
        self.add(serviceaccount.RESOURCE, ServiceAccount(metadata=ObjectMeta(name="bot", namespace="a", uid="u1")))

    def add(self, resource, obj) -> None:
        self.objects[resource, ObjectKey(obj.metadata.namespace, obj.metadata.name)] = obj

    async def read(self, resource, key):
        if (resource, key) not in self.objects:
            raise NotFound(f'{resource} "{key.name}" not found')
        return self.objects[resource, key]

    async def request(self, name: str = "bot", **spec) -> dict:
        info = RequestInfo("create", "", "", "v1", "serviceaccounts", "token", "a", name)
        body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
        call = Call(info, resource=serviceaccount.RESOURCE, body=json.dumps(body).encode())
        return json.loads((await self.handler(call)).json)

    async def token(self, **spec) -> str:
        return (await self.request(**spec))["status"]["token"]

    async def user(self, token: str):
        return await self.authenticator.authenticate(Credentials(token=token))


def a_pod(account: str = "bot", uid: str = "p1", node_name: str = "n1") -> Pod:
    metadata = ObjectMeta(name="web", namespace="a", uid=uid)
    return Pod(metadata=metadata, spec=PodSpec(service_account_name=account, node_name=node_name))


@pytest.mark.parametrize("key", ["rsa", "ec"])
async def test_a_token_that_was_asked_for_is_believed(key: str) -> None:
    world = World(key)
    user = await world.user(await world.token())
    assert (user.name, user.uid) == ("system:serviceaccount:a:bot", "u1")
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")


async def test_claims_are_upstreams() -> None:
    world = World()
    world.add(pod.RESOURCE, a_pod())
    world.add(node.RESOURCE, node.Node(metadata=ObjectMeta(name="n1", uid="nu")))
    answer = await world.request(boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "p1"})
    token = answer["status"]["token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims.pop("jti")
    assert claims == {
        "aud": [ISSUER],
        "exp": 1_700_003_600,
        "iat": 1_700_000_000,
        "iss": ISSUER,
        "kubernetes.io": {
            "namespace": "a",
            "node": {"name": "n1", "uid": "nu"},
            "pod": {"name": "web", "uid": "p1"},
            "serviceaccount": {"name": "bot", "uid": "u1"},
        },
        "nbf": 1_700_000_000,
        "sub": "system:serviceaccount:a:bot",
    }
    assert answer["status"]["expirationTimestamp"] == "2023-11-14T23:13:20Z"
    user = await world.user(token)
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("n1",)


async def test_anybody_can_verify_a_token_with_the_published_keys() -> None:
    world = World("ec")
    token = await world.token(audiences=["vault"])
    (key,) = jwt.PyJWKSet.from_dict(world.issuer.key_set()).keys
    assert key.key_id == jwt.get_unverified_header(token)["kid"]
    assert jwt.decode(token, key, audience="vault", options={"verify_exp": False})["sub"].endswith(":bot")
    document = world.issuer.discovery_document("https://x/openid/v1/jwks")
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]


async def test_a_token_dies_with_its_account_pod_and_time_and_serves_its_audience_only() -> None:
    world = World()
    world.add(pod.RESOURCE, a_pod())
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    plain, bound, other = await world.token(), await world.token(boundObjectRef=ref), await world.token(audiences=["x"])
    assert await world.user(bound)
    with pytest.raises(Unauthorized):
        await world.user(other)
    world.add(pod.RESOURCE, a_pod(uid="p2"))
    with pytest.raises(Unauthorized):
        await world.user(bound)
    assert await world.user(plain)
    world.clock.at += 3700
    with pytest.raises(Unauthorized):
        await world.user(plain)
    world.clock.at -= 3700
    assert await world.user(plain)
    world.objects.clear()
    with pytest.raises(Unauthorized):
        await world.user(plain)


async def test_forged_tokens_are_refused() -> None:
    world, stranger = World(), TokenIssuer(rsa.generate_private_key(65537, 2048), ISSUER)
    good = await world.token()
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    raised = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "system:serviceaccount:kube-system:x"}).encode())
    public = (
        KEYS["rsa"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with_public_key_as_secret = _hs256(claims, kid, public)
    forged = [
        "nonsense",
        "a.b.c",
        f"{head}.{raised.rstrip(b'=').decode()}.{signature}",
        f"{head}.{body}.",
        jwt.encode(claims, None, algorithm="none", headers={"kid": kid}),
        with_public_key_as_secret,
        jwt.encode(claims, stranger._key, algorithm="RS256", headers={"kid": kid}),
        jwt.encode(claims, stranger._key, algorithm="RS256"),
        jwt.encode({**claims, "iss": "https://else"}, KEYS["rsa"], algorithm="RS256", headers={"kid": kid}),
        jwt.encode({**claims, "sub": "system:admin"}, KEYS["rsa"], algorithm="RS256", headers={"kid": kid}),
        jwt.encode({"sub": "x", "exp": 9e9}, KEYS["rsa"], algorithm="RS256", headers={"kid": kid}),
    ]
    for token in forged:
        with pytest.raises(Unauthorized):
            await world.user(token)


def _hs256(claims, kid: str, secret: bytes) -> str:
    import hashlib
    import hmac

    def part(value) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = f"{part({'alg': 'HS256', 'kid': kid})}.{part(claims)}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_impossible_requests_are_refused() -> None:
    world = World()
    world.add(pod.RESOURCE, a_pod(account="other"))
    with pytest.raises(Invalid, match="may not specify a duration less than 10 minutes"):
        await world.request(expirationSeconds=60)
    with pytest.raises(NotFound):
        await world.request(name="nobody")
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    with pytest.raises(BadRequest, match="pod running with different serviceaccount name"):
        await world.request(boundObjectRef=ref)
    with pytest.raises(Conflict, match="does not match the UID in record"):
        await world.request(boundObjectRef={**ref, "uid": "old"})
    with pytest.raises(BadRequest, match="cannot bind token to object of type v1, Kind=Cheese"):
        await world.request(boundObjectRef={**ref, "kind": "Cheese"})


async def test_a_key_of_before_is_still_believed() -> None:
    world = World()
    old = await world.token()
    rotated = TokenIssuer(KEYS["ec"], ISSUER, former=[KEYS["rsa"].public_key()])
    assert await TokenAuthenticator(rotated, world.read, world.clock).authenticate(Credentials(token=old))
    assert len(rotated.key_set()["keys"]) == 2


def test_keys_that_cannot_sign_are_refused_by_name() -> None:
    def pem(key) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    with pytest.raises(ValueError, match="not an RSA or P-256 key"):
        load_private_key(pem(ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(ValueError, match="curve secp384r1"):
        load_private_key(pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(ValueError, match="not a PEM private key"):
        load_private_key(b"hello")


async def test_certificates_name_users_and_groups_over_tls_and_grpc(tmp_path) -> None:
    from cryptography import x509

    pem = Authority(tmp_path).issue("jane", "dev", "ops").cert.read_bytes()
    der = der_of_grpc_peer({"x509_pem_cert": [pem]})
    assert der == x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    before = EXPIRY.of().total
    user = await CertificateAuthenticator().authenticate(Credentials(certificate=der))
    left_s = x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() - time.time()
    assert EXPIRY.of().total - before == pytest.approx(left_s, abs=10)
    assert (user.name, user.groups) == ("jane", ("dev", "ops", "system:authenticated"))
    assert user_of(b"garbage") is None
    assert der_of_grpc_peer({}) == b""


async def test_the_chain_takes_the_first_that_knows_and_refuses_what_nobody_knows() -> None:
    world = World()
    chain = AuthenticationChain([CertificateAuthenticator(), world.authenticator])
    assert await chain.authenticate(Credentials()) is None
    assert (await chain.authenticate(Credentials(token=await world.token()))).name.endswith(":bot")
    with pytest.raises(Unauthorized):
        await chain.authenticate(Credentials(certificate=b"garbage"))


async def test_a_token_kept_in_a_secret_is_good_as_long_as_it_is_kept() -> None:
    world = World()
    sign = serviceaccount_tokens.signer(KEYS["rsa"])
    account = world.objects[serviceaccount.RESOURCE, ObjectKey("a", "bot")]
    token = sign(account, "kept")
    with pytest.raises(Unauthorized):
        await world.user(token)
    kept = Secret(metadata=ObjectMeta(name="kept", namespace="a"), data={"token": token.encode()})
    world.add(secret.RESOURCE, kept)
    user = await world.user(token)
    assert (user.name, user.uid) == ("system:serviceaccount:a:bot", "u1")
    for data in ({"token": b"other"}, {}):
        kept.data = data
        with pytest.raises(Unauthorized):
            await world.user(token)
    kept.data = {"token": token.encode()}
    kept.metadata.labels = {"kubernetes.io/legacy-token-invalid-since": "2023-11-14"}
    with pytest.raises(Unauthorized):
        await world.user(token)
    kept.metadata.labels = {}
    await world.user(token)
    account.metadata.uid = "u2"
    with pytest.raises(Unauthorized):
        await world.user(token)


async def test_the_use_of_a_kept_token_is_noted_and_who_still_has_one_made_for_the_account_is_told() -> None:
    world = World()
    account = world.objects[serviceaccount.RESOURCE, ObjectKey("a", "bot")]
    token = serviceaccount_tokens.signer(KEYS["rsa"])(account, "kept")
    kept = Secret(metadata=ObjectMeta(name="kept", namespace="a"), data={"token": token.encode()})
    world.add(secret.RESOURCE, kept)
    used: list[str] = []

    async def note_use(found: Secret) -> None:
        used.append(found.metadata.name)

    authenticator = TokenAuthenticator(world.issuer, world.read, world.clock, note_use)
    about = "authentication.k8s.io/legacy-token"

    async def noted() -> tuple[list[str], dict[str, str]]:
        credentials = Credentials(token=token)
        with contextlib.suppress(Unauthorized):
            await authenticator.authenticate(credentials)
        taken = credentials.notes.take()
        assert credentials.notes.take().warnings == []
        return taken.warnings, taken.annotations

    assert await noted() == ([], {f"{about}-manual-secret": "kept"})
    account.secrets = [ObjectReference(name="kept")]
    why = (
        "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated "
        "secret-based tokens."
    )
    assert await noted() == ([why], {f"{about}-autogenerated-secret": "kept"})
    kept.metadata.labels = {"kubernetes.io/legacy-token-invalid-since": "2023-11-14"}
    assert await noted() == ([], {f"{about}-invalidated": "kept/a"})
    assert used == ["kept"] * 3
    assert await authenticator.authenticate(Credentials(token=await world.token()))
    assert used == ["kept"] * 3


async def test_a_kept_token_cannot_pass_for_a_bound_one_or_be_made_by_others() -> None:
    world = World()
    account = world.objects[serviceaccount.RESOURCE, ObjectKey("a", "bot")]
    token = serviceaccount_tokens.signer(KEYS["ec"])(account, "kept")
    kept = Secret(metadata=ObjectMeta(name="kept", namespace="a"), data={"token": token.encode()})
    world.add(secret.RESOURCE, kept)
    with pytest.raises(Unauthorized):
        await world.user(token)

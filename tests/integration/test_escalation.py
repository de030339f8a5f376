"""Ways to get more than one was given, each by its name; none of them works.

Mallory administers the namespace `mine` and nothing else; somebody else's secret is in `theirs`. A stolen node has
the certificate of `node-1`, which runs one pod of `mine`. Everything goes through the real door, over TLS.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from apiserver.server import Settings, serve
from component.clock import RealClock
from deploy.pki import Leaf, Pki
from store.local import LocalStore
from tests.integration.test_apiserver import tls
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MINE, THEIRS = "/api/v1/namespaces/mine", "/api/v1/namespaces/theirs"
SECRET = f"{THEIRS}/secrets/crown-jewels"
JEWELS = "a2Vlb3V0"
MERGE = {"Content-Type": "application/merge-patch+json"}
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
CLUSTER_ADMIN = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}


@dataclass
class World:
    """A server, and who is about to try something."""

    url: str
    pki: Pki
    admin: aiohttp.ClientSession
    mallory: aiohttp.ClientSession
    node: aiohttp.ClientSession
    nobody: aiohttp.ClientSession
    """Shows nothing."""
    tmp: Path
    signer: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    async def token(self, audience: str = "") -> str:
        """Return a token of the account mine/default."""
        spec = {"audiences": [audience]} if audience else {}
        return (await self.made(f"{MINE}/serviceaccounts/default/token", {"spec": spec}))["status"]["token"]

    async def made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create something as the administrator."""
        async with self.admin.post(path, json=body) as answer:
            assert answer.status == 201, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def with_token(self, token: str, path: str = f"{MINE}/pods") -> int:
        """Return what a bearer of `token` is answered."""
        async with self.nobody.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert JEWELS not in await answer.text()
            return answer.status


async def refused(asked: Any, *codes: int) -> str:
    """Check that a request is refused, with one of `codes` (403 when none is named), and gives nothing away."""
    async with asked as answer:
        text = await answer.text()
    assert answer.status in (codes or (403,)), f"{answer.status}: {text[:300]}"
    assert JEWELS not in text
    return str(text)


async def asked_raw(world: World, target: str) -> tuple[int, str]:
    """Ask for a target as Mallory, without a client that would tidy it up."""
    port = int(world.url.rpartition(":")[2])
    context = tls(world.pki.directory / "cluster", "mallory")
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read(1 << 20)
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer.decode(errors="replace")


Way = Callable[[World], Awaitable[None]]
WAYS: dict[str, Way] = {}


def way(function: Way) -> Way:
    WAYS[function.__name__] = function
    return function


# Reading what is somebody else's


@way
async def read_another_namespaces_secret(world: World) -> None:
    await refused(world.mallory.get(SECRET))


@way
async def list_the_secrets_of_all_namespaces(world: World) -> None:
    await refused(world.mallory.get("/api/v1/secrets"))
    await refused(world.mallory.get("/api/v1/secrets?fieldSelector=metadata.namespace%3Dmine"))


@way
async def watch_another_namespaces_secrets(world: World) -> None:
    await refused(world.mallory.get(f"{THEIRS}/secrets?watch=1&resourceVersion=0"))
    await refused(world.mallory.get("/api/v1/watch/namespaces/theirs/secrets"), 403, 404)


@way
async def climb_out_of_the_namespace_by_dots_in_the_path(world: World) -> None:
    for path in (
        f"{MINE}/../theirs/secrets/crown-jewels",
        f"{MINE}/%2e%2e/theirs/secrets/crown-jewels",
        f"{MINE}%2f..%2ftheirs/secrets/crown-jewels",
        f"{MINE}/secrets/..%2f..%2ftheirs%2fsecrets%2fcrown-jewels",
        f"{MINE}/pods/x/proxy/../../../../theirs/secrets/crown-jewels",
        "//api/v1/namespaces/theirs/secrets/crown-jewels",
        "/api//v1/namespaces//theirs/secrets/crown-jewels",
        "/healthz/../api/v1/namespaces/theirs/secrets/crown-jewels",
        "/version/../api/v1/namespaces/theirs/secrets/crown-jewels",
        f"{SECRET}/",
        f"{SECRET};x",
        f"{SECRET}%00",
    ):
        status, text = await asked_raw(world, path)
        assert status in (400, 403, 404), f"{path}: {status}"
        assert JEWELS not in text


@way
async def write_through_ones_own_namespace_into_another(world: World) -> None:
    body = {"metadata": {"name": "planted", "namespace": "theirs"}}
    await refused(world.mallory.post(f"{MINE}/configmaps", json=body), 400)
    await refused(world.mallory.put(f"{THEIRS}/configmaps/planted", json=body))


@way
async def have_another_verb_executed_by_a_header(world: World) -> None:
    headers = {"X-HTTP-Method-Override": "DELETE"}
    await refused(world.mallory.post(SECRET, headers=headers, json={}), 403, 404, 405)
    async with world.admin.get(SECRET) as answer:
        assert answer.status == 200


@way
async def learn_by_a_dry_run(world: World) -> None:
    await refused(world.mallory.patch(f"{SECRET}?dryRun=All", json={}, headers=MERGE))
    await refused(world.mallory.delete(f"{SECRET}?dryRun=All"))


@way
async def learn_of_others_by_asking_for_reviews(world: World) -> None:
    token = await world.token()
    body = {"spec": {"token": token}}
    await refused(world.mallory.post("/apis/authentication.k8s.io/v1/tokenreviews", json=body))
    spec = {"user": "kubernetes-admin", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    await refused(world.mallory.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json={"spec": spec}))


@way
async def read_the_servers_insides(world: World) -> None:
    for path in ("/metrics", "/logs/", "/debug/pprof/", "/configz", "/readyz/etcd"):
        await refused(world.mallory.get(path), 403, 404)


# Giving oneself rights


@way
async def make_a_role_with_more_than_one_has(world: World) -> None:
    body = {"metadata": {"name": "more"}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}
    await refused(world.mallory.post(f"{RBAC}/namespaces/mine/roles", json=body))
    body["rules"] = [EVERYTHING]
    await refused(world.mallory.post(f"{RBAC}/namespaces/mine/roles", json=body))


@way
async def widen_a_role_that_one_has(world: World) -> None:
    little = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    body = {"metadata": {"name": "little"}, "rules": little}
    async with world.mallory.post(f"{RBAC}/namespaces/mine/roles", json=body) as answer:
        assert answer.status == 201, await answer.text()
    path = f"{RBAC}/namespaces/mine/roles/little"
    await refused(world.mallory.patch(path, data=json.dumps({"rules": [EVERYTHING]}), headers=MERGE))
    apply = {"Content-Type": "application/apply-patch+yaml"}
    whole = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **body, "rules": [EVERYTHING]}
    await refused(world.mallory.patch(f"{path}?fieldManager=m&force=true", data=json.dumps(whole), headers=apply))


@way
async def bind_oneself_to_cluster_admin_in_ones_own_namespace(world: World) -> None:
    subjects = [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]
    body = {"metadata": {"name": "up"}, "subjects": subjects, "roleRef": CLUSTER_ADMIN}
    await refused(world.mallory.post(f"{RBAC}/namespaces/mine/rolebindings", json=body))
    apply = {"Content-Type": "application/apply-patch+yaml"}
    whole = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", **body}
    path = f"{RBAC}/namespaces/mine/rolebindings/up?fieldManager=m"
    await refused(world.mallory.patch(path, data=json.dumps(whole), headers=apply))


@way
async def turn_an_existing_binding_to_a_greater_role(world: World) -> None:
    path = f"{RBAC}/namespaces/mine/rolebindings/mallory"
    change = json.dumps({"roleRef": CLUSTER_ADMIN})
    await refused(world.mallory.patch(path, data=change, headers=MERGE), 403, 422)


@way
async def bind_oneself_cluster_wide(world: World) -> None:
    body = {"metadata": {"name": "up"}, "subjects": [], "roleRef": CLUSTER_ADMIN}
    await refused(world.mallory.post(f"{RBAC}/clusterrolebindings", json=body))
    await refused(world.mallory.put(f"{RBAC}/clusterrolebindings/up", json=body))


@way
async def have_ones_own_rules_aggregated_into_admin(world: World) -> None:
    labels = {"rbac.authorization.k8s.io/aggregate-to-admin": "true"}
    body = {"metadata": {"name": "up", "labels": labels}, "rules": [EVERYTHING]}
    await refused(world.mallory.post(f"{RBAC}/clusterroles", json=body))


# Being somebody else


@way
async def impersonate_the_administrator(world: World) -> None:
    await refused(world.mallory.get(SECRET, headers={"Impersonate-User": "kubernetes-admin"}))


@way
async def impersonate_a_group_a_uid_or_an_extra(world: World) -> None:
    account = {"Impersonate-User": "system:serviceaccount:mine:default"}
    for more in (
        {"Impersonate-Group": "system:masters"},
        {"Impersonate-Uid": "0"},
        {"Impersonate-Extra-scopes": "all"},
    ):
        await refused(world.mallory.get(SECRET, headers={**account, **more}))
    await refused(world.mallory.get(SECRET, headers={"Impersonate-Group": "system:masters"}), 400, 403, 500)


@way
async def impersonate_another_namespaces_account(world: World) -> None:
    await refused(world.mallory.get(SECRET, headers={"Impersonate-User": "system:serviceaccount:theirs:default"}))


@way
async def ask_for_a_token_of_another_namespaces_account(world: World) -> None:
    await refused(world.mallory.post(f"{THEIRS}/serviceaccounts/default/token", json={"spec": {}}))
    body = {"metadata": {"name": "default", "namespace": "theirs"}, "spec": {}}
    await refused(world.mallory.post(f"{MINE}/serviceaccounts/default/token", json=body), 400)


@way
async def tell_who_one_is_as_a_front_proxy_does(world: World) -> None:
    told = {"X-Remote-User": "kubernetes-admin", "X-Remote-Group": "system:masters"}
    await refused(world.mallory.get(SECRET, headers=told))
    await refused(world.nobody.get(SECRET, headers=told))


@way
async def use_the_front_proxys_ca_for_oneself(world: World) -> None:
    # Not an attack from outside, but what a front proxy's CA must not be able to do: name users by itself.
    world.pki.front_proxy.ensure(Leaf("sly", "kubernetes-admin", ("system:masters",)))
    at = world.pki.directory / "front-proxy"
    context = tls(world.pki.directory / "cluster", None)
    context.load_cert_chain(at / "sly.crt", at / "sly.key")
    async with session(world.url, context) as sly:
        await refused(sly.get(SECRET), 401)
        await refused(sly.get(SECRET, headers={"X-Remote-User": "a", "X-Remote-Group": "system:masters"}), 401)


@way
async def sign_ones_own_certificate(world: World) -> None:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")
    subject = x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes-admin")])
    issuer = x509.load_pem_x509_certificate(world.pki.cluster.cert_path.read_bytes())
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject)
    builder = builder.public_key(world.signer.public_key()).serial_number(7)
    builder = builder.not_valid_before(issuer.not_valid_before_utc).not_valid_after(issuer.not_valid_after_utc)
    pem = builder.sign(world.signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    key = world.signer.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (world.tmp / "own.pem").write_bytes(pem + key)
    context = tls(world.pki.directory / "cluster", None)
    context.load_cert_chain(world.tmp / "own.pem")
    async with session(world.url, context) as own:
        with pytest.raises(aiohttp.ClientError):
            await refused(own.get(SECRET), 401)


@way
async def alter_a_token(world: World) -> None:
    header, payload, signature = (await world.token()).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = "system:serviceaccount:theirs:default"
    claims["kubernetes.io"]["namespace"] = "theirs"
    altered = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert await world.with_token(f"{header}.{altered}.{signature}", SECRET) == 401


@way
async def sign_a_token_oneself_or_not_at_all(world: World) -> None:
    token = await world.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    headers = {"kid": jwt.get_unverified_header(token)["kid"]}
    public = world.pki.service_account_key.read_bytes()
    key = serialization.load_pem_private_key(public, None).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    forged = [
        jwt.encode(claims, world.signer, algorithm="ES256", headers=headers),
        jwt.encode(claims, world.signer, algorithm="ES256"),
        jwt.encode(claims, None, algorithm="none", headers=headers),
        # The public key is for all to see; taken for a shared secret it would sign anything.
        hmac_signed(claims, pem, headers),
    ]
    legacy = {"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:theirs:default"}
    forged.append(jwt.encode(legacy, world.signer, algorithm="ES256", headers=headers))
    for each in forged:
        assert await world.with_token(each) == 401


def hmac_signed(claims: dict[str, Any], key: bytes, headers: dict[str, str]) -> str:
    import hashlib
    import hmac

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    text = f"{part({'alg': 'HS256', 'typ': 'JWT', **headers})}.{part(claims)}"
    signature = hmac.digest(key, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@way
async def use_a_token_that_was_made_for_somebody_else(world: World) -> None:
    assert await world.with_token(await world.token("https://elsewhere")) == 401


@way
async def use_a_token_after_its_time(world: World) -> None:
    key = serialization.load_pem_private_key(world.pki.service_account_key.read_bytes(), None)
    token = await world.token()
    claims = jwt.decode(token, options={"verify_signature": False})
    claims |= {"iat": 1_600_000_000, "nbf": 1_600_000_000, "exp": 1_600_003_600}
    kid = {"kid": jwt.get_unverified_header(token)["kid"]}
    assert isinstance(key, rsa.RSAPrivateKey)
    assert await world.with_token(jwt.encode(claims, key, algorithm="RS256", headers=kid)) == 401


@way
async def use_a_token_after_its_account_is_gone(world: World) -> None:
    await world.made(f"{MINE}/serviceaccounts", {"metadata": {"name": "brief"}})
    answer = await world.made(f"{MINE}/serviceaccounts/brief/token", {"spec": {}})
    assert await world.with_token(answer["status"]["token"], "/version") == 200
    for again in (False, True):
        if again:
            await world.made(f"{MINE}/serviceaccounts", {"metadata": {"name": "brief"}})
        else:
            async with world.admin.delete(f"{MINE}/serviceaccounts/brief") as deleted:
                assert deleted.status == 200

        async def is_refused() -> bool:
            return await world.with_token(answer["status"]["token"], "/version") == 401

        await eventually(is_refused)


@way
async def make_a_bootstrap_token_in_ones_own_namespace(world: World) -> None:
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
    data["auth-extra-groups"] = "system:masters"
    body = {"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": data}
    async with world.mallory.post(f"{MINE}/secrets", json=body) as answer:
        assert answer.status == 201
    await refused(world.mallory.post("/api/v1/namespaces/kube-system/secrets", json=body))
    assert await world.with_token("abcdef.0123456789abcdef") == 401


@way
async def put_ones_own_token_into_an_accounts_secret(world: World) -> None:
    token = jwt.encode({"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:mine:default"}, "x" * 32)
    annotations = {"kubernetes.io/service-account.name": "default"}
    body = {
        "metadata": {"name": "own", "annotations": annotations},
        "type": "kubernetes.io/service-account-token",
        "stringData": {"token": token},
    }
    async with world.mallory.post(f"{MINE}/secrets", json=body) as answer:
        assert answer.status == 201, await answer.text()
    assert await world.with_token(token) == 401


@way
async def come_with_a_password(world: World) -> None:
    basic = base64.b64encode(b"kubernetes-admin:admin").decode()
    await refused(world.nobody.get(SECRET, headers={"Authorization": f"Basic {basic}"}))  # Nobody reads it: anonymous.


@way
async def be_nobody_at_all(world: World) -> None:
    for path in ("/api", "/apis", "/api/v1/namespaces", SECRET, "/openapi/v2", "/metrics"):
        await refused(world.nobody.get(path))
    async with world.nobody.get("/version") as answer:
        assert answer.status == 200


@way
async def have_a_certificate_for_the_masters_signed(world: World) -> None:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")
    subject = x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, "mallory")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(world.signer, hashes.SHA256())
    pem = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": pem, "usages": ["client auth"], "signerName": "kubernetes.io/kube-apiserver-client"}
    csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    # She may ask for certificates, as many users may; not for this one.
    await refused(world.mallory.post(csrs, json={"metadata": {"name": "up"}, "spec": spec}))
    plain = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes-admin")])
    request = x509.CertificateSigningRequestBuilder().subject_name(plain).sign(world.signer, hashes.SHA256())
    spec["request"] = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    async with world.mallory.post(csrs, json={"metadata": {"name": "up"}, "spec": spec}) as answer:
        assert answer.status == 201, await answer.text()
        asked = await answer.json()
    approved = {"type": "Approved", "status": "True", "reason": "r", "message": "m"}
    asked["status"] = {"conditions": [approved]}
    await refused(world.mallory.put(f"{csrs}/up/approval", json=asked))
    asked["status"] = {"certificate": base64.b64encode(b"x").decode()}
    await refused(world.mallory.put(f"{csrs}/up/status", json=asked))


# Getting at machines, and the server's own connections


@way
async def exec_into_another_namespaces_pod(world: World) -> None:
    for subresource in ("exec?command=sh&stdout=1", "attach?stdout=1", "portforward?ports=1", "proxy/", "log"):
        await refused(world.mallory.get(f"{THEIRS}/pods/web/{subresource}"))
        await refused(world.mallory.post(f"{THEIRS}/pods/web/{subresource}"))
    dialled = session(world.url, tls(world.pki.directory / "cluster", "mallory"))
    async with dialled as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
            await http.ws_connect(f"{THEIRS}/pods/web/exec?command=sh&stdout=1", protocols=("v5.channel.k8s.io",))
    assert failed.value.status == 403


@way
async def reach_a_kubelet_through_the_server(world: World) -> None:
    for path in ("proxy/pods", "proxy/exec/theirs/web/c", "proxy/", "log"):
        await refused(world.mallory.get(f"/api/v1/nodes/node-1/{path}"), 403, 404)


@way
async def have_the_server_connect_to_itself(world: World) -> None:
    """A Service may not lead to the server's own loopback, nor may a user say where a Service leads."""
    slices = "/apis/discovery.k8s.io/v1/namespaces/mine/endpointslices"
    endpoint = {"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}], "ports": [{"port": 1}]}
    body = {"metadata": {"name": "loop", "labels": {"kubernetes.io/service-name": "loop"}}, **endpoint}
    await refused(world.mallory.post(slices, json=body))
    subsets = [{"addresses": [{"ip": "169.254.169.254"}], "ports": [{"port": 80}]}]
    await refused(world.mallory.post(f"{MINE}/endpoints", json={"metadata": {"name": "loop"}, "subsets": subsets}))
    # Not even where somebody may: the address is refused when it is used.
    await refused(world.admin.post(slices, json=body), 422)
    async with world.admin.get(f"{MINE}/pods/looped/proxy/") as answer:
        assert answer.status == 400 and "address not allowed" in await answer.text()


@way
async def have_the_server_call_ones_own_webhook(world: World) -> None:
    registration = "/apis/admissionregistration.k8s.io/v1"
    for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies"):
        await refused(world.mallory.post(f"{registration}/{kind}", json={"metadata": {"name": "up"}}))
    body = {"metadata": {"name": "v1.up.example.com"}, "spec": {"group": "up.example.com", "version": "v1"}}
    await refused(world.mallory.post("/apis/apiregistration.k8s.io/v1/apiservices", json=body))
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await refused(world.mallory.post(crds, json={"metadata": {"name": "ups.example.com"}}))


@way
async def place_a_pod_by_hand_or_forge_what_is_said_of_it(world: World) -> None:
    target = {"target": {"kind": "Node", "name": "node-1"}, "metadata": {"name": "unbound"}}
    await refused(world.mallory.post(f"{MINE}/pods/unbound/binding", json=target))
    await refused(world.mallory.post(f"{MINE}/bindings", json=target))
    change = json.dumps({"status": {"podIP": "127.0.0.1"}})
    await refused(world.mallory.patch(f"{MINE}/pods/unbound/status", data=change, headers=MERGE))


@way
async def loosen_the_rules_of_ones_own_namespace(world: World) -> None:
    change = json.dumps({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})
    await refused(world.mallory.patch(MINE, data=change, headers=MERGE))
    await refused(world.mallory.delete(f"{MINE}/resourcequotas/limit"))
    await refused(world.mallory.put(f"{MINE}/finalize", json={"metadata": {"name": "mine"}}))


# A stolen node


@way
async def read_as_a_node_what_its_pods_do_not_use(world: World) -> None:
    async with world.node.get(f"{MINE}/secrets/used") as answer:
        assert answer.status == 200
    await refused(world.node.get(SECRET))
    await refused(world.node.get(f"{MINE}/secrets/unused"))
    await refused(world.node.get(f"{MINE}/secrets"))
    await refused(world.node.get("/api/v1/secrets?fieldSelector=metadata.name%3Dcrown-jewels"))


@way
async def touch_as_a_node_another_nodes_pods(world: World) -> None:
    await refused(world.node.delete(f"{THEIRS}/pods/web"))
    change = json.dumps({"status": {"phase": "Failed"}})
    await refused(world.node.patch(f"{THEIRS}/pods/web/status", data=change, headers=MERGE))
    await refused(world.node.post(f"{THEIRS}/pods/web/eviction", json={"metadata": {"name": "web"}}))


@way
async def ask_as_a_node_for_another_nodes_accounts(world: World) -> None:
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    for spec in ({}, {"boundObjectRef": bound}):
        await refused(world.node.post(f"{THEIRS}/serviceaccounts/default/token", json={"spec": spec}))


@way
async def draw_pods_to_oneself_as_a_node(world: World) -> None:
    """By taking another node's name, or labels that only administrators give."""
    change = json.dumps({"metadata": {"labels": {"a": "b"}}})
    await refused(world.node.patch("/api/v1/nodes/node-2", data=change, headers=MERGE))
    await refused(world.node.delete("/api/v1/nodes/node-2"))
    labels = {"node-restriction.kubernetes.io/vault": "yes"}
    change = json.dumps({"metadata": {"labels": labels}})
    await refused(world.node.patch("/api/v1/nodes/node-1", data=change, headers=MERGE))
    change = json.dumps({"spec": {"taints": []}})
    await refused(world.node.patch("/api/v1/nodes/node-1", data=change, headers=MERGE))


@way
async def run_a_pod_as_a_node_with_an_account(world: World) -> None:
    """A mirror pod could carry any account's token, or any secret, to the node."""
    container = {"name": "c", "image": "i"}
    mirror = {"kubernetes.io/config.mirror": "x"}
    for annotated, spec in (
        ({}, {}),
        (mirror, {"serviceAccountName": "default"}),
        (mirror, {"volumes": [{"name": "v", "secret": {"secretName": "unused"}}]}),
        (mirror, {"nodeName": "node-2"}),
    ):
        body = {
            "metadata": {"name": "mirror", "annotations": annotated},
            "spec": {"containers": [container], "nodeName": "node-1", **spec},
        }
        await refused(world.node.post(f"{MINE}/pods", json=body))


# The world


def session(url: str, context: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context, force_close=True))


async def eventually(found: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if await found():
                return
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure_control_plane([], ["m1"])
    pki.cluster.ensure(Leaf("mallory", "mallory", ("builders",)))
    pki.ensure_node("node-1", ["127.0.0.1"])
    at, proxy, nowhere = pki.directory / "cluster", pki.front_proxy, Path("/nonexistent")
    settings = Settings(
        store_endpoints=(),
        store_cert=nowhere,
        store_key=nowhere,
        store_ca=nowhere,
        tls_cert=at / "apiserver.crt",
        tls_key=at / "apiserver.key",
        client_ca=at / "ca.crt",
        service_account_key=pki.service_account_key,
        requestheader_client_ca=proxy.cert_path,
        requestheader_allowed_names=("front-proxy-client",),
        kubelet_client_cert=at / "apiserver-kubelet-client.crt",
        kubelet_client_key=at / "apiserver-kubelet-client.key",
        kubelet_ca=at / "ca.crt",
        encryption_provider_config=pki.encryption,
        bind_address="127.0.0.1",
        secure_port=free_port(),
        grpc_port=free_port(),
    )
    url = f"https://localhost:{settings.secure_port}"
    task = asyncio.create_task(serve(settings, LocalStore(), RealClock(), random.Random(1)))
    async with AsyncExitStack() as stack:
        admin, mallory, node, nobody = [
            await stack.enter_async_context(session(url, tls(at, stem)))
            for stem in ("admin", "mallory", "kubelet-node-1", None)
        ]
        made = World(url, pki, admin, mallory, node, nobody, tmp_path_factory.mktemp("world"))

        async def is_ready() -> bool:
            try:
                async with nobody.get("/readyz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(is_ready)
        await furnish(made)
        yield made
    task.cancel()
    await asyncio.wait([task])


async def furnish(world: World) -> None:
    rules = [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["create", "get"]}
    ]
    await world.made(f"{RBAC}/clusterroles", {"metadata": {"name": "asks"}, "rules": rules})
    user = [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]
    ref = {**CLUSTER_ADMIN, "name": "asks"}
    body = {"metadata": {"name": "asks"}, "subjects": user, "roleRef": ref}
    await world.made(f"{RBAC}/clusterrolebindings", body)
    for name in ("node-1", "node-2"):
        await world.made("/api/v1/nodes", {"metadata": {"name": name}})
    for namespace in ("mine", "theirs"):
        await world.made("/api/v1/namespaces", {"metadata": {"name": namespace}})
        await world.made(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
    ref = {**CLUSTER_ADMIN, "name": "admin"}
    body = {"metadata": {"name": "mallory"}, "subjects": user, "roleRef": ref}
    await world.made(f"{RBAC}/namespaces/mine/rolebindings", body)
    await world.made(f"{THEIRS}/secrets", {"metadata": {"name": "crown-jewels"}, "data": {"a": JEWELS}})
    for name in ("used", "unused"):
        await world.made(f"{MINE}/secrets", {"metadata": {"name": name}, "data": {"a": "eA=="}})
    container = {"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "used"}}]}
    for namespace, name, node_name in (
        ("mine", "web", "node-1"),
        ("mine", "unbound", ""),
        ("mine", "looped", ""),
        ("theirs", "web", "node-2"),
    ):
        spec = {"containers": [container], **({"nodeName": node_name} if node_name else {})}
        await world.made(f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name}, "spec": spec})
    status = json.dumps({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}})
    async with world.admin.patch(f"{MINE}/pods/looped/status", data=status, headers=MERGE) as answer:
        assert answer.status == 200, await answer.text()

    async def may_see() -> bool:
        async with world.mallory.get(f"{MINE}/pods") as answer:
            return answer.status == 200

    await eventually(may_see)


@pytest.mark.parametrize("name", WAYS)
async def test_nobody_gets_more(world: World, name: str) -> None:
    await WAYS[name](world)


async def test_there_are_thirty_ways_and_the_jewels_are_still_there(world: World) -> None:
    assert len(WAYS) >= 30
    async with world.admin.get(SECRET) as answer:
        assert (await answer.json())["data"] == {"a": JEWELS}
    for kind in ("clusterroles", "clusterrolebindings"):
        async with world.admin.get(f"{RBAC}/{kind}/up") as answer:
            assert answer.status == 404

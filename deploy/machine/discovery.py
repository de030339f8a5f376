"""How a newcomer comes to trust a cluster that it has never seen, with nothing but a token.

The cluster publishes the ConfigMap `cluster-info` in kube-public: a kubeconfig without users, which anybody may read,
signed once for each bootstrap token (a detached JWS, RFC 7515 appendix F, with the token's secret as HS256 key). A
newcomer fetches it without knowing the server, checks the signature by its token, checks that the CA in it has the hash
it was given (upstream's `sha256:` of the public key), and fetches it again from the server that this CA vouches for.
Without the hash anybody who has the token could pretend to be the cluster; so it has to be given.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.core import configmap
from api.core.configmap import ConfigMap
from api.errors import AlreadyExists, Conflict, NotFound
from api.meta import ObjectMeta
from api.resource import ObjectKey
from client.verbs import Client
from deploy.machine.rest import Rest
from deploy.machine.tokens import Token
from deploy.report import CannotDo

CLUSTER_INFO = ObjectKey("kube-public", "cluster-info")
KUBECONFIG = "kubeconfig"
SIGNATURE = "jws-kubeconfig-"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a newcomer learnt, and may believe."""

    server: str
    """URL of the API server."""
    authority: bytes
    """The cluster's CA certificate, PEM."""


def ca_hash(pem: bytes) -> str:
    """Return what `--ca-hash` must be for a CA: `sha256:` and the hash of its public key, DER. Pure."""
    key = x509.load_pem_x509_certificate(pem).public_key()
    digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return f"sha256:{digest.hexdigest()}"


def check_hash(text: str) -> str:
    """Return `text`, in small letters.

    Raises:
        CannotDo: it is no hash of a CA.
    """
    if not _HASH.fullmatch(text.strip().lower()):
        raise CannotDo("--ca-hash is `sha256:` and 64 hexadecimal digits, as `steer token create` prints it")
    return text.strip().lower()


def cluster_info(server: str, authority: bytes) -> str:
    """Return the kubeconfig that is published: a cluster, and nobody's credentials. Pure."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "", "cluster": {"certificate-authority-data": _base64(authority), "server": server}},
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)


def sign(text: str, token: Token) -> str:
    """Return the detached signature that a token makes over `text`. Pure."""
    header = _url_base64(json.dumps({"alg": "HS256", "kid": token.id}, separators=(",", ":")).encode())
    signed = f"{header}.{_url_base64(text.encode())}".encode()
    return f"{header}..{_url_base64(hmac.digest(token.secret.encode(), signed, 'sha256'))}"


def is_signed(text: str, signature: str, token: Token) -> bool:
    """Whether `signature` is what `token` makes over `text`, whichever way the header is written. Pure."""
    header, _, rest = signature.partition("..")
    try:
        said = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except ValueError:
        return False
    if not isinstance(said, dict) or said.get("alg") != "HS256" or said.get("kid") != token.id:
        return False
    signed = f"{header}.{_url_base64(text.encode())}".encode()
    expected = _url_base64(hmac.digest(token.secret.encode(), signed, "sha256"))
    return hmac.compare_digest(expected.encode(), rest.encode())


def believe(data: dict[str, Any], token: Token, wanted_hash: str) -> Found:
    """Return what a ConfigMap's `data` says, once the token and the hash vouch for it. Pure.

    Raises:
        CannotDo: one of them does not; the message says which.
    """
    text, signature = str(data.get(KUBECONFIG, "")), str(data.get(f"{SIGNATURE}{token.id}", ""))
    if not signature:
        raise CannotDo(f"the cluster knows no token {token.id} that is good for joining: it may have expired")
    if not is_signed(text, signature, token):
        raise CannotDo("what the server says about its cluster was not signed with this token: is the token right?")
    try:
        cluster = yaml.safe_load(text)["clusters"][0]["cluster"]
        server, authority = str(cluster["server"]), base64.b64decode(cluster["certificate-authority-data"])
        actual = ca_hash(authority)
    except (yaml.YAMLError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CannotDo(f"the cluster's cluster-info is damaged: {error}") from None
    if actual != wanted_hash:
        raise CannotDo(
            f"the cluster's CA is {actual}, not the one of --ca-hash: "
            "is this the cluster you mean, and is nobody in between?"
        )
    return Found(server, authority)


def discover(address: str, token: Token, wanted_hash: str) -> Found:
    """Ask the server at `address` (host:port) which cluster it is, and return what can be believed.

    Raises:
        CannotDo: it does not answer, or cannot be believed.
    """
    url = f"https://{address}"
    path = f"/api/v1/namespaces/{CLUSTER_INFO.namespace}/configmaps/{CLUSTER_INFO.name}"
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # nothing secret is sent, and what comes is checked by token and hash
    found = believe(Rest(url, unverified).get(path).get("data") or {}, token, wanted_hash)
    verified = ssl.create_default_context(cadata=found.authority.decode())
    again = Rest(url, verified).get(path).get("data") or {}
    return believe(again, token, wanted_hash)


async def publish(client: Client, server: str, authority: bytes, tokens: Iterable[Token]) -> None:
    """Write `cluster-info`, signed by each of `tokens` and by no other; safe to repeat."""
    while True:
        try:
            found = await client.get(configmap.RESOURCE, CLUSTER_INFO)
        except NotFound:
            found = None
        text = found.data.get(KUBECONFIG, "") if found else ""
        text = text or cluster_info(server, authority)
        data = {KUBECONFIG: text}
        for token in tokens:
            name = f"{SIGNATURE}{token.id}"
            kept = found.data.get(name, "") if found else ""
            data[name] = kept if is_signed(text, kept, token) else sign(text, token)
        with contextlib.suppress(AlreadyExists, Conflict):
            if found is None:
                metadata = ObjectMeta(name=CLUSTER_INFO.name, namespace=CLUSTER_INFO.namespace)
                await client.create(configmap.RESOURCE, ConfigMap(metadata=metadata, data=data))
            elif found.data != data:
                found.data = data
                await client.update(configmap.RESOURCE, found)
            return


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _url_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

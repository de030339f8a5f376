"""How a newcomer comes to trust a cluster that it has never seen, with nothing but a token.

The cluster publishes the ConfigMap `cluster-info` in kube-public: a kubeconfig without users, which anybody may read,
signed by the controllers once for each bootstrap token (a detached JWS, RFC 7515 appendix F, HS256). A
newcomer fetches it without knowing the server, checks the signature by its token, checks that the CA in it has the hash
it was given (upstream's `sha256:` of the public key), and fetches it again from the server that this CA vouches for.
Without the hash anybody who has the token could pretend to be the cluster; so it has to be given.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
import time
from dataclasses import dataclass
from http.client import SERVICE_UNAVAILABLE
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.core import configmap
from api.errors import NotFound
from api.resource import ObjectKey
from client.verbs import Client
from deploy import addons
from deploy.machine.rest import NoAnswer, Refused, Rest
from deploy.machine.tokens import Token
from deploy.report import BadInput, CannotDo

CLUSTER_INFO = ObjectKey("kube-public", "cluster-info")
KUBECONFIG = "kubeconfig"
SIGNATURE = "jws-kubeconfig-"
SIGNED_WITHIN_S = 30.0
POLL_S = 0.1
ANSWER_WITHIN_S = 20.0
"""An API server that is started again, since the machines of its cluster have changed, is back sooner."""
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
        BadInput: it is no hash of a CA.
    """
    if not _HASH.fullmatch(text.strip().lower()):
        raise BadInput("--ca-hash is `sha256:` and 64 hexadecimal digits, as `steer token create` prints it")
    return text.strip().lower()


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
    found = believe(_get(Rest(url, unverified), path).get("data") or {}, token, wanted_hash)
    verified = ssl.create_default_context(cadata=found.authority.decode())
    again = _get(Rest(url, verified), path).get("data") or {}
    return believe(again, token, wanted_hash)


def _get(server: Rest, path: str) -> dict[str, Any]:
    """Return what is at `path`, from a server that may be just starting."""
    give_up_at = time.monotonic() + ANSWER_WITHIN_S
    while True:
        try:
            return server.get(path)
        except (NoAnswer, Refused) as error:
            is_refusal = isinstance(error, Refused) and error.code != SERVICE_UNAVAILABLE
            if is_refusal or time.monotonic() > give_up_at:
                raise
        time.sleep(POLL_S)


async def await_signature(client: Client, token: Token) -> None:
    """Wait until the controllers have signed `cluster-info` with a new token: only then is it good for joining.

    Raises:
        CannotDo: they have not, in time.
    """
    deadline = asyncio.get_running_loop().time() + SIGNED_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        found = await client.get(configmap.RESOURCE, CLUSTER_INFO)
        if is_signed(found.data.get(KUBECONFIG, ""), found.data.get(f"{SIGNATURE}{token.id}", ""), token):
            return
        await asyncio.sleep(POLL_S)
    raise CannotDo(
        f"the controllers did not sign cluster-info with token {token.id} in {SIGNED_WITHIN_S:.0f} s: "
        "see journalctl -u steersman-controllers on every control-plane machine"
    )


async def publish(client: Client, server: str, authority: Path) -> None:
    """Make `cluster-info` where there is none; the controllers sign it with every token."""
    try:
        await client.get(configmap.RESOURCE, CLUSTER_INFO)
    except NotFound:
        await addons.apply_cluster_info(client, server, authority)


def _url_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

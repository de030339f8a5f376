"""Bootstrap tokens: those whose time is over are deleted, and the others sign what joining machines are told.

A machine that joins knows a token and an address, and no CA. So ConfigMap `cluster-info` in kube-public, which anybody
may read, holds a kubeconfig with the CA, and a signature of it by each token that is for signing: whoever knows the
token can tell that it is genuine. Signatures are detached JWS with HS256 (RFC 7515, appendix F), under upstream's keys.
Upstream: tokencleaner, bootstrapsigner.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from api import timestamps
from api.core import configmap as configmaps
from api.core import secret as secrets
from api.core.bootstrap_token import NAME_PREFIX, NAMESPACE, TYPE, data_of, is_expired
from api.core.configmap import ConfigMap
from api.core.secret import Secret
from api.resource import ObjectKey
from client.verbs import key_of
from controllers.actions import NOTHING, Delete, Patch, Plan
from controllers.runner import Controller, Listers, Watch

CLUSTER_INFO: Final = ObjectKey("kube-public", "cluster-info")
SIGNATURE_PREFIX: Final = "jws-kubeconfig-"
KUBECONFIG: Final = "kubeconfig"


def is_token(secret: Secret) -> bool:
    """Whether a Secret is a bootstrap token."""
    return secret.metadata.namespace == NAMESPACE and secret.type == TYPE


# Cleaning


def observe_token(key: ObjectKey, listers: Listers) -> Secret | None:
    """Return the token."""
    found: Secret | None = listers[secrets.RESOURCE].get(key)
    return found if found is not None and is_token(found) else None


def clean(token: Secret, now: float) -> Plan:
    """Delete the token when its time is over, and look again then."""
    data = data_of(token)
    if is_expired(data, now):
        return Plan((Delete(secrets.RESOURCE, key_of(token), token.metadata.uid),))
    if data.get("expiration"):
        return Plan(requeue_after_s=max(0.1, timestamps.parse(data["expiration"]) - now))
    return NOTHING


CLEANER: Controller[Secret, Secret] = Controller(
    name="token-cleaner-controller",
    resource=secrets.RESOURCE,
    observe=observe_token,
    reconcile=clean,
    keys=lambda secret, listers: (key_of(secret),) if is_token(secret) else (),
    workers=1,
)


# Signing


@dataclass(frozen=True, slots=True)
class Observed:
    """What is to be signed, and the tokens there are."""

    cluster_info: ConfigMap
    tokens: list[Secret]


def observe(key: ObjectKey, listers: Listers) -> Observed | None:
    """Read the ConfigMap and all tokens."""
    found = listers[configmaps.RESOURCE].get(CLUSTER_INFO)
    if key != CLUSTER_INFO or found is None:
        return None
    return Observed(found, [each for each in listers[secrets.RESOURCE].list(NAMESPACE) if is_token(each)])


def reconcile(observed: Observed, now: float) -> Plan:
    """Put the signatures that there should be in place of those that there are."""
    data = observed.cluster_info.data
    content = data.get(KUBECONFIG, "")
    wanted: dict[str, str] = {}
    if content:
        for token in observed.tokens:
            found = signer(token, now)
            if found is not None:
                wanted[SIGNATURE_PREFIX + found[0]] = sign(content, *found)
    have = {name: value for name, value in data.items() if name.startswith(SIGNATURE_PREFIX)}
    if have == wanted:
        return NOTHING
    gone: dict[str, str | None] = dict.fromkeys(set(have) - set(wanted))
    return Plan((Patch(configmaps.RESOURCE, CLUSTER_INFO, {"data": {**gone, **wanted}}),))


def signer(token: Secret, now: float) -> tuple[str, str] | None:
    """Return the id and secret of a token that is for signing, and None for others."""
    data: Mapping[str, str] = data_of(token)
    token_id, secret = data.get("token-id", ""), data.get("token-secret", "")
    is_named = token.metadata.name == NAME_PREFIX + token_id
    is_for_it = data.get("usage-bootstrap-signing") == "true" and not token.metadata.deletion_timestamp
    return (token_id, secret) if is_named and secret and is_for_it and not is_expired(data, now) else None


def sign(content: str, token_id: str, secret: str) -> str:
    """Return a detached JWS of `content`."""
    header = _base64(f'{{"alg":"HS256","kid":"{token_id}"}}'.encode())
    signed = hmac.digest(secret.encode(), f"{header}.{_base64(content.encode())}".encode(), hashlib.sha256)
    return f"{header}..{_base64(signed)}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _wakes(secret: Secret, listers: Listers) -> Iterable[ObjectKey]:
    return (CLUSTER_INFO,) if is_token(secret) else ()


SIGNER: Controller[ConfigMap, Observed] = Controller(
    name="bootstrap-signer-controller",
    resource=configmaps.RESOURCE,
    observe=observe,
    reconcile=reconcile,
    keys=lambda config_map, listers: (CLUSTER_INFO,) if key_of(config_map) == CLUSTER_INFO else (),
    watches=(Watch(resource=secrets.RESOURCE, keys=_wakes),),
    workers=1,
)

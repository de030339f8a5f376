"""Fills Secrets of type kubernetes.io/service-account-token with a token of the account that they name.

Such a token has no end: it is good as long as it is found in its Secret, and the account lives. Pods get others, bound
and short-lived; this is for those who ask for it by making the Secret. A Secret whose account is gone is deleted.
Upstream: serviceaccount-token-controller; claims of the first generation of service-account tokens.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Final

import jwt

from api.core import secret as secrets
from api.core import serviceaccount as accounts
from api.core.legacy_tokens import NAME, TYPE
from api.core.secret import Secret
from api.core.serviceaccount import ServiceAccount
from api.errors import NotFound
from api.resource import ObjectKey
from client.verbs import key_of
from component.signing_keys import PrivateKey, algorithm_of, key_id
from controllers.runner import Context, Dialogue, Listers, Watch

UID: Final = "kubernetes.io/service-account.uid"
ISSUER: Final = "kubernetes/serviceaccount"

Sign = Callable[[ServiceAccount, str], str]
"""From an account and its Secret's name to the token."""


def signer(key: PrivateKey) -> Sign:
    """Return what signs with `key`."""
    public = key.public_key()

    def sign(account: ServiceAccount, secret: str) -> str:
        metadata, about = account.metadata, "kubernetes.io/serviceaccount/"
        claims = {
            "iss": ISSUER,
            f"{about}namespace": metadata.namespace,
            f"{about}secret.name": secret,
            f"{about}service-account.name": metadata.name,
            f"{about}service-account.uid": metadata.uid,
            "sub": f"system:serviceaccount:{metadata.namespace}:{metadata.name}",
        }
        return jwt.encode(claims, key, algorithm=algorithm_of(public), headers={"kid": key_id(public), "typ": None})

    return sign


def changes(secret: Secret, account: ServiceAccount, sign: Sign, root_ca: str) -> dict[str, object] | None:
    """Return the merge patch that completes a Secret, None when it is complete."""
    wanted = {"ca.crt": root_ca.encode(), "namespace": secret.metadata.namespace.encode()}
    data = {name: value for name, value in wanted.items() if secret.data.get(name) != value}
    if not secret.data.get("token"):
        data["token"] = sign(account, secret.metadata.name).encode()
    metadata: dict[str, object] = {}
    if secret.metadata.annotations.get(UID) != account.metadata.uid:
        metadata["annotations"] = {UID: account.metadata.uid}
    if not data and not metadata:
        return None
    metadata["resourceVersion"] = secret.metadata.resource_version
    return {"metadata": metadata, "data": {name: base64.b64encode(value).decode() for name, value in data.items()}}


def controller(sign: Sign, root_ca: str) -> Dialogue[Secret]:
    """Return the controller."""

    async def reconcile(key: ObjectKey, context: Context) -> float | None:
        found: Secret | None = context.listers[secrets.RESOURCE].get(key)
        if found is None or found.type != TYPE or found.metadata.deletion_timestamp:
            return None
        name, uid = (found.metadata.annotations.get(each, "") for each in (NAME, UID))
        account = await _account(ObjectKey(key.namespace, name), uid, context)
        if account is None:
            await context.client.delete(secrets.RESOURCE, key, uid=found.metadata.uid)
            return None
        patch = changes(found, account, sign, root_ca)
        if patch is not None:
            await context.client.patch(secrets.RESOURCE, key, patch)
        return None

    return Dialogue(
        name="serviceaccount-token-controller",
        resource=secrets.RESOURCE,
        reconcile=reconcile,
        keys=lambda secret, listers: (key_of(secret),) if secret.type == TYPE else (),
        watches=(Watch(resource=accounts.RESOURCE, keys=_secrets_of),),
        workers=2,
    )


async def _account(key: ObjectKey, uid: str, context: Context) -> ServiceAccount | None:
    """Return the account that a Secret is for; the server is asked before anything is deleted for the lack of it."""
    found: ServiceAccount | None = context.listers[accounts.RESOURCE].get(key)
    if found is None or (uid and found.metadata.uid != uid):
        try:
            found = await context.client.get(accounts.RESOURCE, key)
        except NotFound:
            return None
    return None if uid and found.metadata.uid != uid else found


def _secrets_of(account: ServiceAccount, listers: Listers) -> Iterable[ObjectKey]:
    for each in listers[secrets.RESOURCE].list(account.metadata.namespace):
        if each.type == TYPE and each.metadata.annotations.get(NAME) == account.metadata.name:
            yield key_of(each)

"""Service-account tokens: signed, bound, short-lived.

A token is a JWT whose claims say which ServiceAccount it is for, to which audiences, until when, and which object
(usually a pod) it dies with. `TokenIssuer` signs, `TokenAuthenticator` believes, and any outside party can do so too
with the public keys that `discovery_document` points to. Claims: KEP-1205 and KEP-4193; OIDC discovery: KEP-1393.

A signature says only what was true when it was made. So every use checks that the ServiceAccount and the bound
object still exist with the same UID; deleting either revokes the token at once.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from api import timestamps
from api.core import node, pod, secret, serviceaccount
from api.core.legacy_tokens import INVALID_SINCE, is_made_for
from api.core.secret import Secret
from api.errors import NotFound, Unauthorized
from api.resource import ObjectKey, Resource
from apiserver.auth.certificates import AUTHENTICATED, CREDENTIAL_ID_EXTRA
from apiserver.request import Credentials, Notes, User
from component.clock import Clock
from component.signing_keys import PrivateKey, PublicKey, algorithm_of, key_id

log = logging.getLogger(__name__)

USERNAME_PREFIX = "system:serviceaccount:"
GROUP_ALL = "system:serviceaccounts"
POD_NAME_EXTRA = "authentication.kubernetes.io/pod-name"
POD_UID_EXTRA = "authentication.kubernetes.io/pod-uid"
NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name"
NODE_UID_EXTRA = "authentication.kubernetes.io/node-uid"

LEGACY_ISSUER = "kubernetes/serviceaccount"
_NEVER_S = 1 << 62
_LEEWAY_S = 10
"""How far clocks may disagree before a fresh token is refused for being from the future."""
_BELIEVED_MAX = 4096
"""How many verified signatures are remembered."""

NoteUse = Callable[[Secret], Awaitable[None]]
"""Is told of a Secret whose token has been used."""
_OWN = "authentication.k8s.io/legacy-token"
_MADE_FOR_ACCOUNTS = (
    "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated "
    "secret-based tokens."
)

Read = Callable[[Resource[Any], ObjectKey], Awaitable[Any]]
"""Returns an object as stored; raises NotFound. A cache may answer first: absence must come from the store."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An object that a token is bound to."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a service-account token says."""

    namespace: str
    account: Bound
    audiences: tuple[str, ...]
    not_before_s: int
    expires_s: int
    pod: Bound | None = None
    node: Bound | None = None
    """The node of the bound pod, or a node bound by itself."""
    secret: Bound | None = None
    token_id: str = ""
    is_legacy: bool = False
    """Whether it is kept in `secret`, without an end: it is good as long as it is found there."""

    @property
    def username(self) -> str:
        """`system:serviceaccount:<namespace>:<name>`."""
        return f"{USERNAME_PREFIX}{self.namespace}:{self.account.name}"


def groups_of(namespace: str) -> tuple[str, ...]:
    """Return the groups of every ServiceAccount of a namespace."""
    return (GROUP_ALL, f"{GROUP_ALL}:{namespace}", AUTHENTICATED)


class TokenIssuer:
    """Signs tokens, and publishes what is needed to verify them.

    Args:
        key: signs new tokens.
        issuer: the `iss` claim, a URL.
        audiences: whom a token is for when its request does not say: the API server itself.
        former: public keys whose tokens are still believed, for rotation.
    """

    def __init__(
        self, key: PrivateKey, issuer: str, audiences: Sequence[str] = (), former: Sequence[PublicKey] = ()
    ) -> None:
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self._key = key
        self._key_id = key_id(key.public_key())
        self.keys: Mapping[str, PublicKey] = {key_id(public): public for public in (key.public_key(), *former)}

    def sign(self, claims: Claims, issued_s: int) -> str:
        """Return the signed token."""
        about: dict[str, Any] = {"namespace": claims.namespace}
        for field, bound in (("node", claims.node), ("pod", claims.pod), ("secret", claims.secret)):
            if bound is not None:
                about[field] = {"name": bound.name} | ({"uid": bound.uid} if bound.uid else {})
        about["serviceaccount"] = {"name": claims.account.name, "uid": claims.account.uid}
        payload = {
            "aud": list(claims.audiences),
            "exp": claims.expires_s,
            "iat": issued_s,
            "iss": self.issuer,
            "jti": claims.token_id,
            "kubernetes.io": about,
            "nbf": claims.not_before_s,
            "sub": claims.username,
        }
        algorithm = algorithm_of(self._key.public_key())
        return jwt.encode(payload, self._key, algorithm=algorithm, headers={"kid": self._key_id, "typ": None})

    def discovery_document(self, jwks_uri: str) -> dict[str, Any]:
        """Return what `/.well-known/openid-configuration` answers."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({algorithm_of(key) for key in self.keys.values()}),
        }

    def key_set(self) -> dict[str, Any]:
        """Return what `/openid/v1/jwks` answers."""
        keys = []
        for name, public in self.keys.items():
            if isinstance(public, rsa.RSAPublicKey):
                described: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(public, as_dict=True)
            else:
                described = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True)
            described = {name: value for name, value in described.items() if name != "key_ops"}
            keys.append({"use": "sig", "kid": name, "alg": algorithm_of(public), **described})
        return {"keys": keys}


class TokenAuthenticator:
    """Believes tokens that `issuer` signed for us, while what they are bound to lives."""

    def __init__(self, issuer: TokenIssuer, read: Read, clock: Clock, note_use: NoteUse | None = None) -> None:
        self._issuer = issuer
        self._read = read
        self._clock = clock
        self._note_use = note_use
        self._believed: dict[bytes, Claims] = {}

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None when there is no token.

        Raises:
            Unauthorized: a token that is forged, expired, for others, or outlived its account or pod. The client
                is not told which; the log is.
        """
        if not credentials.token:
            return None
        user, _ = await self.review(credentials.token, (), credentials.notes)
        return user

    async def review(
        self, token: str, audiences: Sequence[str], notes: Notes | None = None
    ) -> tuple[User, tuple[str, ...]]:
        """Return a token's user, and for which of `audiences` (empty: this server's) it was made.

        What is to be said of a token that is kept in a Secret goes to `notes`.

        Raises:
            Unauthorized: it is forged, expired, for others, or outlived its account or pod; the log says which.
        """
        wanted = tuple(audiences) or self._issuer.audiences
        try:
            claims = self.verify(token, wanted)
            await self._check_alive(claims, token, notes or Notes())
        except (jwt.PyJWTError, _Revoked) as error:
            log.info("token refused", extra={"why": str(error)})
            raise Unauthorized("Unauthorized") from None
        extra = {CREDENTIAL_ID_EXTRA: (f"JTI={claims.token_id}",)} if claims.token_id else {}
        if claims.pod is not None:
            extra |= {POD_NAME_EXTRA: (claims.pod.name,), POD_UID_EXTRA: (claims.pod.uid,)}
        if claims.node is not None:
            extra[NODE_NAME_EXTRA] = (claims.node.name,)
            if claims.node.uid:
                extra[NODE_UID_EXTRA] = (claims.node.uid,)
        user = User(claims.username, claims.account.uid, groups_of(claims.namespace), extra)
        return user, tuple(audience for audience in wanted if audience in claims.audiences)

    def verify(self, token: str, audiences: Sequence[str]) -> Claims:
        """Return the claims of a token that our key signed, that is in date and for one of `audiences`.

        Raises:
            jwt.PyJWTError: it is not; says why.
        """
        digest = hashlib.sha256(token.encode()).digest()
        claims = self._believed.get(digest)
        if claims is None:
            claims = self._verify_signature(token)
            if len(self._believed) >= _BELIEVED_MAX:
                self._believed.clear()
            self._believed[digest] = claims
        now = self._clock.now()
        if now >= claims.expires_s + _LEEWAY_S:
            self._believed.pop(digest, None)
            raise jwt.ExpiredSignatureError("the token has expired")
        if now < claims.not_before_s - _LEEWAY_S:
            raise jwt.ImmatureSignatureError("the token is not valid yet")
        if not set(audiences) & set(claims.audiences):
            raise jwt.InvalidAudienceError(f"the token is for {', '.join(claims.audiences)}")
        return claims

    def _verify_signature(self, token: str) -> Claims:
        is_legacy = jwt.decode(token, options={"verify_signature": False}).get("iss") == LEGACY_ISSUER
        name = jwt.get_unverified_header(token).get("kid", "")
        key = self._issuer.keys.get(name)
        if key is None:
            raise jwt.InvalidKeyError("the token was signed with a key that is not ours")
        # Times and audience are judged by the caller, with its own clock.
        payload = jwt.decode(
            token,
            key,
            algorithms=[algorithm_of(key)],
            issuer=LEGACY_ISSUER if is_legacy else self._issuer.issuer,
            options={
                "require": ["sub"] if is_legacy else ["exp", "sub"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
            },
        )
        return _parse_legacy(payload, self._issuer.audiences) if is_legacy else _parse(payload)

    async def _check_alive(self, claims: Claims, token: str, notes: Notes) -> None:
        kept = await self._check_kept(claims, token) if claims.is_legacy else None
        account = ObjectKey(claims.namespace, claims.account.name)
        await self._check_same(serviceaccount.RESOURCE, account, claims.account)
        if kept is not None:
            await self._judge_kept(kept, account, notes)
        if claims.pod is not None:
            await self._check_same(pod.RESOURCE, ObjectKey(claims.namespace, claims.pod.name), claims.pod)
        elif claims.node is not None:
            await self._check_same(node.RESOURCE, ObjectKey("", claims.node.name), claims.node)
        if claims.secret is not None and not claims.is_legacy:
            await self._check_same(secret.RESOURCE, ObjectKey(claims.namespace, claims.secret.name), claims.secret)

    async def _judge_kept(self, kept: Secret, account: ObjectKey, notes: Notes) -> None:
        """Refuse a token that has been marked, and tell of one that the cluster made that there are better ones."""
        metadata = kept.metadata
        if metadata.labels.get(INVALID_SINCE):
            notes.annotations[f"{_OWN}-invalidated"] = f"{metadata.name}/{metadata.namespace}"
        elif is_made_for(kept, await self._read(serviceaccount.RESOURCE, account)):
            notes.warnings.append(_MADE_FOR_ACCOUNTS)
            notes.annotations[f"{_OWN}-autogenerated-secret"] = metadata.name
        else:
            notes.annotations[f"{_OWN}-manual-secret"] = metadata.name
        if self._note_use is not None:
            await self._note_use(kept)
        if metadata.labels.get(INVALID_SINCE):
            raise _Revoked(
                f"the token in secret {metadata.namespace}/{metadata.name} for service account {account} has been "
                "marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or "
                f"remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )

    async def _check_kept(self, claims: Claims, token: str) -> Secret:
        assert claims.secret is not None, "parsed so"
        key = ObjectKey(claims.namespace, claims.secret.name)
        try:
            found = await self._read(secret.RESOURCE, key)
        except NotFound:
            raise _Revoked(f"{secret.RESOURCE} {key} no longer exists") from None
        if found.metadata.deletion_timestamp:
            raise _Revoked(f"{secret.RESOURCE} {key} is being deleted")
        if not hmac.compare_digest(found.data.get("token", b""), token.encode()):
            raise _Revoked(f"{secret.RESOURCE} {key} holds another token")
        kept: Secret = found
        return kept

    async def _check_same(self, resource: Resource[Any], key: ObjectKey, bound: Bound) -> None:
        try:
            metadata = (await self._read(resource, key)).metadata
        except NotFound:
            raise _Revoked(f"{resource} {key} no longer exists") from None
        if metadata.uid != bound.uid:
            raise _Revoked(f"{resource} {key} was deleted and made again")
        if metadata.deletion_timestamp and resource is not node.RESOURCE:
            _raise_if_long_gone(resource, key, metadata.deletion_timestamp, self._clock.now())


class _Revoked(Exception):
    """What a token is bound to is gone."""


def _raise_if_long_gone(resource: Resource[Any], key: ObjectKey, deletion_timestamp: str, now_s: float) -> None:
    """Refuse a token whose object has been past its deletion time for more than a minute.

    A pod that is shutting down in its grace period may still use its token; one that finalizers keep may not.
    """
    if now_s - timestamps.parse(deletion_timestamp) > 60:
        raise _Revoked(f"{resource} {key} has been deleted")


def _parse_legacy(payload: Mapping[str, Any], audiences: tuple[str, ...]) -> Claims:
    """Return what a token says that a controller has put into a Secret."""

    def said(name: str) -> str:
        return str(payload.get(f"kubernetes.io/serviceaccount/{name}", ""))

    account = Bound(said("service-account.name"), said("service-account.uid"))
    kept_in = Bound(said("secret.name"), "")
    claims = Claims(said("namespace"), account, audiences, 0, _NEVER_S, secret=kept_in, is_legacy=True)
    if not (claims.namespace and account.name and account.uid and kept_in.name):
        raise jwt.InvalidTokenError("the token lacks an account or its Secret")
    if payload["sub"] != claims.username:
        raise jwt.InvalidTokenError("the token's subject is not its account")
    return claims


def _parse(payload: Mapping[str, Any]) -> Claims:
    about = payload.get("kubernetes.io")
    if not isinstance(about, dict):
        raise jwt.InvalidTokenError("the token is not a service account's")

    def bound(field: str) -> Bound | None:
        value = about.get(field)
        return Bound(str(value.get("name", "")), str(value.get("uid", ""))) if isinstance(value, dict) else None

    account = bound("serviceaccount")
    audiences = payload.get("aud") or ()
    if account is None or not isinstance(payload["exp"], int):
        raise jwt.InvalidTokenError("the token lacks an account or an expiry")
    claims = Claims(
        namespace=str(about.get("namespace", "")),
        account=account,
        audiences=(audiences,) if isinstance(audiences, str) else tuple(map(str, audiences)),
        not_before_s=int(payload.get("nbf", 0)),
        expires_s=payload["exp"],
        pod=bound("pod"),
        node=bound("node"),
        secret=bound("secret"),
        token_id=str(payload.get("jti", "")),
    )
    if payload["sub"] != claims.username:
        raise jwt.InvalidTokenError("the token's subject is not its account")
    return claims

"""Bootstrap tokens: what a machine that wants to become a node shows before it has a certificate.

A token `abcdef.0123456789abcdef` is kept as the Secret `bootstrap-token-abcdef` in kube-system, which says what it is
good for and until when. Facts: Kubernetes' "Authenticating with Bootstrap Tokens".
"""

from __future__ import annotations

import hmac
import logging
import re
from typing import Final

from api.core import secret
from api.core.bootstrap_token import NAME_PREFIX, NAMESPACE, TYPE, data_of, is_expired
from api.core.secret import Secret
from api.errors import NotFound, Unauthorized
from api.resource import ObjectKey
from apiserver.auth.certificates import AUTHENTICATED
from apiserver.auth.tokens import Read
from apiserver.request import Credentials, User
from component.clock import Clock

log = logging.getLogger(__name__)

GROUP: Final = "system:bootstrappers"
USER_PREFIX: Final = "system:bootstrap:"
_TOKEN: Final = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_EXTRA_GROUP: Final = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class Refused(Exception):
    """A token that is not believed, and why."""


class BootstrapTokenAuthenticator:
    """Believes bootstrap tokens that a Secret vouches for."""

    def __init__(self, read: Read, clock: Clock) -> None:
        self._read = read
        self._clock = clock

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the token's user; None when there is no token of this form.

        Raises:
            Unauthorized: no Secret vouches for it. The client is not told why; the log is.
        """
        form = _TOKEN.fullmatch(credentials.token)
        if form is None:
            return None
        try:
            found: Secret = await self._read(secret.RESOURCE, ObjectKey(NAMESPACE, NAME_PREFIX + form[1]))
            return judge(found, form[1], form[2], self._clock.now())
        except NotFound:
            log.info("bootstrap token refused", extra={"id": form[1], "why": "there is no Secret for it"})
        except Refused as error:
            log.info("bootstrap token refused", extra={"id": form[1], "why": str(error)})
        raise Unauthorized("Unauthorized")


def judge(found: Secret, token_id: str, token_secret: str, now_s: float) -> User:
    """Return the user of a token, by its Secret. Pure.

    Raises:
        Refused: the Secret does not vouch for it.
    """
    if found.type != TYPE:
        raise Refused(f"the Secret is of type {found.type!r}")
    if found.metadata.deletion_timestamp:
        raise Refused("the Secret is being deleted")
    data = data_of(found)
    if not hmac.compare_digest(data.get("token-secret", "").encode(), token_secret.encode()):
        raise Refused("the secret differs")
    if data.get("token-id") != token_id:
        raise Refused("the Secret has another token-id")
    if is_expired(data, now_s):
        raise Refused("it has expired")
    if data.get("usage-bootstrap-authentication") != "true":
        raise Refused("it is not for authentication")
    groups = [GROUP]
    for group in sorted({each.strip() for each in data.get("auth-extra-groups", "").split(",") if each.strip()}):
        if _EXTRA_GROUP.fullmatch(group) is None:
            raise Refused(f"auth-extra-groups: {group!r} does not begin with {GROUP}:")
        groups.append(group)
    return User(USER_PREFIX + token_id, groups=(*groups, AUTHENTICATED))

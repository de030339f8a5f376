"""Which handler answers at which address, for what needs more than the verbs' context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.errors import BadRequest
from apiserver.auth.tokens import TokenAuthenticator, TokenIssuer
from apiserver.request import Authenticator, Authorizer, Call, RuleSource, SubresourceHandler
from apiserver.subresources.log import LogHandler
from apiserver.subresources.node_proxy import Kubelets
from apiserver.subresources.reviews import (
    AccessReviewHandler,
    RulesReviewHandler,
    SelfReviewHandler,
    SubjectAccessReviewHandler,
    TokenReviewHandler,
)
from apiserver.subresources.streaming import SUBRESOURCES
from apiserver.subresources.token import TokenHandler
from apiserver.verbs.context import Context

_AUTHORIZATION = "authorization.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"


def build(
    context: Context,
    authorizer: Authorizer,
    *,
    issuer: TokenIssuer | None = None,
    kubelets: Kubelets | None = None,
    believed: Sequence[Authenticator] = (),
) -> Mapping[tuple[str, str, str, str], SubresourceHandler]:
    """Return the handlers: tokens where there is an issuer, logs and streams where there are kubelets to ask."""
    admission = context.admission
    handlers: dict[tuple[str, str, str, str], Any] = {
        (_AUTHORIZATION, "selfsubjectaccessreviews", "", "create"): AccessReviewHandler(authorizer, admission),
        (_AUTHORIZATION, "subjectaccessreviews", "", "create"): SubjectAccessReviewHandler(
            authorizer, admission, is_local=False
        ),
        (_AUTHORIZATION, "localsubjectaccessreviews", "", "create"): SubjectAccessReviewHandler(
            authorizer, admission, is_local=True
        ),
        (_AUTHENTICATION, "selfsubjectreviews", "", "create"): SelfReviewHandler(context.clock, admission),
    }
    if isinstance(authorizer, RuleSource):
        handlers[_AUTHORIZATION, "selfsubjectrulesreviews", "", "create"] = RulesReviewHandler(authorizer, admission)
    read = context.registries.read
    if issuer is not None:
        tokens = TokenAuthenticator(issuer, read, context.clock)
        handlers[_AUTHENTICATION, "tokenreviews", "", "create"] = TokenReviewHandler(tokens, believed, admission)
        token = TokenHandler(issuer, read, admission, context.clock, context.random)
        handlers["", "serviceaccounts", "token", "create"] = token
    if kubelets is not None:
        handlers["", "pods", "log", "get"] = LogHandler(kubelets, read)
        for subresource in SUBRESOURCES:
            for verb in ("get", "create"):
                handlers["", "pods", subresource, verb] = _upgrade_required
    return handlers


async def _upgrade_required(call: Call) -> Any:
    """Answer a stream that was asked for without an upgrade, or by SPDY on a connection that was used before."""
    raise BadRequest("Upgrade request required: dial a new connection and ask for SPDY/3.1 or a WebSocket on it")

"""Which handler answers at which address, for what needs more than the verbs' context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.errors import BadRequest
from apiserver.auth.tokens import TokenIssuer
from apiserver.request import Authorizer, Call, SubresourceHandler
from apiserver.subresources.access_review import AccessReviewHandler
from apiserver.subresources.log import LogHandler
from apiserver.subresources.node_proxy import Kubelets
from apiserver.subresources.streaming import SUBRESOURCES
from apiserver.subresources.token import TokenHandler
from apiserver.verbs.context import Context

_REVIEWS = "authorization.k8s.io"


def build(
    context: Context, authorizer: Authorizer, *, issuer: TokenIssuer | None = None, kubelets: Kubelets | None = None
) -> Mapping[tuple[str, str, str, str], SubresourceHandler]:
    """Return the handlers: tokens where there is an issuer, logs and streams where there are kubelets to ask."""
    handlers: dict[tuple[str, str, str, str], Any] = {
        (_REVIEWS, "selfsubjectaccessreviews", "", "create"): AccessReviewHandler(authorizer),
    }
    read = context.registries.read
    if issuer is not None:
        token = TokenHandler(issuer, read, context.admission, context.clock, context.random)
        handlers["", "serviceaccounts", "token", "create"] = token
    if kubelets is not None:
        handlers["", "pods", "log", "get"] = LogHandler(kubelets, read)
        for subresource in SUBRESOURCES:
            for verb in ("get", "create"):
                handlers["", "pods", subresource, verb] = _upgrade_required
    return handlers


async def _upgrade_required(call: Call) -> Any:
    """Answer a stream that was asked for without an upgrade, or not as the first request of its connection."""
    raise BadRequest("Upgrade request required: dial a new connection and ask for SPDY/3.1 or a WebSocket on it")

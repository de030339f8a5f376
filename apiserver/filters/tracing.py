"""Records each request as a step of the trace its client is in, or of a trace of its own."""

from __future__ import annotations

from typing import Any

from apiserver.request import Call, Handler
from component import tracing


def with_tracing(then: Handler) -> Handler:
    """Return `then` inside a span; of a watch or a connection, only its beginning."""

    async def handle(call: Call) -> Any:
        if not tracing.is_on():
            return await then(call)
        info = call.info
        what = f"{info.plural}/{info.subresource}" if info.subresource else info.plural or "path"
        with tracing.span(f"{info.verb} {what}", kind="server", parent=call.traceparent) as span:
            if span is not None:
                facts = {
                    "k8s.namespace.name": info.namespace,
                    "k8s.object.name": info.name,
                    "url.path": info.path,
                    "user_agent.original": call.user_agent,
                    "audit-id": call.audit_id,
                }
                span.attributes |= {key: value for key, value in facts.items() if value}
            return await then(call)

    return handle

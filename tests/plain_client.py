"""Asks an API in this process in plain JSON, as its administrator unless told otherwise."""

from __future__ import annotations

import json
from typing import Any

from apiserver.app import Api, InternalCredentials
from apiserver.request import Call, RequestInfo, User

ADMIN = InternalCredentials(user=User("admin", groups=("system:masters",)))


class PlainClient:
    """Asks; `warnings` and `annotations` are those of the last call."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.warnings: list[str] = []
        self.annotations: dict[str, str] = {}

    async def call(
        self,
        info: RequestInfo,
        body: Any = None,
        *,
        content_type: str = "application/json",
        credentials: InternalCredentials = ADMIN,
        **options: str,
    ) -> Any:
        """Return the answer: an object, or a list's items; raises ApiError."""
        raw = json.dumps(body).encode() if body is not None else b""
        call = Call(info, credentials=credentials, body=raw, content_type=content_type, options=options)
        try:
            answer = await self.api.handle(call)
        finally:
            self.warnings, self.annotations = call.warnings, call.annotations
        if hasattr(answer, "json"):
            return json.loads(answer.json)
        return [json.loads(stored.json) for stored in answer.items]

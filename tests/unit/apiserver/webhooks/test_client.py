"""How webhooks are asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apiserver.webhooks.client import WebhookClient
from apiserver.webhooks.identities import Identities, Identity
from tests.certificates import Authority
from tests.webhook_server import allow, serving


@dataclass
class Config:
    url: str
    ca_bundle: bytes
    service: Any = None


async def test_a_webhook_is_shown_what_is_meant_for_it_and_others_nothing(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "clients").issue("apiserver", file="client")
    async with serving(tmp_path) as server:
        server.on("a", allow)
        config = Config(f"https://127.0.0.1:{server.port}/a", (tmp_path / "ca.crt").read_bytes())
        question = json.dumps({"kind": "AdmissionReview", "apiVersion": "v1", "request": {"uid": "u"}}).encode()
        shown = Identity(token="secret", certificate=pair.cert, key=pair.key)
        for users in ({f"127.0.0.1:{server.port}": shown}, {"elsewhere": shown}):
            client = WebhookClient(lambda *service: ("", 0), identities=Identities(users))
            await client.ask(config, question, timeout_s=5)
            await client.close()
    assert [headers.get("Authorization") for headers in server.headers] == ["Bearer secret", None]

"""How webhooks are asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from apiserver.webhooks.client import CallFailed, WebhookClient
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


@pytest.mark.parametrize(
    ("response", "told"),
    [
        (
            {"status": 500, "text": "boom", "content_type": "application/json"},
            'an error on the server ("unknown") has prevented the request from succeeding',
        ),
        (
            {"status": 500, "text": "boom", "content_type": "text/plain"},
            'an error on the server ("boom") has prevented the request from succeeding',
        ),
        (
            {"text": "", "content_type": "application/json"},
            "0-length response with status code: 200 and content type: application/json; charset=utf-8",
        ),
    ],
)
async def test_of_an_answer_that_is_none_as_much_is_told_as_can_be_read(
    tmp_path: Path, response: dict[str, Any], told: str
) -> None:
    async def respond(_: dict[str, Any]) -> web.Response:
        return web.Response(**response)

    async with serving(tmp_path) as server:
        server.on("a", respond)
        config = Config(f"https://127.0.0.1:{server.port}/a", (tmp_path / "ca.crt").read_bytes())
        client = WebhookClient(lambda *service: ("", 0))
        with pytest.raises(CallFailed) as failed:
            await client.ask(config, b'{"request":{"uid":"u"}}', timeout_s=5)
        await client.close()
    assert str(failed.value) == told

"""Tokens that a webhook knows, asked over TLS of one that runs here."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from api.errors import Unauthorized
from apiserver.auth import webhook_tokens
from apiserver.auth.webhook_tokens import WebhookTokenAuthenticator
from apiserver.request import Credentials, User
from apiserver.webhooks.client import WebhookClient
from apiserver.webhooks.identities import BadIdentities, parse_server
from apiserver.webhooks.services import no_services
from component.clock import RealClock
from tests.certificates import Authority


class Time(RealClock):
    passed = 0.0

    def monotonic(self) -> float:
        return self.passed


class Webhook:
    """Knows one token; fails as often as it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.shown: list[str] = []
        self.failing = 0
        self.changes: dict[str, Any] = {}
        self.kubeconfig = Path()
        self.clock = Time()

    async def answer(self, request: web.Request) -> web.Response:
        question = await request.json()
        self.asked.append(question)
        self.shown.append(request.headers.get("Authorization", ""))
        if self.failing:
            self.failing -= 1
            return web.Response(status=500, text="no")
        status: dict[str, Any] = {"authenticated": False, "error": "who?"}
        if question["spec"]["token"] == "good":
            user = {"username": "ann", "uid": "7", "groups": ["builders"], "extra": {"k": ["v"]}}
            status = {"authenticated": True, "user": user}
        body = {"apiVersion": question["apiVersion"], "kind": "TokenReview", "status": status, **self.changes}
        return web.json_response(body)

    def authenticator(self, ttl_s: float = 120.0) -> WebhookTokenAuthenticator:
        place, identities = parse_server(self.kubeconfig)
        client = WebhookClient(no_services, identities=identities)
        return WebhookTokenAuthenticator(
            client, place, self.clock, version="v1", ttl_s=ttl_s, audience="https://cluster"
        )


@pytest.fixture
async def webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Webhook]:
    monkeypatch.setattr(webhook_tokens, "PAUSE_S", 0.001)
    identity = Authority(tmp_path).issue("webhook")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert, identity.key)
    made = Webhook()
    app = web.Application()
    app.router.add_post("/authenticate", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server = f"https://localhost:{runner.addresses[0][1]}/authenticate"
    config = {
        "clusters": [{"name": "w", "cluster": {"server": server, "certificate-authority": str(identity.ca)}}],
        "users": [{"name": "us", "user": {"token": "ours"}}],
        "contexts": [{"name": "c", "context": {"cluster": "w", "user": "us"}}],
        "current-context": "c",
    }
    made.kubeconfig = tmp_path / "webhook.yaml"
    made.kubeconfig.write_text(yaml.safe_dump(config))
    yield made
    await runner.cleanup()


async def user(authenticator: WebhookTokenAuthenticator, token: str) -> User | None:
    return await authenticator.authenticate(Credentials(token=token))


async def test_a_token_is_its_users_as_the_webhook_says_and_asked_about_once_in_a_while(webhook: Webhook) -> None:
    authenticator = webhook.authenticator()
    for _ in range(3):
        assert await user(authenticator, "good") == User(
            "ann", uid="7", groups=("builders", "system:authenticated"), extra={"k": ("v",)}
        )
        assert await user(authenticator, "bad") is None
    assert len(webhook.asked) == 2 and webhook.shown[0] == "Bearer ours"
    (question, _) = webhook.asked
    assert (question["apiVersion"], question["kind"]) == ("authentication.k8s.io/v1", "TokenReview")
    assert question["spec"] == {"token": "good", "audiences": ["https://cluster"]}
    webhook.clock.passed = 121.0
    await user(authenticator, "good")
    assert len(webhook.asked) == 3
    assert await user(authenticator, "") is None
    await authenticator.close()


async def test_nothing_is_kept_where_nothing_is_to_be(webhook: Webhook) -> None:
    authenticator = webhook.authenticator(ttl_s=0)
    for _ in range(2):
        assert await user(authenticator, "good") is not None
    assert len(webhook.asked) == 2
    await authenticator.close()


async def test_a_webhook_that_fails_is_asked_again_and_then_nobody_is_believed_but_that_is_not_kept(
    webhook: Webhook,
) -> None:
    authenticator = webhook.authenticator()
    webhook.failing = 2
    assert await user(authenticator, "good") is not None
    webhook.failing = webhook_tokens.ATTEMPTS
    with pytest.raises(Unauthorized):
        await user(authenticator, "other")
    assert await user(authenticator, "other") is None
    await authenticator.close()


@pytest.mark.parametrize(
    ("changes", "is_failure"),
    [
        ({"status": {"authenticated": True, "user": {"username": "x"}, "audiences": ["others"]}}, False),
        ({"status": {"authenticated": True, "user": {"username": ""}}}, False),
        ({"apiVersion": "authentication.k8s.io/v1beta1"}, True),
        ({"kind": "Pod"}, True),
        ({"status": {"authenticated": "yes"}}, True),
    ],
)
async def test_an_answer_that_names_nobody_for_us_is_no_user(
    webhook: Webhook, changes: dict[str, Any], is_failure: bool
) -> None:
    authenticator = webhook.authenticator()
    webhook.changes = changes
    if is_failure:
        with pytest.raises(Unauthorized):
            await user(authenticator, "good")
    else:
        assert await user(authenticator, "good") is None
    await authenticator.close()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{}", "names no cluster"),
        ("{current-context: c, contexts: [{name: c, context: {cluster: w}}], clusters: [{name: w}]}", "clusters:"),
        (
            "{current-context: c, contexts: [{name: c, context: {cluster: w}}],"
            " clusters: [{name: w, cluster: {server: 'http://a'}}]}",
            "must begin with https://",
        ),
        (
            "{current-context: c, contexts: [{name: c, context: {cluster: w}}], clusters: [{name: w, cluster:"
            " {server: 'https://a', insecure-skip-tls-verify: true, certificate-authority-data: YQ==}}]}",
            "specifying a root certificates file with the insecure flag is not allowed",
        ),
        (
            "{current-context: c, contexts: [{name: c, context: {cluster: w}}],"
            " clusters: [{name: w, cluster: {server: 'https://a', proxy-url: 'socks5://b:1'}}]}",
            "only proxies that are spoken to by http",
        ),
        (
            "{current-context: c, contexts: [{name: c, context: {cluster: w}}],"
            " clusters: [{name: w, cluster: {server: 'https://a', proxy-url: 'ftp://b'}}]}",
            'unsupported scheme "ftp", must be http, https, or socks5',
        ),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_is_refused(tmp_path: Path, config: str, said: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(config)
    with pytest.raises(BadIdentities, match=said):
        parse_server(path)


def changed(webhook: Webhook, **cluster: Any) -> None:
    """Change the kubeconfig's cluster; what becomes None is taken out."""
    config = yaml.safe_load(webhook.kubeconfig.read_text())
    made = config["clusters"][0]["cluster"] | {key.replace("_", "-"): value for key, value in cluster.items()}
    config["clusters"][0]["cluster"] = {key: value for key, value in made.items() if value is not None}
    webhook.kubeconfig.write_text(yaml.safe_dump(config))


async def is_believed(webhook: Webhook) -> bool:
    authenticator = webhook.authenticator()
    try:
        return await user(authenticator, "good") is not None
    except Unauthorized:
        return False
    finally:
        await authenticator.close()


async def test_a_webhook_may_be_known_by_another_name_than_its_hosts(webhook: Webhook) -> None:
    changed(webhook, tls_server_name="somebody.else")
    assert not await is_believed(webhook)
    here = yaml.safe_load(webhook.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    changed(webhook, tls_server_name=None, server=here.replace("localhost", "127.0.0.2"))
    assert not await is_believed(webhook), "the certificate names another address"
    changed(webhook, tls_server_name="localhost", server=here.replace("localhost", "127.0.0.1"))
    assert await is_believed(webhook)


async def test_whoever_answers_is_believed_where_that_is_wanted(webhook: Webhook) -> None:
    changed(webhook, certificate_authority=None)
    assert not await is_believed(webhook)
    changed(webhook, insecure_skip_tls_verify=True)
    assert await is_believed(webhook)


async def test_a_webhook_is_reached_through_a_proxy(webhook: Webhook) -> None:
    asked: list[bytes] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while some := await reader.read(1 << 16):
                writer.write(some)
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        host, _, port = asked[-1].split()[1].decode().rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    proxy = await asyncio.start_server(carry, "127.0.0.1", 0)
    changed(webhook, proxy_url=f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
    assert await is_believed(webhook)
    assert len(asked) == 1 and asked[0].startswith(b"CONNECT localhost:")
    proxy.close()

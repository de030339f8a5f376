"""What webhooks are shown of the server."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from apiserver.webhooks.identities import NOBODY, BadIdentities, Identities, parse_identities


def identities(directory: Path, text: str) -> Identities:
    path = directory / "kubeconfig"
    path.write_text(text)
    return parse_identities(path)


def test_a_webhook_is_shown_the_user_that_is_named_after_it(tmp_path: Path) -> None:
    def users(*names: str) -> str:
        return ", ".join(f"{{name: '{name}', user: {{token: '{name}'}}}}" for name in names)

    found = identities(
        tmp_path, f"{{users: [{users('a.ns.svc', 'b.ns.svc:8443', '*.ns.svc', '*.example.com:443', '*')}]}}"
    )
    assert found.of("a.ns.svc", 443).token == "a.ns.svc"
    assert found.of("b.ns.svc", 8443).token == "b.ns.svc:8443"
    assert found.of("b.ns.svc", 443).token == "*.ns.svc"
    assert found.of("b.ns.svc", 444).token == "*"
    assert found.of("x.y.example.com", 443).token == "*.example.com:443"
    assert found.of("elsewhere", 443).token == "*"


def test_one_that_nobody_is_named_after_is_shown_the_current_user_or_nothing(tmp_path: Path) -> None:
    text = "{users: [{name: u, user: {username: a, password: b}}], contexts: [{name: c, context: {user: u}}]"
    assert identities(tmp_path, text + "}").of("a", 443) is NOBODY
    basic = base64.b64encode(b"a:b").decode()
    assert identities(tmp_path, text + ", current-context: c}").of("a", 443).authorization() == f"Basic {basic}"


def test_files_are_read_when_they_are_needed(tmp_path: Path) -> None:
    for name in ("token", "crt", "key"):
        (tmp_path / name).write_text(f"{name}\n")
    user = "{tokenFile: token, client-certificate: crt, client-key: key}"
    shown = identities(tmp_path, f"{{users: [{{name: '*', user: {user}}}]}}").of("a", 443)
    assert (shown.authorization(), shown.pair()) == ("Bearer token", b"crt\n\nkey")
    (tmp_path / "token").write_text("newer")
    assert shown.authorization() == "Bearer newer"


@pytest.mark.parametrize(
    "user", ["{exec: {command: x}}", "{client-certificate: x}", "{client-key-data: '%', client-certificate-data: YQ==}"]
)
def test_what_is_not_supported_is_refused(tmp_path: Path, user: str) -> None:
    with pytest.raises(BadIdentities):
        identities(tmp_path, f"{{users: [{{name: a, user: {user}}}]}}")

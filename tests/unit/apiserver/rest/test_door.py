from __future__ import annotations

from types import SimpleNamespace

from aiohttp.test_utils import make_mocked_request

from api.errors import BadRequest, Forbidden, NotFound
from apiserver.filters.flow_control import TurnedAway
from apiserver.request import Call, Credentials, RequestInfo
from apiserver.rest import answers, http2
from apiserver.rest.door import credentials_of, failure


def test_a_warning_repeats_nothing_that_a_header_cannot_hold() -> None:
    call = Call(RequestInfo("create", "/"), warnings=['unknown field "a\x00\x1b\nb"'])
    assert failure(BadRequest("no"), call).headers["Warning"] == '299 - "unknown field \\"a b\\""'


def test_a_browser_does_not_guess_what_a_refusal_is() -> None:
    call = Call(RequestInfo("create", "/"))
    assert failure(Forbidden("no"), call).headers["X-Content-Type-Options"] == "nosniff"
    assert "X-Content-Type-Options" not in failure(BadRequest("no"), call).headers


def test_a_request_that_has_to_come_again_is_told_when_in_plain_text_as_upstream_does() -> None:
    refused = failure(TurnedAway("Too many requests.", retry_after_s=1), Call(RequestInfo("get", "/")))
    assert (refused.status, refused.text, refused.headers["Retry-After"]) == (429, "Too many requests.\n", "1")
    assert refused.headers["Content-Type"].startswith("text/plain")


def test_a_refusal_is_yaml_for_who_likes_that_best() -> None:
    form = answers.form_of_refusal("application/yaml")
    refused = failure(NotFound("no"), Call(RequestInfo("get", "/")), form)
    assert refused.headers["Content-Type"] == "application/yaml"
    assert isinstance(refused.body, bytes) and b"reason: NotFound\n" in refused.body
    assert answers.form_of_refusal("text/html") == answers.PLAIN


def test_a_scheme_that_nobody_reads_shows_no_credentials() -> None:
    asked = make_mocked_request("GET", "/", headers={"Authorization": "Basic YTpi"})
    assert credentials_of(asked) == Credentials()


def test_names_to_act_under_that_are_no_utf_8_can_be_told_of_all_the_same() -> None:
    fields = ((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b"impersonate-user", b"a\xff\xc3\xa9"))
    asked = SimpleNamespace(headers=http2.request_head(fields, {}).headers, transport=None)
    assert credentials_of(asked).impersonate == {"impersonate-user": ("a\ufffdé",)}  # type: ignore[arg-type]

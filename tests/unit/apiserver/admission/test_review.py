from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core import pod
from apiserver.admission.webhooks import review
from apiserver.admission.webhooks.review import BadAnswer
from apiserver.request import AdmissionRequest, User

GOOD = {"uid": "u", "allowed": True}


def read(response: Any, *, is_mutating: bool = True, version: str = "v1", **head: Any) -> review.Answer:
    whole = {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "response": response, **head}
    return review.read(json.dumps(whole).encode(), version, "u", is_mutating=is_mutating)


def encoded(operations: Any) -> str:
    return base64.b64encode(json.dumps(operations).encode()).decode()


def test_an_answer_carries_warnings_annotations_and_a_patch() -> None:
    operations = [{"op": "add", "path": "/a", "value": 1}]
    answer = read(
        {
            **GOOD,
            "patchType": "JSONPatch",
            "patch": encoded(operations),
            "warnings": ["w"],
            "auditAnnotations": {"k": "v"},
        }
    )
    assert answer.is_allowed and answer.patch == operations
    assert (answer.warnings, answer.annotations) == (("w",), {"k": "v"})


@pytest.mark.parametrize(
    ("response", "head", "why"),
    [
        (None, {}, "webhook response was absent"),
        ({**GOOD, "uid": "other"}, {}, 'expected response.uid="u", got "other"'),
        ({"allowed": True}, {}, 'expected response.uid="u", got ""'),
        (GOOD, {"kind": "Other"}, "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview"),
        ({**GOOD, "patch": "W10="}, {}, "webhook returned response.patch but not response.patchType"),
        ({**GOOD, "patchType": "JSONPatch"}, {}, "webhook returned response.patchType but not response.patch"),
        ({**GOOD, "patch": "not base64", "patchType": "JSONPatch"}, {}, "its patch cannot be read"),
        ({**GOOD, "patch": encoded({}), "patchType": "JSONPatch"}, {}, "its patch is no list of operations"),
        ({**GOOD, "warnings": "w"}, {}, "are not what they should be"),
    ],
)
def test_what_is_no_answer_says_why(response: Any, head: dict[str, Any], why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        read(response, **head)


def test_a_webhook_that_judges_may_not_change() -> None:
    with pytest.raises(BadAnswer, match="validating webhook may not return response.patch"):
        read({**GOOD, "patch": encoded([]), "patchType": "JSONPatch"}, is_mutating=False)


def test_the_older_form_needs_neither_uid_nor_patch_type() -> None:
    assert read({"allowed": True, "patch": encoded([])}, version="v1beta1").patch_type == "JSONPatch"


def test_only_true_allows() -> None:
    for allowed in ("true", 1, None, [True]):
        assert not read({"uid": "u", "allowed": allowed}).is_allowed


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        ({}, 'admission webhook "w" denied the request without explanation', 400),
        ({"reason": "Because"}, 'admission webhook "w" denied the request: Because', 400),
        ({"message": "no", "reason": "Because", "code": 418}, 'admission webhook "w" denied the request: no', 418),
        ({"message": "no", "code": 200}, 'admission webhook "w" denied the request: no', 400),
    ],
)
def test_a_refusal_keeps_what_the_webhook_said(status: dict[str, Any], message: str, code: int) -> None:
    shown = review.refusal("w", status).status()
    assert (shown["message"], shown["code"], shown["status"]) == (message, code, "Failure")
    assert shown.get("reason") == status.get("reason")


def test_an_answer_without_end_is_refused() -> None:
    deep = b'{"kind":"AdmissionReview","response":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(BadAnswer):
        review.read(deep, "v1", "u", is_mutating=True)


def test_details_of_a_refusal_hold_what_details_hold() -> None:
    given = {"name": "n", "causes": [{"message": "m", "other": 1}, 2], "deep": [[[]]], "retryAfterSeconds": 3}
    shown = review.refusal("w", {"details": given}).status()
    assert shown["details"] == {"name": "n", "causes": [{"message": "m"}], "retryAfterSeconds": 3}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(
    st.fixed_dictionaries(
        {"uid": st.just("u")},
        optional=dict.fromkeys(("allowed", "patch", "patchType", "status", "warnings", "auditAnnotations"), anything),
    ),
    st.booleans(),
)
def test_any_answer_is_read_or_refused_and_never_breaks(response: dict[str, Any], is_mutating: bool) -> None:
    try:
        answer = read(response, is_mutating=is_mutating)
    except BadAnswer:
        return
    if not answer.is_allowed:
        assert json.dumps(review.refusal("w", answer.status).status())


def test_warnings_are_said_once_and_fit_into_headers() -> None:
    request = AdmissionRequest("CREATE", pod.RESOURCE, "a", "x", "", User("me"), None, None, {}, False, [])
    request.warn("a\r\nb\x00")
    request.warn("a\r\nb\x00")
    assert request.warnings == ["a  b "]
    for number in range(1000):
        request.warn(f"{number}" + "x" * 1000)
    assert sum(map(len, request.warnings)) < 6000
    assert len(request.warnings[-1]) == 256


@pytest.mark.parametrize(("said", "shown"), [("", "/, Kind=x"), ("v1", "/v1, Kind=x"), ("a/v1", "a/v1, Kind=x")])
def test_what_an_answer_calls_itself_is_shown_with_its_group(said: str, shown: str) -> None:
    with pytest.raises(BadAnswer, match=f"got {shown}"):
        read(GOOD, apiVersion=said, kind="x")

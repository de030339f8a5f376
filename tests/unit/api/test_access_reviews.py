from __future__ import annotations

import json
from typing import Any

from api import serde
from api.authorization import selfsubjectaccessreview as reviews


def wrong(selector: dict[str, Any]) -> list[str]:
    body = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": selector}}}
    made = serde.decode(json.dumps(body).encode(), reviews.RESOURCE, field_validation="Strict").object
    return [f"{e.path}: {e.message}" for e in reviews.RESOURCE.validate(made, None)]


def test_a_selector_is_asked_about_as_text_or_in_parts() -> None:
    parts = [{"key": "spec.nodeName", "operator": "In", "values": ["a"]}]
    at = "spec.resourceAttributes.fieldSelector"
    assert wrong({"rawSelector": "a=b"}) == wrong({"requirements": parts}) == []
    assert wrong({"rawSelector": "a=b", "requirements": parts}) == [
        f'{at}.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements'
    ]
    assert wrong({}) == [
        f"{at}.requirements: Required value: when {at} is specified, requirements or rawSelector is required"
    ]

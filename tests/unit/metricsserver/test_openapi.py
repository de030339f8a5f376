"""The types of measurements, as clients read them."""

from __future__ import annotations

import json
import re

from metricsserver import documents, openapi

ROOT = f"apis/{documents.VERSION}"


def test_the_index_leads_to_a_document_in_which_every_reference_is_answered() -> None:
    (listed,) = openapi.DOCUMENTS["/openapi/v3"]["paths"].values()
    path, _, query = listed["serverRelativeURL"].partition("?")
    assert re.fullmatch("hash=[0-9A-F]{128}", query)
    document = openapi.DOCUMENTS[path]
    named = set(re.findall(r"#/components/schemas/([\w.]+)", json.dumps(document)))
    assert named == set(document["components"]["schemas"])


def test_every_field_that_is_answered_is_described() -> None:
    schemas = openapi.DOCUMENTS[f"/openapi/v3/{ROOT}"]["components"]["schemas"]
    for schema in schemas.values():
        assert schema["description"]
        for name, field in schema["properties"].items():
            assert field["description"], name

"""Watch events as lines."""

from __future__ import annotations

import base64

import msgspec
import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request

from api.core import configmap
from api.errors import NotAcceptable
from apiserver.registry.fanout import BOOKMARK, Delivery
from apiserver.rest.answers import Form, form_of
from apiserver.rest.frames import encodings_of
from apiserver.table import PLAIN, Rendering

_BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("form", "api_version", "kind"),
    [
        (Form(PLAIN), "v1", "ConfigMapList"),
        (Form(Rendering("PartialObjectMetadata", "v1")), "meta.k8s.io/v1", "PartialObjectMetadataList"),
    ],
)
def test_the_end_of_what_is_there_bears_an_empty_list(form: Form, api_version: str, kind: str) -> None:
    """A client that lists by a watch makes its answer of it (KEP-3157)."""
    encoding, _ = encodings_of(configmap.RESOURCE, form, lambda: 0.0)
    plain, last = (
        msgspec.json.decode(encoding.frame(Delivery(BOOKMARK, None, 7, ends_initial=ends)))["object"]["metadata"]
        for ends in (False, True)
    )
    assert "annotations" not in plain
    assert last["annotations"]["k8s.io/initial-events-end"] == "true"
    told = msgspec.json.decode(base64.b64decode(last["annotations"][_BLUEPRINT]))
    assert told == {"kind": kind, "apiVersion": api_version, "metadata": {}, "items": None}


def test_what_is_there_is_not_streamed_as_tables() -> None:
    def asked(accept: str) -> Form:
        request = make_mocked_request("GET", "/api/v1/configmaps", headers={hdrs.ACCEPT: accept})
        return form_of(request, configmap.RESOURCE, may_be_tables=False)

    with pytest.raises(NotAcceptable):
        asked(_TABLE)
    assert asked(f"{_TABLE},application/json").rendering == PLAIN

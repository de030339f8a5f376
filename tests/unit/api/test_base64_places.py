from __future__ import annotations

import pytest

from api.core import secret
from api.errors import BadRequest
from api.reader import misplaced_base64
from api.serde import decode_value


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", None),
        ("YWJj", None),
        ("YW\nJj\r\n", None),
        ("YQ==", None),
        ("YWI=", None),
        ("REPLACE_WITH_BASE64_CERT", 7),
        ("YWJjZ", 4),
        ("YWJjZA", 4),
        ("YWJjZGU", 4),
        ("YQ=", 3),
        ("YQ=a", 2),
        ("=", 0),
        ("Y===", 1),
        ("YQ==YQ==", 4),
        ("YWI=\nYQ", 5),
        ("ümlaut", 0),
    ],
)
def test_what_does_not_belong_into_base64_is_told_by_its_byte_as_go_tells_it(text: str, at: int | None):
    assert misplaced_base64(text) == at


def test_a_secret_whose_value_is_no_base64_is_refused_in_upstreams_words():
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "not base64!"}}
    why = 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 3'
    with pytest.raises(BadRequest, match=why):
        decode_value(body, secret.RESOURCE)

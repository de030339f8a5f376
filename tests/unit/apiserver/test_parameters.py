from __future__ import annotations

import pytest

from api.errors import BadRequest
from apiserver.parameters import flag, integer


@pytest.mark.parametrize(("text", "wanted"), [("", True), ("x", True), ("1", True), ("0", False), ("False", False)])
def test_a_flag_is_set_by_being_there(text: str, wanted: bool) -> None:
    assert flag({"watch": text}, "watch") is wanted
    assert not flag({}, "watch")


def test_a_number_is_one_or_an_error() -> None:
    assert integer({}, "limit") is None
    assert (integer({"limit": "-5"}, "limit"), integer({"limit": "+5"}, "limit")) == (-5, 5)
    for text, why in (("", "invalid syntax"), ("1.5", "invalid syntax"), (str(2**63), "value out of range")):
        with pytest.raises(BadRequest, match=f'parsing "{text}": {why}'):
            integer({"limit": text}, "limit")

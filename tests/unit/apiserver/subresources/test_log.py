from __future__ import annotations

import pytest

from api.errors import BadRequest, Invalid
from apiserver.subresources.log import log_options


def test_a_flag_is_set_by_being_there() -> None:
    asked = {"follow": "", "previous": "perhaps", "timestamps": "False", "tailLines": "+5"}
    assert log_options("web", asked) == {"follow": "true", "previous": "true", "tailLines": "5"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"sinceSeconds": "0", "sinceTime": "2024-01-01T00:00:00Z"},
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ({"stream": "Stdout"}, "stream: Forbidden: may not be specified"),
        (
            {"stream": "All", "limitBytes": "0"},
            "[limitBytes: Invalid value: 0: must be greater than 0, stream: Forbidden: may not be specified]",
        ),
    ],
)
def test_what_is_out_of_range_is_refused_whole(asked: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        log_options("web", asked)
    assert caught.value.message == f'PodLogOptions "web" is invalid: {said}'


def test_what_is_no_number_is_a_bad_request() -> None:
    with pytest.raises(BadRequest, match='strconv.ParseInt: parsing "x": invalid syntax'):
        log_options("web", {"tailLines": "x"})

from __future__ import annotations

import pytest

from api.errors import Unauthorized
from apiserver.app import Api
from apiserver.request import Credentials


async def test_who_shows_a_token_that_is_none_is_refused_even_where_nobody_need_say_who_asks(api: Api) -> None:
    await api.refuse_wrong_token(Credentials(), "/livez")
    with pytest.raises(Unauthorized):
        await api.refuse_wrong_token(Credentials(token="none"), "/livez")

from __future__ import annotations

from typing import Any

import pytest

from api.errors import ServiceUnavailable
from apiserver.app import Api
from apiserver.dispatch import Dispatcher
from apiserver.registry.failures import Redefined
from apiserver.request import Call, RequestInfo


class Redefining(Dispatcher):
    """Finds the definition replaced so many times."""

    def __init__(self, api: Api, times: int) -> None:
        super().__init__(api.context, {})
        self.left = times

    async def _do(self, call: Call) -> Any:
        if self.left:
            self.left -= 1
            raise Redefined("replaced")
        return "done"


async def test_what_was_asked_of_a_former_definition_is_asked_again_but_not_for_ever(api: Api) -> None:
    call = Call(RequestInfo("list", "/", "example.org", "v1", "things"))
    assert await Redefining(api, 3)(call) == "done"
    with pytest.raises(ServiceUnavailable, match="the definition of things changes too often"):
        await Redefining(api, 10**9)(call)

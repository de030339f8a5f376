"""How many watches and other streams one user may hold open: each costs memory for as long as it lasts."""

from __future__ import annotations

from typing import Any, Final

from api.errors import TooManyRequests
from apiserver.filters.timeout import is_stream
from apiserver.request import Call, Handler

STREAMS_MAX: Final = 20_000
RETRY_AFTER_S: Final = 5


def with_watch_limit(then: Handler, limit: int = STREAMS_MAX) -> Handler:
    """Return `then`, refusing a user's streams beyond `limit`."""
    held: dict[str, int] = {}

    async def handle(call: Call) -> Any:
        if call.info.verb != "watch" and not is_stream(call):
            return await then(call)
        user = call.user.name
        if held.get(user, 0) >= limit:
            raise TooManyRequests(
                f'too many watches: user "{user}" holds {limit} open, and that is the limit',
                retry_after_s=RETRY_AFTER_S,
            )

        def release() -> None:
            held[user] -= 1
            if not held[user]:
                del held[user]

        held[user] = held.get(user, 0) + 1
        try:
            answer = await then(call)
        except BaseException:
            release()
            raise
        call.on_finish.append(release)
        return answer

    return handle

"""Outermost: whatever goes wrong becomes an `ApiError`, so that a client always gets a Status."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from api.errors import ApiError, BadRequest, InternalError, ServiceUnavailable
from apiserver.request import Call, Handler
from store.client import Refused, Unavailable

log = logging.getLogger(__name__)


def with_failure(then: Handler, store_problem: Callable[[], str | None]) -> Handler:
    """Return `then`, raising nothing but ApiError (and CancelledError).

    `store_problem` says what is known to be wrong with the store, which tells more than one request's failure.
    """

    async def handle(call: Call) -> Any:
        try:
            return await then(call)
        except ServiceUnavailable as error:
            why = store_problem()
            if why is None or why in str(error):
                raise
            raise ServiceUnavailable(f"{why}; {error}", retry_after_s=1) from error
        except ApiError:
            raise
        except (Unavailable, Refused) as error:
            why = store_problem() or f"the store cannot answer now: {error}"
            raise ServiceUnavailable(why, retry_after_s=1) from error
        except RecursionError as error:
            raise BadRequest("the request nests too deeply to be followed") from error
        except Exception as error:
            log.exception("a request failed", extra={"verb": call.info.verb, "path": call.info.path})
            raise InternalError(
                f"an error on the server has prevented the request from succeeding: {type(error).__name__}"
            ) from error

    return handle

"""How an error travels: the RPC's status code, and Kubernetes' Status as JSON in a trailer."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio
import msgspec

from api.errors import ApiError

TRAILER: Final = "steersman-status-bin"

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    409: grpc.StatusCode.ABORTED,
    410: grpc.StatusCode.OUT_OF_RANGE,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def encode(error: ApiError) -> bytes:
    """Return an error's Status as JSON."""
    return msgspec.json.encode(error.status())


async def abort(context: grpc.aio.ServicerContext[object, object], error: ApiError) -> None:
    """End a call with `error`."""
    code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
    await context.abort(code, error.message[:1024], trailing_metadata=((TRAILER, encode(error)),))

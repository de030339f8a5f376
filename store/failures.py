"""From what gRPC says of a call to the errors of the store's face: the one table of this edge."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from store.face import Refused, Unavailable
from store.mvcc.revision import Compacted, FutureRevision

CODES = {code.value[0]: code for code in grpc.StatusCode}
_UNKNOWN_OUTCOME = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.ABORTED,
}


def error_of(code: grpc.StatusCode, message: str, compact_revision: int = 0) -> Exception:
    """Return our exception for a status: the one table of this edge."""
    if code == grpc.StatusCode.OUT_OF_RANGE and "compacted" in message:
        return Compacted(compact_revision)
    if code == grpc.StatusCode.OUT_OF_RANGE and "future revision" in message:
        return FutureRevision(0, 0)
    if code in _UNKNOWN_OUTCOME:
        return Unavailable(f"{code.name}: {message}")
    return Refused(code.name, message)


def is_own_cancellation() -> bool:
    """Whether it is the running task that was cancelled, and not only a call that it waits for.

    A call that was cancelled raises the same exception, also where its connection broke at that moment and its status
    says so: taking it for the task's own would end whoever follows the store, without a word.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def serialize(message: Any) -> bytes:
    """Return a message as it travels; bytes that are one already stay as they are."""
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())

"""Batches of small writes (leases, pod status, events): done side by side, answered in order."""

from __future__ import annotations

import asyncio
from typing import Final

from api.errors import ApiError, BadRequest
from apiserver.app import Api
from apiserver.grpc import calls, status
from apiserver.request import Answer, Call, Credentials
from proto.steersman.v1 import resources_pb2 as pb

BATCHES_IN_FLIGHT_MAX: Final = 64
"""A client that sends more is read no further until results are taken."""


async def apply(api: Api, batch: pb.WriteBatch, credentials: Credentials, remote: str) -> pb.WriteResults:
    """Do every write of a batch; one result each, in the same order. A write that fails fails alone."""
    results = await asyncio.gather(*(_apply_one(api, write, credentials, remote) for write in batch.writes))
    return pb.WriteResults(results=results)


async def _apply_one(api: Api, write: pb.Write, credentials: Credentials, remote: str) -> pb.WriteResult:
    try:
        call = _call_of(write, credentials)
        call.remote = remote
        answer: Answer = await api.handle(call)
    except ApiError as error:
        return pb.WriteResult(status=status.encode(error))
    return pb.WriteResult(object=pb.Object(json=answer.json, resource_version=answer.resource_version))


def _call_of(write: pb.Write, credentials: Credentials) -> Call:
    match write.WhichOneof("write"):
        case "create":
            return calls.create_call(write.create, credentials)
        case "update":
            return calls.update_call(write.update, credentials)
        case "patch":
            return calls.patch_call(write.patch, credentials)
        case "delete":
            return calls.delete_call(write.delete, credentials)
    raise BadRequest("a write that this server does not know")

"""Errors of gRPC in the words of Go's, which people find in events. Pure."""

from __future__ import annotations

import grpc


def rpc_error(code: grpc.StatusCode, description: str | None) -> str:
    """Return an error as Go's gRPC prints it: `rpc error: code = NotFound desc = no such image`."""
    name = "".join(word.capitalize() for word in code.name.split("_"))
    return f"rpc error: code = {name} desc = {description}"

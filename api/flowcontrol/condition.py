"""The condition that FlowSchemas and their levels have; no field of it is required."""

from __future__ import annotations

from typing import Annotated

from api.schema import Struct, Time, wire


class FlowControlCondition(Struct):
    """One question about an object (`type`), its answer, and since when."""

    type: Annotated[str, wire(1)] = ""
    status: Annotated[str, wire(2)] = ""
    last_transition_time: Annotated[Time, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""

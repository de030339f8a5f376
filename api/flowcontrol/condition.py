"""The condition that FlowSchemas and their levels have; no field of it is required."""

from __future__ import annotations

from typing import Annotated

from api.schema import Struct, Time, wire


class FlowControlCondition(Struct):
    """One question about an object (`type`), its answer, and since when.

    Attributes:
        type: The question, in CamelCase, such as Dangling; an object has at most one condition of a type.
        status: The answer: True, False or Unknown.
        last_transition_time: When status last changed from one answer to another.
        reason: Why the answer is what it is, as one CamelCase word for programs.
        message: The same for people, as a sentence; may be empty.
    """

    type: Annotated[str, wire(1)] = ""
    status: Annotated[str, wire(2)] = ""
    last_transition_time: Annotated[Time, wire(3)] = ""
    reason: Annotated[str, wire(4)] = ""
    message: Annotated[str, wire(5)] = ""

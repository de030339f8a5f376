"""ComponentStatus: how a part of the control plane is; long deprecated, and read only: made when it is asked for."""

from __future__ import annotations

from typing import Annotated, Final

from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class ComponentCondition(Struct):
    """One question about a component (`type`), and its answer.

    Attributes:
        type: The question; Healthy is the only one.
        status: The answer: True, False or Unknown.
        message: What the component said.
        error: What went wrong when it was asked.
    """

    type: Annotated[str, wire(1, required=True)] = always("")
    status: Annotated[str, wire(2, required=True)] = always("")
    message: Annotated[str, wire(3)] = ""
    error: Annotated[str, wire(4)] = ""


class ComponentStatus(Struct):
    """How a part of the control plane is. Deprecated: ask its /livez and /readyz instead.

    Attributes:
        conditions: What was found.
    """

    api_version: str = always("v1")
    kind: str = always("ComponentStatus")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    conditions: Annotated[
        list[ComponentCondition], wire(2, merge_key="type", list_type="map", list_keys=("type",))
    ] = []


def _condition(component: ComponentStatus) -> ComponentCondition:
    for condition in component.conditions:
        if condition.type == "Healthy":
            return condition
    return ComponentCondition()


def _status(component: ComponentStatus, now: float) -> str:
    status = _condition(component).status
    return {"True": "Healthy", "False": "Unhealthy"}.get(status, "Unknown")


RESOURCE: Final[Resource[ComponentStatus]] = Resource(
    type=ComponentStatus,
    group="",
    version="v1",
    kind="ComponentStatus",
    plural="componentstatuses",
    namespaced=False,
    short_names=("cs",),
    verbs=("get", "list"),
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
    columns=(
        Column("Status", "string", _status, "Healthy, Unhealthy or Unknown."),
        Column("Message", "string", lambda component, now: _condition(component).message, "What it says."),
        Column("Error", "string", lambda component, now: _condition(component).error, "What went wrong."),
    ),
)

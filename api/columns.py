"""Columns and cells that several kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from api import timestamps
from api.meta import LabelSelector
from api.resource import Column
from api.selectors import of_label_selector

NONE: Final = "<none>"

AGE: Final[Column[Any]] = Column(
    "Age",
    "string",
    lambda obj, now: timestamps.age(obj.metadata.creation_timestamp, now),
    "How long ago the object was created.",
)
CREATED_AT: Final[Column[Any]] = Column(
    "Created At",
    "date",
    lambda obj, now: obj.metadata.creation_timestamp or None,
    "When the object was created.",
)


def joined(values: Iterable[str], *, limit: int | None = None) -> str:
    """Return values joined by commas, `<none>` if there are none; beyond `limit` just how many more."""
    listed = list(values)
    if not listed:
        return NONE
    if limit is not None and len(listed) > limit:
        return f"{','.join(listed[:limit])} + {len(listed) - limit} more..."
    return ",".join(listed)


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as a selector would name them."""
    return joined(f"{key}={value}" for key, value in sorted(labels.items()))


def selector_text(selector: LabelSelector | None) -> str:
    """Return a LabelSelector as kubectl takes it on the command line."""
    return str(of_label_selector(selector)) or NONE


def workload_columns(
    spec_of: Callable[[Any], Any] = lambda obj: obj.spec, selector: Callable[[Any], str] = selector_text
) -> tuple[Column[Any], ...]:
    """Return the wide columns of what has a pod template and a selector: `spec_of` says where, `selector` shows it."""

    def containers(obj: Any) -> Sequence[Any]:
        template = spec_of(obj).template
        return template.spec.containers if template is not None else ()

    return (
        Column(
            "Containers",
            "string",
            lambda obj, now: joined(container.name for container in containers(obj)),
            "The names of the containers in the template.",
            priority=1,
        ),
        Column(
            "Images",
            "string",
            lambda obj, now: joined(container.image for container in containers(obj)),
            "The images of the containers in the template.",
            priority=1,
        ),
        Column(
            "Selector",
            "string",
            lambda obj, now: selector(spec_of(obj).selector),
            "Which pods belong to this.",
            priority=1,
        ),
    )


def replica_columns(selector: Callable[[Any], str] = selector_text) -> tuple[Column[Any], ...]:
    """Return the columns of what keeps so many pods of one template."""
    return (
        Column("Desired", "integer", lambda obj, now: obj.spec.replicas or 0, "How many pods there should be."),
        Column("Current", "integer", lambda obj, now: obj.status.replicas, "How many pods there are."),
        Column("Ready", "integer", lambda obj, now: obj.status.ready_replicas, "How many of them are ready."),
        AGE,
        *workload_columns(selector=selector),
    )

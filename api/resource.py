"""How a resource declares itself: one `Resource` a file, found by `api.discover`.

A declaration names the type, how it is addressed, and the pure functions that make it behave: defaults,
validation, what create and update may change, columns of `kubectl get`, and fields that can be selected. The
server derives every verb from it; clients use it as the handle of a kind: `client.list(PODS)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NewType, TypeVar

from api import names
from api.schema import Struct

T = TypeVar("T", bound=Struct)

UID = NewType("UID", str)
NodeName = NewType("NodeName", str)
ResourceVersion = NewType("ResourceVersion", str)
"""Opaque to clients, but for comparing two of the same resource as integers (KEP-5504)."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Which object of a kind; `namespace` is empty for cluster-scoped kinds."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rule broken by an object: rendered as `path: text` under its cause reason.

    `reason` is one of upstream's: FieldValueRequired, FieldValueInvalid, FieldValueNotSupported,
    FieldValueForbidden, FieldValueDuplicate, FieldValueTooLong, FieldValueTooMany, FieldValueNotFound,
    FieldValueTypeInvalid. Build them with the functions of `api.validation`, which word them alike.
    """

    path: str
    reason: str
    message: str
    """The whole text after `path: `, for example `Required value: must be set`."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a `kubectl get` table."""

    name: str
    type: str
    """OpenAPI's: string, integer, number, boolean, date."""
    cell: Callable[[T, float], Any]
    """From the object and the present time (seconds since the epoch) to a JSON scalar."""
    description: str = ""
    format: str = ""
    priority: int = 0
    """0 is always shown; 1 only with `-o wide`."""


def nothing_to_default(obj: Any) -> None:
    """Default nothing."""


def always_valid(new: Any, old: Any) -> Iterable[FieldError]:
    """Find nothing wrong."""
    return ()


def warn_of_nothing(new: Any, old: Any) -> Iterable[str]:
    """Have nothing to warn of."""
    return ()


def drop_nothing(new: Any, old: Any) -> None:
    """Know no field that is dropped."""


def keep_nothing(obj: Any) -> None:
    """Prepare nothing for create."""


def keep_nothing_of_old(new: Any, old: Any) -> None:
    """Prepare nothing for update."""


def clear_status(obj: Any) -> None:
    """Begin with nothing observed."""
    obj.status = type(obj.status)()


def keep_status(new: Any, old: Any) -> None:
    """Keep what was observed."""
    new.status = old.status


def keep_wishes(new: Any, old: Any) -> None:
    """Keep everything but the status, and the metadata that came with it."""
    for name in new.__struct_fields__:
        if name not in ("metadata", "status"):
            setattr(new, name, getattr(old, name))


def keep_all_but_status(new: Any, old: Any) -> None:
    """Keep everything but the status, metadata too."""
    keep_wishes(new, old)
    new.metadata = old.metadata


@dataclass(frozen=True, slots=True)
class Storage(Generic[T]):
    """How a version that is served, but not stored, becomes the stored one and comes back from it.

    Both functions return a new object, which may share parts with the old one, and together they lose nothing: what
    one version cannot say, it carries in an annotation. Neither defaults anything.
    """

    resource: Resource[Any]
    """The stored version of the same objects."""
    from_stored: Callable[[Any], T]
    to_stored: Callable[[T], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource(Generic[T]):
    """A kind, as the API serves it."""

    type: type[T]
    group: str
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    singular: str = ""
    list_kind: str = ""
    """The kind of lists, where it is not the kind's name and List; `lists` says it for every kind."""
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = (
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    )
    """A kind that is only asked questions of (SelfSubjectAccessReview) has just ("create",)."""
    check_name: Callable[[str], list[str]] = names.check_subdomain
    """Says what is wrong with a name; most kinds take a DNS subdomain, as they may end up in a host name."""
    subresources: tuple[str, ...] = ()
    """Such as "status", "scale", "binding", "log", "exec": served beside the object."""
    default: Callable[[T], None] = nothing_to_default
    """Fill in upstream's defaults, in place, after decoding a create, update or patch result. Idempotent."""
    validate: Callable[[T, T | None], Iterable[FieldError]] = always_valid
    """Say what is wrong with `new`; `old` is None on create. Metadata that every kind has is checked elsewhere."""
    warn: Callable[[T, T | None], Iterable[str]] = warn_of_nothing
    """Say what a client is warned of that writes `new`, which is valid; not on a subresource (KEP-1693)."""
    drop_gated: Callable[[T, T | None], None] = drop_nothing
    """Given (new, old or None), drop from `new` what 1.32 has behind feature gates that are off (decision 112)."""
    prepare_for_create: Callable[[T], None] = keep_nothing
    """Clear what a client may not set at create; where there is a status subresource, that is status by default."""
    prepare_for_update: Callable[[T, T], None] = keep_nothing_of_old
    """Given (new, old), put back in `new` what an update may not change silently; status by default, as above."""
    prepare_for_status_update: Callable[[T, T], None] = keep_wishes
    """Given (new, old) on the status subresource, put back all but status; most kinds take metadata along."""
    prepare_for_delete: Callable[[T], None] = keep_nothing
    """Given what is stored when its deletion is asked for, put on it what must hold it back (a finalizer)."""
    validate_status: Callable[[T, T], Iterable[FieldError]] = always_valid
    """What is wrong with `new` on a subresource that writes what was observed: status, and others of its like."""
    validate_subresource: Mapping[str, Callable[[T, T], Iterable[FieldError]]] = field(default_factory=dict)
    """In place of `validate_status`, by subresource, such as "approval"."""
    orphans_by_default: bool = False
    """Whether deleting with no propagation policy leaves what the object owns."""
    generation: bool = False
    """metadata.generation is 1 at create and grows when anything but metadata and status changes."""
    counts_annotations: bool = False
    """Whether metadata.generation also grows when annotations change, not on a subresource."""
    columns: Sequence[Column[T]] = ()
    """After Name, which is first unless it is among these; empty means Name and Age."""
    selectable_fields: Mapping[str, Callable[[T], str]] = field(default_factory=dict)
    """Beside metadata.name and metadata.namespace, e.g. {"spec.nodeName": lambda pod: pod.spec.node_name}."""
    graceful_period_s: Callable[[T, int | None], int | None] | None = None
    """Given (object, asked for): seconds of graceful deletion; None or absent deletes at once."""
    deprecation: str = ""
    """What everyone is told who uses this version (KEP-1693); a custom kind's is in its shape."""
    storage: Storage[T] | None = None
    """Set on a version that is not the stored one; the objects are those of `storage.resource`."""

    def __post_init__(self) -> None:
        if "status" in self.subresources:
            if self.prepare_for_create is keep_nothing:
                object.__setattr__(self, "prepare_for_create", clear_status)
            if self.prepare_for_update is keep_nothing_of_old:
                object.__setattr__(self, "prepare_for_update", keep_status)

    @property
    def api_version(self) -> str:
        """`v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def lists(self) -> str:
        """The kind of lists of this kind."""
        return self.list_kind or f"{self.kind}List"

    @property
    def stored_as(self) -> Resource[Any]:
        """The version in which objects of this kind lie in the store: usually this one."""
        return self.storage.resource if self.storage is not None else self

    @property
    def group_resource(self) -> str:
        """`pods`, `deployments.apps`: how messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def __str__(self) -> str:
        return self.group_resource

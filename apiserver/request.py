"""What passes along the chain: who asks, what is asked, and the protocols of those who judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from api.resource import Resource
from api.schema import Struct


@dataclass(frozen=True, slots=True)
class User:
    """Who is asking."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What is asked, in RBAC's terms; `path` alone counts when `plural` is empty."""

    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection; for paths, the HTTP method in lower case."""
    path: str = ""
    group: str = ""
    version: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an authorizer says; `reason` is for the Forbidden message and the audit log."""

    allowed: bool
    reason: str = ""


class Authorizer(Protocol):
    """Says whether a user may do what is asked. Pure but for the caches it reads."""

    def authorize(self, user: User, request: RequestInfo) -> Decision: ...


@dataclass(slots=True)
class AdmissionRequest:
    """A write on its way to the store, as admission plugins see it."""

    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    resource: Resource[Any]
    namespace: str
    name: str
    subresource: str
    user: User
    object: Struct | None
    """Decoded and defaulted; a mutating plugin changes it in place. None on DELETE."""
    old: Struct | None
    """What is stored now. None on CREATE."""
    options: Mapping[str, Any]
    dry_run: bool
    warnings: list[str]
    """Sentences for the client, sent as Warning headers."""


class AdmissionPlugin(Protocol):
    """One rule about writes; either method may do nothing.

    Both raise `api.errors.ApiError` (usually Forbidden or Invalid) to refuse. `admit` may change
    `request.object`; `validate` runs after all of them and after the kind's own validation.
    """

    async def admit(self, request: AdmissionRequest) -> None: ...
    async def validate(self, request: AdmissionRequest) -> None: ...

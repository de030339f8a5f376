"""What passes along the chain: who asks, what is asked, and the protocols of those who judge it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from api.rbac.rules import PolicyRule
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
    field_selector: str = ""
    """What a list, watch or deletecollection is restricted to, as it was sent."""
    label_selector: str = ""
    """The same by labels."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an authorizer says; `reason` is for the Forbidden message and the audit log."""

    allowed: bool
    reason: str = ""
    denied: bool = False
    """Whether nobody else need be asked: else who does not allow has no opinion."""
    error: str = ""
    """What went wrong while it was decided."""


NO_OPINION: Final = Decision(False)
Deciding = Decision | Awaitable[Decision]
"""A decision, or what gives it once somebody elsewhere has answered."""


class Authorizer(Protocol):
    """Says whether a user may do what is asked: at once where caches know, which is nearly always."""

    def authorize(self, user: User, request: RequestInfo) -> Deciding: ...


async def decided(deciding: Deciding) -> Decision:
    """Return the decision, when it has been made."""
    return deciding if isinstance(deciding, Decision) else await deciding


@runtime_checkable
class RuleSource(Protocol):
    """Lists what a user may do, as far as rules say it."""

    def rules_of(self, user: User, namespace: str = "") -> list[PolicyRule]:
        """Return every rule that `user` has cluster-wide, and in `namespace` if it is not empty."""
        ...

    def why_incomplete(self, user: User) -> str:
        """Return why rules do not say all that `user` may do; empty if they do."""
        ...


_WARNINGS_LENGTH: Final = 4096
"""How much may be said to a client in all before each warning is cut to `_WARNING_LENGTH`; both are upstream's."""
_WARNING_LENGTH: Final = 256


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
    annotations: dict[str, str] = field(default_factory=dict)
    """What is to stand in the audit log beside the request."""
    verb: str = ""
    """As RBAC names it: a patch is an UPDATE, too."""
    wants_another_round: bool = False
    """Set by a plugin that changes the object after others saw it: all of them are then asked once more."""
    is_reinvocation: bool = False
    """Whether this is that other round."""
    memory: dict[str, Any] = field(default_factory=dict)
    """What a plugin remembers from one round to the next, by its own name."""
    deadline: float = math.inf
    """When the request has to be answered, in the event loop's time: nobody who is asked need take longer."""
    excuse: Callable[[float], None] | None = None
    """Told how many seconds each webhook took: the service is not held to them."""

    def warn(self, text: str) -> None:
        """Tell the client something, once: a write that meets a newer object is admitted again.

        Whoever warns may be anybody's webhook: what would not fit into headers is cut off, then left out.
        """
        shown = "".join(letter if letter.isprintable() else " " for letter in text)
        said = sum(len(warning) + 1 for warning in self.warnings)
        if said + len(shown) > _WARNINGS_LENGTH:
            shown = shown[:_WARNING_LENGTH]
        if shown not in self.warnings and said + len(shown) <= _WARNINGS_LENGTH + _WARNING_LENGTH:
            self.warnings.append(shown)


@runtime_checkable
class Admits(Protocol):
    """A rule about writes that may change `request.object`, or put another in its place.

    It raises `api.errors.ApiError` (usually Forbidden or Invalid) to refuse.
    """

    async def admit(self, request: AdmissionRequest) -> None: ...


@runtime_checkable
class Judges(Protocol):
    """A rule about writes that runs after all that may change the object, and after the kind's own validation.

    It raises `api.errors.ApiError` (usually Forbidden or Invalid) to refuse.
    """

    async def validate(self, request: AdmissionRequest) -> None: ...


class AdmissionPlugin(Admits, Judges, Protocol):
    """A rule about writes, or many, that does both."""


@dataclass(slots=True)
class Notes:
    """What an authenticator has to say beside who it is."""

    warnings: list[str] = field(default_factory=list)
    """For the client."""
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log."""

    def take(self) -> Notes:
        """Return what has been noted, and forget it: the credentials may serve for more requests."""
        taken = Notes(self.warnings, self.annotations)
        self.warnings, self.annotations = [], {}
        return taken


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request shows of who sends it, before anyone believes it."""

    certificate: bytes = b""
    """DER of the client certificate, whose chain TLS has already verified; empty when none was shown."""
    token: str = ""
    """From `Authorization: Bearer`."""
    impersonate: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Impersonate-* headers by lower-case name."""
    remote: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """X-Remote-* headers by lower-case name: what a front proxy says of the user, if it is one."""
    notes: Notes = field(default_factory=Notes, compare=False)
    """Where authenticators leave a word."""


class Authenticator(Protocol):
    """Says who is asking."""

    async def authenticate(self, credentials: Credentials) -> User | None:
        """Return the user, or None when the credentials are of no kind that is known here.

        Raises:
            Unauthorized: they are of a known kind and wrong (a forged, expired or revoked token).
        """
        ...


@dataclass(slots=True)
class Call:
    """One request on its way through the chain, from either door.

    A door fills it in; the authentication filter sets `user`; verbs read it and append to `warnings`.
    """

    info: RequestInfo
    credentials: Credentials = field(default_factory=Credentials)
    user: User = ANONYMOUS
    resource: Resource[Any] | None = None
    """Found by group, version and plural; None for paths, and where there is no such resource."""
    body: bytes = b""
    read_body: Callable[[], Awaitable[bytes]] | None = None
    """Reads the body, where it has not come yet: it is taken in for those who may, when it is their turn."""
    content_type: str = ""
    """Of the body; empty means JSON."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The query's parameters by their names there: dryRun, fieldValidation, labelSelector, limit, ..."""
    warnings: list[str] = field(default_factory=list)
    """Sentences for the client, sent as Warning headers."""
    handler: Handler | None = None
    """What does the work at the end of the chain, where that is not the verb that `info` names."""
    remote: str = ""
    """The peer's address, for the audit log."""
    user_agent: str = ""
    target: str = ""
    """Path and query as they were sent: one parameter may stand there many times. Empty where that is not HTTP."""
    connection: Struct | None = None
    """What a connection is asked for, as admission left it; None for what is no connection."""
    annotations: dict[str, str] = field(default_factory=dict)
    """What is to stand in the audit log beside the request: what admission has to say of it; see `annotate`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """For the response, beside those that say what it is."""
    traceparent: str = ""
    """The step of the client that this request is part of, as W3C Trace Context writes it."""
    audit_id: str = ""
    """What the audit log knows the request by; the client may choose it."""
    deadline: float = math.inf
    """When it has to be answered, in the event loop's time."""
    excused_s: float = 0.0
    """Of the time that it took, what somebody's webhooks took, or what it waited for its turn."""
    answered_bytes: int = 0
    """Of an object or a list, as it is sent; noted by the door."""

    on_finish: list[Callable[[], None]] = field(default_factory=list)
    """What is to be done when its answer, which may go on for hours, is over; the door calls `finish`."""

    def finish(self) -> None:
        """Say that the answer is over; safe to call twice."""
        told, self.on_finish = self.on_finish, []
        for tell in told:
            tell()

    def excuse(self, seconds: float) -> None:
        """Take note of time that somebody else took."""
        self.excused_s += seconds

    def annotate(self, key: str, value: str) -> None:
        """Note something for the audit log, such as who decided and why; what was noted first under a key stays."""
        self.annotations.setdefault(key, value)

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return self.options.get("dryRun") == "All"


@dataclass(frozen=True, slots=True)
class Answer:
    """One object, as the verbs return it."""

    json: bytes
    """With metadata.resourceVersion in it."""
    resource_version: str = ""
    code: int = 200
    """201 when it was created."""
    object: Any = None
    """Decoded, where the verb had it at hand; shared, never to be changed."""


Handler = Callable[[Call], Awaitable[Any]]
"""What does the work at the end of the chain: a verb, a subresource, a document."""


class SubresourceHandler(Protocol):
    """One verb on one subresource, such as create on serviceaccounts/token."""

    async def __call__(self, call: Call) -> Answer: ...


Settle = Callable[[bool], Awaitable[None]]
"""Called when a write is over, with whether it happened: keeps what was reserved for it, or gives it back.

Not called when the outcome is not known; then a repair finds out later."""


class Reservation(Protocol):
    """Hands out something unique (a ClusterIP, a node port) while an object is written.

    Called after admission and before validation, on create and update, with what is about to be written; fills in
    `request.object` in place. On DELETE it is called when the object is gone, and what it returns with True at once.
    """

    async def reserve(self, request: AdmissionRequest) -> Settle: ...

"""Wiring: from a store, a clock and randomness to an API that answers calls; no sockets here.

    failure → audit → timeout → authentication → authorization → verb or subresource

`build` is what the process uses (`server.py` puts the two doors before it), and what a simulation uses with a store
in memory and virtual time: `api = build(LocalStore(), clock, random)`, `api.run()` as a task,
`await api.wait_ready()`, then `await api.handle(Call(...))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from api.core import namespace, pod, service, serviceaccount
from api.custom import is_custom
from api.discover import RESOURCES
from api.rbac import clusterrole, clusterrolebinding, role, rolebinding
from api.resource import ObjectKey, Resource
from api.scheduling import priorityclass
from apiserver.admission import chain as admission_chain
from apiserver.auth.certificates import CertificateAuthenticator
from apiserver.auth.chain import AuthenticationChain
from apiserver.auth.node import NodeAuthorizer
from apiserver.auth.rbac import RbacAuthorizer, RbacListers
from apiserver.auth.tokens import TokenAuthenticator, TokenIssuer
from apiserver.crd.caretaker import CaretakerAuthorizer
from apiserver.crd.controller import Definitions
from apiserver.crd.conversion import Locate
from apiserver.dispatch import Address, Dispatcher
from apiserver.filters.audit import with_audit
from apiserver.filters.authn import with_authentication
from apiserver.filters.authz import with_authorization
from apiserver.filters.failure import with_failure
from apiserver.filters.timeout import with_timeout
from apiserver.registry import compaction
from apiserver.registry.expiry import expire_events
from apiserver.registry.registries import Registries
from apiserver.request import Authenticator, Authorizer, Call, Credentials, Reservation, SubresourceHandler, User
from apiserver.store_health import StoreHealth
from apiserver.verbs.context import Context
from component.clock import Clock
from store.client import Store

Loop = Callable[[], Awaitable[None]]
"""A duty of the server beside requests, run until cancelled."""


@dataclass(frozen=True, slots=True)
class InternalCredentials(Credentials):
    """Credentials that only this process can make: the user is believed as it stands."""

    user: User | None = None


class _Internal:
    """Believes `InternalCredentials`, before any other authenticator is asked."""

    def __init__(self, then: Authenticator) -> None:
        self._then = then

    async def authenticate(self, credentials: Credentials) -> User | None:
        if isinstance(credentials, InternalCredentials):
            return credentials.user
        return await self._then.authenticate(credentials)


class Api:
    """The API, ready to be asked. `run` must be running."""

    def __init__(
        self,
        context: Context,
        authorizer: Authorizer,
        handler: Any,
        loops: Sequence[Loop],
        definitions: Definitions,
        store_health: StoreHealth,
    ) -> None:
        self.context = context
        self.store_health = store_health
        self._definitions = definitions
        self.registries = context.registries
        self.authorizer = authorizer
        self._handler = handler
        self._loops = loops

    async def handle(self, call: Call) -> Any:
        """Answer a call: an `Answer`, a `ListAnswer`, a `Watcher`, or what `call.handler` returns.

        Raises:
            ApiError: and nothing else.
        """
        if call.resource is None and call.info.plural:
            # The doors know only the kinds that are built in.
            info = call.info
            call.resource = self.registries.kinds.by_gvr(info.group, info.version, info.plural)
        if call.resource is not None and is_custom(call.resource.type) and call.resource.type.shape.deprecation:
            call.warnings.append(call.resource.type.shape.deprecation)
        return await self._handler(call)

    async def run(self) -> None:
        """Keep the caches and do the server's other duties until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.registries.run(), name="caches")
            for loop in self._loops:
                tasks.create_task(_run(loop), name=getattr(loop, "__qualname__", "duty"))

    async def wait_ready(self) -> None:
        """Return once every cache has been filled, and every kind that users have defined is served."""
        await self.registries.wait_ready()
        await self._definitions.wait_ready()


def _cluster_ip_of(registries: Registries) -> Locate:
    """Return what finds the address of a Service's port, for webhooks."""
    services = registries.lister(service.RESOURCE)

    def locate(namespace: str, name: str, port: int) -> tuple[str, int] | None:
        found = services.get(ObjectKey(namespace, name))
        if found is None or found.spec.cluster_ip in ("", "None"):
            return None
        return (found.spec.cluster_ip, port) if any(each.port == port for each in found.spec.ports) else None

    return locate


async def _run(loop: Loop) -> None:
    await loop()


def build(
    store: Store,
    clock: Clock,
    random: Random,
    *,
    resources: Sequence[Resource[Any]] = RESOURCES,
    issuer: TokenIssuer | None = None,
    handlers: Callable[[Context, Authorizer], Mapping[Address, SubresourceHandler]] | None = None,
    reservations: Callable[[Registries], Mapping[Resource[Any], Reservation]] | None = None,
    toleration_s: int = 300,
    has_audit: bool = False,
) -> Api:
    """Assemble an API over `store`.

    Args:
        store: where objects live.
        clock: for timestamps, waits and periodic work.
        random: for uids and generated names. Only a cryptographic source makes uids unguessable.
        resources: the kinds to serve.
        issuer: whose service-account tokens to believe; none without it.
        handlers: makes the subresource handlers that need more than the verbs' context.
        reservations: makes what hands out unique values, by kind.
        toleration_s: how long pods stay on a lost node when they don't say.
        has_audit: whether to log a line for each request.
    """
    registries = Registries(store, clock, random, resources)
    rbac_kinds = (role.RESOURCE, rolebinding.RESOURCE, clusterrole.RESOURCE, clusterrolebinding.RESOURCE)
    roles, role_bindings, cluster_roles, cluster_role_bindings = (registries.lister(kind) for kind in rbac_kinds)
    rbac = RbacAuthorizer(
        RbacListers(roles, role_bindings, cluster_roles, cluster_role_bindings),
        lambda: registries.changed_at(*rbac_kinds),
    )
    authorizer = NodeAuthorizer(registries.lister(pod.RESOURCE), CaretakerAuthorizer(registries.kinds, rbac))
    admission = admission_chain.build(
        namespaces=registries.lister(namespace.RESOURCE),
        service_accounts=registries.lister(serviceaccount.RESOURCE),
        priority_classes=registries.lister(priorityclass.RESOURCE),
        read=registries.read,
        authorizer=rbac,
        random=random,
        toleration_s=toleration_s,
    )
    authenticators: list[Authenticator] = [CertificateAuthenticator()]
    if issuer is not None:
        authenticators.append(TokenAuthenticator(issuer, registries.read, clock))
    authenticator = _Internal(AuthenticationChain(authenticators))
    reserving = reservations(registries) if reservations else {}
    context = Context(registries, admission, clock, random, reserving, authorizer)
    handler: Any = Dispatcher(context, handlers(context, authorizer) if handlers else {})
    handler = with_authorization(handler, authorizer)
    handler = with_authentication(handler, authenticator, authorizer)
    handler = with_timeout(handler)
    if has_audit:
        handler = with_audit(handler, clock)
    store_health = StoreHealth(store, clock, registries)
    handler = with_failure(handler, store_health.check)

    async def compact() -> None:
        await compaction.run(store, clock)

    definitions = Definitions(context, _cluster_ip_of(registries))

    async def expire() -> None:
        await expire_events(registries, store, clock)

    loops = (compact, expire, definitions.run, store_health.run)
    return Api(context, authorizer, handler, loops, definitions, store_health)

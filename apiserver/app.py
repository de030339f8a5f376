"""Wiring: from a store, a clock and randomness to an API that answers calls; no sockets here.

    metrics → failure → authentication → audit → timeout → impersonation → flow control → authorization
        → verb or subresource

`build` is what the process uses (`server.py` puts the two doors before it), and what a simulation uses with a store
in memory and virtual time: `api = build(LocalStore(), clock, random)`, `api.run()` as a task,
`await api.wait_ready()`, then `await api.handle(Call(...))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final

import aiohttp

from api.core import persistentvolume, pod, resourcequota, service
from api.custom import is_custom
from api.discover import RESOURCES
from api.discovery import endpointslice
from api.errors import ApiError, ServiceUnavailable, Unauthorized
from api.rbac import clusterrole, clusterrolebinding, role, rolebinding
from api.resource import Resource
from api.storage import volumeattachment
from apiserver.admission import chain as admission_chain
from apiserver.admission import dynamic
from apiserver.admission.configuration import AdmissionSettings
from apiserver.admission.image_policy_webhook import ImagePolicyWebhook
from apiserver.admission.metered import MeteredAdmission
from apiserver.admission.policies.type_check import TypeChecks
from apiserver.auth.authorization import Flags
from apiserver.auth.authorizing import DEFAULT_MODES, Authorizing
from apiserver.auth.certificates import CertificateAuthenticator
from apiserver.auth.chain import AuthenticationChain
from apiserver.auth.node import NodeAuthorizer
from apiserver.auth.rbac import RbacAuthorizer, RbacListers
from apiserver.auth.tokens import TokenAuthenticator, TokenIssuer
from apiserver.bootstrap import create_if_missing
from apiserver.crd.caretaker import CaretakerAuthorizer
from apiserver.crd.controller import Definitions
from apiserver.dispatch import Address, Dispatcher
from apiserver.evaluating import Evaluating
from apiserver.filters.audit import Auditor, with_lines
from apiserver.filters.authn import MayBeAnonymous, anybody, with_authentication, with_impersonation
from apiserver.filters.authz import with_authorization
from apiserver.filters.failure import with_failure
from apiserver.filters.flow_control import wake, widths, with_flow_control
from apiserver.filters.metrics import with_metrics
from apiserver.filters.timeout import with_timeout
from apiserver.filters.tracing import with_tracing
from apiserver.filters.watch_limit import STREAMS_MAX, with_watch_limit
from apiserver.flowcontrol.dump import dump
from apiserver.flowcontrol.levels import FlowControl
from apiserver.flowcontrol.upkeep import Upkeep
from apiserver.metrics import ApiMetrics
from apiserver.registry import compaction
from apiserver.registry.expiry import expire_events
from apiserver.registry.metered import MeteredStore
from apiserver.registry.prompt import PromptStore
from apiserver.registry.registries import Registries
from apiserver.request import Authenticator, Authorizer, Call, Credentials, Reservation, SubresourceHandler, User
from apiserver.store_health import StoreHealth
from apiserver.verbs.context import Context
from apiserver.webhooks.client import WebhookClient, WebhookClients
from apiserver.webhooks.identities import Identities
from apiserver.webhooks.services import ServiceLocator
from component.clock import Clock
from component.metrics import render
from component.supervise import keep_going
from store.client import Refused, Store, Unavailable

SEATS: Final = 600
"""Upstream's 400 requests that read, and 200 that write."""
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
        webhooks: WebhookClients,
        flow_control: FlowControl,
        metrics: ApiMetrics,
        store_health: StoreHealth,
        auditor: Auditor | None = None,
        authenticator: Authenticator | None = None,
        may_be_anonymous: MayBeAnonymous = anybody,
    ) -> None:
        self._may_be_anonymous = may_be_anonymous
        self._authenticator = authenticator
        self.auditor = auditor
        self.metrics = metrics
        self.context = context
        self.flow_control = flow_control
        self._webhooks = webhooks
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
        if call.resource is not None:
            kind = call.resource
            deprecation = kind.type.shape.deprecation if is_custom(kind.type) else kind.deprecation
            if deprecation:
                call.warnings.append(deprecation)
        return await self._handler(call)

    async def refuse_wrong_token(self, credentials: Credentials, path: str) -> None:
        """Refuse who shows a token that is known to be none, where it does not matter who asks.

        Raises:
            Unauthorized: it is; whoever shows nothing is let in, and so is whom nothing can be found out about now.
        """
        if not (credentials.token or credentials.certificate or self._may_be_anonymous(path)):
            raise Unauthorized("Unauthorized")
        if credentials.token and self._authenticator is not None:
            try:
                await self._authenticator.authenticate(credentials)
            except Unauthorized:
                raise
            except (ApiError, Unavailable, Refused, OSError):
                return

    def scrape(self) -> bytes:
        """Return the metrics as they are now."""
        families = [*self.metrics.families(self.registries, self.flow_control, self.store_health.size_bytes)]
        return render([*families, *(self.auditor.families() if self.auditor is not None else ())])

    def dump(self, name: str, query: Mapping[str, str]) -> str | None:
        """Return a table of what priority and fairness holds back now; None when there is none of that name."""
        clock = self.context.clock
        return dump(self.flow_control, name, query, clock.monotonic(), clock.now())

    async def run(self) -> None:
        """Keep the caches and do the server's other duties until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.registries.run(), name="caches")
                for loop in self._loops:
                    name = getattr(loop, "__qualname__", "duty")
                    tasks.create_task(keep_going(name, loop, self.context.clock), name=name)
        finally:
            await self._webhooks.close()

    async def wait_ready(self) -> None:
        """Return once every cache has been filled, and every kind that users have defined is served."""
        await self.registries.wait_ready()
        await self._definitions.wait_ready()


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
    seats: int = SEATS,
    auditor: Auditor | None = None,
    streams_max: int = STREAMS_MAX,
    connector: Callable[..., aiohttp.TCPConnector] = aiohttp.TCPConnector,
    authenticators: Callable[[Registries], list[Authenticator]] | None = None,
    may_be_anonymous: MayBeAnonymous = anybody,
    admission_settings: AdmissionSettings | None = None,
    authorizing: Authorizing | None = None,
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
        seats: how many requests may run at once, shared out by priority.
        auditor: writes the audit log; there is none without it.
        streams_max: how many watches and other streams one user may hold open.
        connector: makes what opens connections to webhooks.
        authenticators: whom to believe, first to last; client certificates and `issuer`'s tokens without it.
        may_be_anonymous: whether a request for a path need not say who sends it.
        admission_settings: what single admission plugins are told.
        authorizing: who is asked what users may do; the nodes' rules and RBAC without it.
    """
    metrics = ApiMetrics()
    store = MeteredStore(store, metrics.store, metrics.store_requests, metrics.store_errors, clock.monotonic)
    store_health = StoreHealth(store, clock)
    store = prompt = PromptStore(store, store_health.check)
    registries = Registries(store, clock, random, resources)
    rbac_kinds = (role.RESOURCE, rolebinding.RESOURCE, clusterrole.RESOURCE, clusterrolebinding.RESOURCE)
    roles, role_bindings, cluster_roles, cluster_role_bindings = (registries.lister(kind) for kind in rbac_kinds)
    rbac = RbacAuthorizer(
        RbacListers(roles, role_bindings, cluster_roles, cluster_role_bindings),
        lambda: registries.changed_at(*rbac_kinds),
    )
    pods, volumes = registries.lister(pod.RESOURCE), registries.lister(persistentvolume.RESOURCE)
    attachments = registries.lister(volumeattachment.RESOURCE)
    own: Mapping[str, Authorizer] = {
        "Node": NodeAuthorizer(pods, volumes, attachments),
        "RBAC": CaretakerAuthorizer(registries.kinds, rbac),
    }
    authorizing = authorizing or Authorizing.by_flags(Flags(DEFAULT_MODES), clock)
    authorizer = authorizing.build(own, metrics.authorization)
    evaluating = Evaluating()
    quotas = registries.of(resourcequota.RESOURCE)
    services, slices = registries.lister(service.RESOURCE), registries.lister(endpointslice.RESOURCE)
    locator = ServiceLocator(services, slices, random)

    def webhook_client(identities: Identities | None = None) -> WebhookClient:
        return WebhookClient(locator, connector, identities)

    told = admission_settings or AdmissionSettings()
    images = ImagePolicyWebhook(told.image_policy, clock) if told.image_policy is not None else None
    webhooks = WebhookClients(
        webhook_client(told.mutating),
        webhook_client(told.validating),
        webhook_client(),
        (images.client,) if images is not None else (),
    )
    admission = admission_chain.build(
        lister=registries.lister,
        read=registries.read,
        rewrite_quota=quotas.write,
        rbac=rbac,
        authorizer=authorizer,
        clock=clock,
        random=random,
        toleration_s=toleration_s,
        dynamic=dynamic.build(registries, webhooks, authorizer, random, clock, metrics.admission, evaluating),
        durations=metrics.admission.plugins,
        settings=told,
        ensure=partial(create_if_missing, registries),
        kinds=registries.kinds,
        images=images,
    )
    believed: list[Authenticator] = [CertificateAuthenticator()]
    if authenticators is not None:
        believed = authenticators(registries)
    elif issuer is not None:
        believed.append(TokenAuthenticator(issuer, registries.read, clock))
    authenticator = _Internal(AuthenticationChain(believed))
    reserving = reservations(registries) if reservations else {}
    metered = MeteredAdmission(admission, metrics.admission_steps, clock)
    context = Context(registries, metered, clock, random, reserving, evaluating, authorizer)
    handler: Any = Dispatcher(context, handlers(context, authorizer) if handlers else {})
    control = FlowControl(seats, clock.monotonic())
    upkeep = Upkeep(control, registries, clock, wake)
    handler = with_authorization(with_watch_limit(handler, streams_max), authorizer, metrics.authorization_durations)
    handler = with_flow_control(handler, control, clock, upkeep.refresh, widths(registries))
    handler = with_impersonation(handler, authorizer)

    def store_changed(problem: str | None) -> None:
        if problem is not None:
            prompt.give_up()
            registries.end_watches(ServiceUnavailable(problem, retry_after_s=1))

    store_health.tell(store_changed)
    handler = with_failure(with_timeout(handler), store_health.check)
    if auditor is not None:
        handler = auditor.wrap(handler)
    handler = with_authentication(
        handler,
        authenticator,
        metrics.authentication_durations,
        auditor.tell_unauthenticated if auditor else None,
        may_be_anonymous,
    )
    if has_audit:
        handler = with_lines(handler, clock)
    handler = with_tracing(with_metrics(with_failure(handler, store_health.check), metrics, clock))

    async def compact() -> None:
        await compaction.run(store, clock)

    definitions = Definitions(context, webhooks.converting)

    async def expire() -> None:
        await expire_events(registries, store, clock)

    type_checks = TypeChecks(registries, clock)
    loops = (compact, expire, definitions.run, type_checks.run, upkeep.keep, upkeep.adjust, store_health.run)
    return Api(
        context,
        authorizer,
        handler,
        loops,
        definitions,
        webhooks,
        control,
        metrics,
        store_health,
        auditor,
        authenticator,
        may_be_anonymous,
    )

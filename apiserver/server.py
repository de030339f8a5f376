"""The process: settings to a running API server, in dependency order.

    store client → api (caches, verbs, chain) → documents → REST listener, gRPC listener

Ready means that every cache is filled and the cluster's own objects are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final, Literal

from api.core import service
from api.errors import ApiError
from api.resource import ObjectKey
from apiserver import app, bootstrap
from apiserver.admission import configuration
from apiserver.admission.configuration import AdmissionSettings
from apiserver.admission.plugin_names import choose
from apiserver.allocators.repair import AllocationRepair
from apiserver.allocators.reservation import ServiceReservation
from apiserver.allocators.services import ServiceAllocator
from apiserver.audit.log import AuditLog
from apiserver.audit.policy import BadPolicy, compile_policy, parse
from apiserver.auth import assembly, authorization, published
from apiserver.auth.assembly import Trust
from apiserver.auth.authorization import Flags
from apiserver.auth.authorizing import DEFAULT_MODES, Authorizing
from apiserver.auth.configured import Configured
from apiserver.auth.legacy_tokens import LegacyTokens
from apiserver.auth.oidc import BadSettings, OidcAuthenticator, OidcSettings
from apiserver.auth.published import Published
from apiserver.auth.tokens import TokenAuthenticator, TokenIssuer
from apiserver.auth.webhook_tokens import WebhookTokenAuthenticator
from apiserver.dispatch import Address
from apiserver.encryption.store import EncryptedStore, EncryptionKeys
from apiserver.filters.audit import Auditor
from apiserver.filters.timeout import duration_s
from apiserver.filters.watch_limit import STREAMS_MAX
from apiserver.grpc.listener import GrpcListener
from apiserver.grpc.relayed import Relay
from apiserver.kubernetes_service import KubernetesService, name_of_server
from apiserver.outside import FrontProxy, Outside
from apiserver.registry.registries import Registries
from apiserver.registry.selection import select
from apiserver.request import Authenticator, Authorizer, SubresourceHandler
from apiserver.rest import http1, http2, protocol_log
from apiserver.rest.documents import Documents
from apiserver.rest.door import Door
from apiserver.rest.health import Check, Health
from apiserver.rest.takeover import Takeover
from apiserver.rest.upgrade import UpgradeDoor, takes_upgrade
from apiserver.subresources import handlers
from apiserver.subresources.node_proxy import Kubelets
from apiserver.subresources.streaming import Streams
from apiserver.verbs.context import Context
from apiserver.webhooks.client import WebhookClient
from apiserver.webhooks.identities import BadIdentities, parse_server
from apiserver.webhooks.services import no_services
from component import notify, relay, tracing
from component.certificates import fresh_server
from component.clock import Clock, RealClock
from component.flags import setting
from component.serve import Identity
from component.signing_keys import load_private_key
from component.supervise import keep_going
from component.unnamed import unnamed
from store.client import Store, StoreClient

log = logging.getLogger(__name__)

BOOTSTRAP_RETRY_S: Final = 0.5
CACHES: Final = "caches"
ALL: Final = "all"
"""Steps of the start, beside those of `bootstrap`: the first, and the last."""
_LACKING: Final = {
    CACHES: "what there is has not been read yet",
    bootstrap.NAMESPACES_STEP: "the cluster's own namespaces are not in place yet",
    bootstrap.PRIORITY_CLASSES: "the cluster's own priority classes are not in place yet",
    bootstrap.ROLES: "the cluster's own roles and bindings are not in place yet",
    ALL: "the cluster's own roles and namespaces are not in place yet",
}
POST_START: Final = {
    "poststarthook/start-apiserver-admission-initializer": CACHES,
    "poststarthook/generic-apiserver-start-informers": CACHES,
    "poststarthook/priority-and-fairness-config-consumer": CACHES,
    "poststarthook/priority-and-fairness-filter": ALL,
    "poststarthook/storage-object-count-tracker-hook": ALL,
    "poststarthook/start-apiextensions-informers": CACHES,
    "poststarthook/start-apiextensions-controllers": ALL,
    "poststarthook/crd-informer-synced": CACHES,
    "poststarthook/start-system-namespaces-controller": bootstrap.NAMESPACES_STEP,
    "poststarthook/start-cluster-authentication-info-controller": ALL,
    "poststarthook/start-kube-apiserver-identity-lease-controller": ALL,
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector": ALL,
    "poststarthook/start-legacy-token-tracking-controller": ALL,
    "poststarthook/start-service-ip-repair-controllers": ALL,
    "poststarthook/rbac/bootstrap-roles": bootstrap.ROLES,
    "poststarthook/scheduling/bootstrap-system-priority-classes": bootstrap.PRIORITY_CLASSES,
    "poststarthook/priority-and-fairness-config-producer": ALL,
    "poststarthook/bootstrap-controller": ALL,
    "poststarthook/start-kube-aggregator-informers": CACHES,
    "poststarthook/apiservice-status-local-available-controller": ALL,
    "poststarthook/apiservice-status-remote-available-controller": ALL,
    "poststarthook/apiservice-registration-controller": ALL,
    "poststarthook/apiservice-discovery-controller": ALL,
    "poststarthook/kube-apiserver-autoregistration": ALL,
    "autoregister-completion": ALL,
    "poststarthook/apiservice-openapi-controller": ALL,
    "poststarthook/apiservice-openapiv3-controller": ALL,
}
"""What upstream calls the steps of its start, in its order, and which of ours each is."""
SHARE_RETRY_S: Final = 0.5
HEADERS_MAX: Final = 256
"""How many header fields a request may have, each of them and its first line at most as long as a whole head."""
STOP_GRACE_S: Final = 0.5
"""How long requests under way may take when the process stops; watches are cut off then, and resume elsewhere."""


@dataclass(frozen=True)
class Settings:
    """Serve the Kubernetes API over the store, by REST and by gRPC."""

    store_endpoints: tuple[str, ...] = setting("the store's members, HOST:PORT, comma-separated")
    store_cert: Path = setting("client certificate for the store (PEM)")
    store_key: Path = setting("its key (PEM)")
    store_ca: Path = setting("CA of the store's certificates (PEM)")
    tls_cert: Path = setting("serving certificate (PEM)")
    tls_key: Path = setting("its key (PEM)")
    client_ca: Path = setting("CA of client certificates (PEM)")
    service_account_key: Path = setting("private key that signs service-account tokens (PEM)")
    kubelet_client_cert: Path | None = setting("client certificate for kubelets: logs, exec (PEM)", None)
    kubelet_client_key: Path | None = setting("its key (PEM)", None)
    kubelet_ca: Path | None = setting("CA of the kubelets' serving certificates (PEM)", None)
    requestheader_client_ca: Path | None = setting(
        "CA of a front proxy, whose X-Remote-* headers name users (PEM)", None
    )
    requestheader_allowed_names: tuple[str, ...] = setting(
        "common names that a front proxy's certificate may bear, comma-separated; any without it", ()
    )
    enable_bootstrap_token_auth: bool = setting("believe bootstrap tokens that Secrets in kube-system vouch for", True)
    oidc_issuer_url: str = setting("OpenID Connect provider whose ID tokens are believed, an https:// URL", "")
    oidc_client_id: str = setting("whom its tokens have to be for", "")
    oidc_username_claim: str = setting("claim that names the user", "sub")
    oidc_username_prefix: str = setting("what usernames begin with; - for nothing; by default the issuer and #", "")
    oidc_groups_claim: str = setting("claim that lists the user's groups", "")
    oidc_groups_prefix: str = setting("what groups begin with", "")
    oidc_required_claim: tuple[str, ...] = setting("KEY=VALUE that tokens must claim, comma-separated or repeated", ())
    oidc_ca_file: Path | None = setting("CA of the provider's certificate (PEM); else those this machine trusts", None)
    oidc_signing_algs: tuple[str, ...] = setting("algorithms its tokens may be signed with", ("RS256",))
    authentication_config: Path | None = setting(
        "whose tokens are believed, and who may be anonymous: AuthenticationConfiguration; reloaded on change",
        None,
    )
    authentication_token_webhook_config_file: Path | None = setting(
        "kubeconfig of a webhook that is asked about tokens that nobody here knows", None
    )
    authentication_token_webhook_cache_ttl: str = setting("how long its answers are kept", "2m0s")
    authentication_token_webhook_version: Literal["v1", "v1beta1"] = setting("of the TokenReview it is sent", "v1beta1")
    authorization_mode: tuple[str, ...] = setting(
        "who is asked what users may do, in order: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny", DEFAULT_MODES
    )
    authorization_webhook_config_file: Path | None = setting("kubeconfig of the webhook of mode Webhook", None)
    authorization_webhook_version: Literal["v1", "v1beta1"] = setting(
        "of the SubjectAccessReview it is sent", "v1beta1"
    )
    authorization_webhook_cache_authorized_ttl: str = setting("how long it is remembered for a yes", "5m0s")
    authorization_webhook_cache_unauthorized_ttl: str = setting("and for a no", "30s")
    authorization_config: Path | None = setting(
        "the same in a file, with any number of webhooks: AuthorizationConfiguration; reloaded on change", None
    )
    anonymous_auth: bool = setting("take requests that do not say who sends them, as of system:anonymous", True)
    proxy_client_cert: Path | None = setting("certificate that aggregated API servers know this one by (PEM)", None)
    proxy_client_key: Path | None = setting("its key (PEM)", None)
    kubelet_tunnel_cidrs: tuple[str, ...] = setting(
        "networks that only nodes reach, of pods and Services, comma-separated: connections there go through kubelets",
        (),
    )
    bind_address: str = setting("address to listen on", "0.0.0.0")
    secure_port: int = setting("port of the REST API", 6443)
    shared_port: int = setting("port on which all API servers of this machine listen together; 0: none", 0)
    grpc_port: int = setting("port of the component API", 6444)
    disable_http2_serving: bool = setting("offer REST's clients HTTP/1.1 alone", False)
    advertise_address: str = setting("address at which pods and other servers reach this one", "127.0.0.1")
    service_account_issuer: str = setting(
        "issuer of service-account tokens, a URL", "https://kubernetes.default.svc.cluster.local"
    )
    service_cidr: str = setting("network of cluster IPs", "10.96.0.0/16")
    node_port_range: str = setting("range of node ports", "30000-32767")
    encryption_provider_config: Path | None = setting(
        "which kinds the store holds encrypted, with which keys: EncryptionConfiguration; reloaded on change", None
    )
    enable_admission_plugins: tuple[str, ...] = setting(
        "admission plugins that are on beside those that are anyway, comma-separated", ()
    )
    disable_admission_plugins: tuple[str, ...] = setting("and those that are off, though they usually are on", ())
    admission_control_config_file: Path | None = setting(
        "what single admission plugins are told: AdmissionConfiguration", None
    )
    cluster_domain: str = setting("DNS domain of the cluster", "cluster.local")
    default_toleration_s: int = setting("how long pods stay on a lost node, when they don't say", 300)
    max_requests_inflight: int = setting("how many requests that read may run at once", 400)
    max_mutating_requests_inflight: int = setting("and how many that write; priority and fairness shares the sum", 200)
    max_watches_per_user: int = setting("how many watches and other streams one user may hold open", STREAMS_MAX)
    audit: bool = setting("log one line for each request", False)
    audit_policy_file: Path | None = setting("what the audit log tells: audit.k8s.io/v1 Policy", None)
    audit_log_path: str = setting("where the audit log is written; - is stdout; there is none without it", "")
    audit_log_maxage: int = setting("days after which old audit logs are deleted; 0: never", 0)
    audit_log_maxbackup: int = setting("how many old audit logs are kept; 0: all", 0)
    audit_log_maxsize: int = setting("megabytes at which the audit log is turned over", 100)
    shutdown_delay_s: float = setting("how long requests are still taken, and /readyz fails, before stopping", 0.0)
    tracing_endpoint: str = setting(tracing.ENDPOINT_HELP, "")
    log_level: Literal["debug", "info", "warning", "error"] = setting("least severe records to log", "info")
    log_format: Literal["text", "json"] = setting("form of the log", "text")


class Server:
    """An API server's parts, put together but not listening yet."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, random: Random) -> None:
        self._settings = settings
        self._clock = clock
        self._random = random
        self._store = store
        self.issuer = TokenIssuer(
            load_private_key(settings.service_account_key.read_bytes()), settings.service_account_issuer
        )
        self._configured = _configured(settings, clock)
        self._token_webhook = _token_webhook(settings, clock)
        self._authorizing = authorizing_of(settings, clock)
        self.encryption = EncryptionKeys(settings.encryption_provider_config)
        if settings.encryption_provider_config is not None:
            store = EncryptedStore(store, self.encryption)
        self.kubelets: Kubelets | None = None
        self.done: set[str] = set()
        """Steps of the start, which are done once and for all."""
        self.became_ready = asyncio.Event()
        self._allocator: ServiceAllocator | None = None

        def reservations(registries: Registries) -> Mapping[Any, Any]:
            services = registries.lister(service.RESOURCE)
            self._allocator = ServiceAllocator(
                registries.store, services, settings.service_cidr, settings.node_port_range, random
            )

            async def read(key: ObjectKey) -> service.Service:
                stored = await registries.of(service.RESOURCE).get(key.namespace, key.name)
                found: service.Service = stored.codec.decode(stored.json)
                return found

            return {service.RESOURCE: ServiceReservation(self._allocator, read)}

        self.api = app.build(
            store,
            clock,
            random,
            issuer=self.issuer,
            handlers=self._handlers,
            reservations=reservations,
            toleration_s=settings.default_toleration_s,
            has_audit=settings.audit,
            seats=settings.max_requests_inflight + settings.max_mutating_requests_inflight,
            auditor=auditor_of(settings, clock),
            streams_max=settings.max_watches_per_user,
            authenticators=self._authenticators,
            may_be_anonymous=self._may_be_anonymous,
            admission_settings=_admission(settings),
            authorizing=self._authorizing,
            connector=lambda **options: self.outside.egress.connector(**options),
        )
        jwks_uri = f"https://{settings.advertise_address}:{settings.secure_port}/openid/v1/jwks"
        front_proxy = FrontProxy(settings.proxy_client_cert, settings.proxy_client_key)
        networks = settings.kubelet_tunnel_cidrs
        self.outside = Outside(self.api, self.kubelets, networks, front_proxy, clock, random)
        self._upgrades: UpgradeDoor | None = None
        if self.kubelets is not None:
            read = self.api.registries.read
            self._upgrades = UpgradeDoor(self.api.handle, Streams(self.kubelets, read), self.kubelets)
        documents = Documents(
            f"{settings.advertise_address}:{settings.secure_port}",
            {
                "/.well-known/openid-configuration": lambda: self.issuer.discovery_document(jwks_uri),
                "/openid/v1/jwks": self.issuer.key_set,
            },
            self.api.registries.kinds,
            self.api.scrape,
            self.api.dump,
            self.outside.gathered,
        )
        live = {"etcd": self._store_answers, **{name: self._check_of(step) for name, step in POST_START.items()}}
        self.health = Health(live, {"etcd-readiness": self._store_answers, "informer-sync": self._caches_ready})
        self.door = Door(self.api, documents, self.health, self.outside.proxies, self.outside.forwarder)
        self.door.upgrades = self
        self._checks = {
            "etcd": self.api.store_health.check,
            "caches": self._unfilled_caches,
            "bootstrap": self._lacks_own_objects,
        }

    async def _store_answers(self) -> str | None:
        return self.api.store_health.check()

    async def _caches_ready(self) -> str | None:
        return self._unfilled_caches()

    def _check_of(self, step: str) -> Check:
        async def check() -> str | None:
            return None if step in self.done else _LACKING[step]

        return check

    def _unfilled_caches(self) -> str | None:
        unready = self.api.registries.unready()
        return f"not filled yet: {', '.join(unready)}" if unready else None

    def _lacks_own_objects(self) -> str | None:
        return None if ALL in self.done else _LACKING[ALL]

    def _may_be_anonymous(self, path: str) -> bool:
        if self._authorizing.allows_everything:
            return False  # Else anybody who reaches the port could do anything; upstream resets the flag as well.
        said = self._configured.anonymous if self._configured is not None else None
        return said.may(path) if said is not None else self._settings.anonymous_auth

    def _authenticators(self, registries: Registries) -> list[Authenticator]:
        settings = self._settings
        front_proxy_ca, names = settings.requestheader_client_ca, settings.requestheader_allowed_names
        self._trust = trust = Trust(settings.client_ca, front_proxy_ca, names)
        self.published = Published(
            registries,
            self._clock,
            lambda: published.wanted(
                trust.clients.pem, trust.front_proxy.pem if trust.front_proxy is not None else None, names
            ),
        )
        self.legacy_tokens = LegacyTokens(registries, self._clock)
        providers: Authenticator | None = self._configured
        if settings.oidc_issuer_url:
            providers = OidcAuthenticator(_oidc(settings).issuer(), self._clock)
        self._believed = assembly.build(
            trust,
            registries.read,
            self._clock,
            self.issuer,
            providers,
            has_bootstrap_tokens=settings.enable_bootstrap_token_auth,
            note_use=self.legacy_tokens.note_use,
            webhook=self._token_webhook,
        )
        return self._believed

    def _handlers(self, context: Context, authorizer: Authorizer) -> Mapping[Address, SubresourceHandler]:
        settings = self._settings
        cert, key, ca = settings.kubelet_client_cert, settings.kubelet_client_key, settings.kubelet_ca
        if cert and key and ca:
            self.kubelets = Kubelets(Identity(cert, key, ca), context.registries.read)
        others = [each for each in self._believed if not isinstance(each, TokenAuthenticator)]
        return handlers.build(context, authorizer, issuer=self.issuer, kubelets=self.kubelets, believed=others)

    async def run(self) -> None:
        """Do everything but listen, until cancelled."""
        assert self._allocator is not None
        settings, registries = self._settings, self.api.registries
        repair = AllocationRepair(self._allocator, self._services, self._clock)
        kubernetes = KubernetesService(
            registries,
            self._clock,
            address=settings.advertise_address,
            port=settings.secure_port,
            cluster_ip=str(ipaddress.ip_network(settings.service_cidr)[1]),
            hostname=socket.gethostname()[:63].rstrip("-."),
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(notify.run(self._checks), name="notify")
            tasks.create_task(self.api.run(), name="api")
            tasks.create_task(self.encryption.follow(self._clock), name="encryption keys")
            tasks.create_task(self._trust.follow(self._clock), name="trusted CAs")
            if self._configured is not None:
                tasks.create_task(self._configured.follow(), name="authentication configuration")
            tasks.create_task(self._authorizing.follow(), name="authorization configuration")
            await self.api.wait_ready()
            self.done.add(CACHES)
            await self._bootstrap()
            duties = {
                "kubernetes service": kubernetes.run,
                "allocation repair": repair.run,
                "aggregation": self.outside.run,
                "published authentication": self.published.run,
                "legacy tokens": self.legacy_tokens.run,
            }
            for name, duty in duties.items():
                tasks.create_task(keep_going(name, duty, self._clock), name=name)

    async def _bootstrap(self) -> None:
        while ALL not in self.done:
            try:
                await bootstrap.bootstrap(self.api.registries, self.done.add)
            except ApiError as error:
                log.warning("the cluster's own objects are not in place", extra={"error": error})
                await self._clock.sleep(BOOTSTRAP_RETRY_S)
            else:
                self.done.add(ALL)
                # What there is by now stays: no more looking through it for garbage, for a tenth of a second each time.
                gc.freeze()
                self.became_ready.set()
                log.info("ready")

    async def _services(self) -> list[service.Service]:
        cache = self.api.registries.of(service.RESOURCE).cache
        await cache.catch_up()
        return [stored.object for stored in cache.select(select(service.RESOURCE))]

    def takes_upgrade(self, method: str, target: str) -> bool:
        """Whether a request may become an upgraded connection."""
        is_stream = self._upgrades is not None and takes_upgrade(method, target)
        return is_stream or self.outside.upgrades.takes(method, target)

    async def serve_upgrade(self, upgrade: relay.Upgrade) -> None:
        """Carry an upgraded connection: exec, attach, port-forward, and what others answer."""
        if self.outside.upgrades.takes(upgrade.method, upgrade.target):
            await self.outside.upgrades.serve(upgrade)
            return
        assert self._upgrades is not None
        await self._upgrades(upgrade)

    async def close(self) -> None:
        """Let go of connections to others."""
        await self.outside.close()
        if self._token_webhook is not None:
            await self._token_webhook.close()
        await self._authorizing.close()
        if self.kubelets is not None:
            await self.kubelets.close()


async def run(settings: Settings) -> None:
    """Serve until cancelled."""
    identity = Identity(settings.store_cert, settings.store_key, settings.store_ca)
    store = StoreClient(settings.store_endpoints, identity)
    following = asyncio.create_task(store.follow_certificate())
    try:
        await serve(settings, store, RealClock(), SystemRandom())
    finally:
        following.cancel()
        await store.close()


async def serve(settings: Settings, store: Store, clock: Clock, random: Random) -> None:
    """Serve over `store` until cancelled; tests hand in one in memory.

    Raises:
        OSError: a port is taken.
    """
    server = Server(settings, store, clock, random)
    try:
        async with (
            _rest_listener(settings, server),
            GrpcListener(
                server.api,
                settings.bind_address,
                settings.grpc_port,
                _identity(settings),
                Relay(server.outside.servers, server.outside.gathered),
            ),
        ):
            log.info(
                "serving",
                extra={"rest": f"{settings.bind_address}:{settings.secure_port}", "grpc": settings.grpc_port},
            )
            await _run_until_stopped(server, clock, settings.shutdown_delay_s)
    finally:
        await server.close()


async def _run_until_stopped(server: Server, clock: Clock, delay_s: float) -> None:
    """Run until cancelled; then say so to whoever asks for readiness, and go on for as long as they take to notice."""
    running = asyncio.create_task(server.run())
    try:
        await asyncio.shield(running)
    finally:
        server.health.stopping.set()
        if delay_s and not running.done():
            await clock.sleep(delay_s)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def auditor_of(settings: Settings, clock: Clock) -> Auditor | None:
    """Return what writes the audit log that is asked for, if one is.

    Raises:
        BadPolicy: the policy cannot be used.
        OSError: the log cannot be written.
    """
    path = settings.audit_policy_file
    if path is None or not settings.audit_log_path:
        return None
    try:
        decide = compile_policy(parse(path.read_bytes()))
    except (BadPolicy, OSError) as error:
        raise BadPolicy(f"--audit-policy-file {path}: {error}") from None
    sink = AuditLog(
        settings.audit_log_path,
        age_max_days=settings.audit_log_maxage,
        backups_max=settings.audit_log_maxbackup,
        size_max_mb=settings.audit_log_maxsize,
    )
    return Auditor(decide, sink, clock, lambda: str(uuid.uuid4()))


def _configured(settings: Settings, clock: Clock) -> Configured | None:
    """Return whom the authentication configuration has us believe, where there is one; raises BadSettings, OSError."""
    path = settings.authentication_config
    if path is None:
        return None
    if settings.oidc_issuer_url:
        raise BadSettings("--authentication-config and the --oidc-* flags exclude each other")
    return Configured(path, clock, own_issuer=settings.service_account_issuer)


def authorizing_of(settings: Settings, clock: Clock) -> Authorizing:
    """Return who is asked what users may do; raises authorization.BadConfiguration, OSError."""
    flags = Flags(
        settings.authorization_mode,
        settings.authorization_webhook_config_file,
        settings.authorization_webhook_version,
        settings.authorization_webhook_cache_authorized_ttl,
        settings.authorization_webhook_cache_unauthorized_ttl,
    )
    path = settings.authorization_config
    if path is None:
        return Authorizing.by_flags(flags, clock)
    if flags != Flags(DEFAULT_MODES):
        raise authorization.BadConfiguration(
            "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags "
            "are defined"
        )
    return Authorizing.by_file(path, clock, name_of_server(settings.advertise_address, settings.secure_port))


def _admission(settings: Settings) -> AdmissionSettings:
    """Return which admission plugins are on, and what they are told; raises BadNames, BadConfiguration."""
    on = choose(settings.enable_admission_plugins, settings.disable_admission_plugins)
    path = settings.admission_control_config_file
    try:
        return configuration.read(path, on)
    except configuration.BadConfiguration as error:
        if path is None:
            raise
        raise configuration.BadConfiguration(f"--admission-control-config-file {path}: {error}") from None


def _token_webhook(settings: Settings, clock: Clock) -> WebhookTokenAuthenticator | None:
    """Return who asks the webhook about tokens, where there is one; raises BadSettings, OSError."""
    path = settings.authentication_token_webhook_config_file
    if path is None:
        return None
    try:
        place, identities = parse_server(path)
    except BadIdentities as error:
        raise BadSettings(f"--authentication-token-webhook-config-file {error}") from None
    try:
        ttl_s = duration_s(settings.authentication_token_webhook_cache_ttl)
    except ValueError as error:
        raise BadSettings(f"--authentication-token-webhook-cache-ttl: {error}") from None
    return WebhookTokenAuthenticator(
        WebhookClient(no_services, identities=identities),
        place,
        clock,
        version=settings.authentication_token_webhook_version,
        ttl_s=ttl_s,
        audience=settings.service_account_issuer,
    )


def _oidc(settings: Settings) -> OidcSettings:
    required = [each.partition("=") for each in settings.oidc_required_claim]
    return OidcSettings(
        issuer_url=settings.oidc_issuer_url,
        client_id=settings.oidc_client_id,
        username_claim=settings.oidc_username_claim,
        username_prefix=settings.oidc_username_prefix,
        groups_claim=settings.oidc_groups_claim,
        groups_prefix=settings.oidc_groups_prefix,
        required_claims={name: value for name, _, value in required},
        ca_file=settings.oidc_ca_file,
        signing_algs=settings.oidc_signing_algs,
    )


def _identity(settings: Settings) -> Identity:
    return Identity(settings.tls_cert, settings.tls_key, settings.client_ca)


@asynccontextmanager
async def _rest_listener(settings: Settings, server: Server) -> AsyncIterator[None]:
    front_proxy_ca = settings.requestheader_client_ca
    cas = (front_proxy_ca,) if front_proxy_ca is not None else ()
    protocols = ("http/1.1",) if settings.disable_http2_serving else ("h2", "http/1.1")
    tls = fresh_server(
        _identity(settings), client_certificates=ssl.CERT_OPTIONAL, cas=cas, protocols=protocols
    ).serving()
    takeover = Takeover(server.door)
    http = unnamed(http1.Server(
        takeover, handler_cancellation=True, access_log=None, keepalive_timeout=90, logger=protocol_log.LOGGER,
        max_line_size=relay.HEAD_BYTES_MAX, max_field_size=relay.HEAD_BYTES_MAX, max_headers=HEADERS_MAX,
    ))  # fmt: skip
    over_http2 = http2.Server(server.door)
    switchboard = relay.Switchboard(http, server.takes_upgrade, server.serve_upgrade, http2=over_http2)
    takeover.switchboard = switchboard
    loop = asyncio.get_running_loop()

    async def listen(port: int, *, is_shared: bool = False) -> asyncio.Server:
        return await loop.create_server(
            switchboard, settings.bind_address, port, ssl=tls, backlog=1024, ssl_handshake_timeout=10,
            reuse_port=is_shared or None,
        )  # fmt: skip

    async def share() -> None:
        # Only while this server is ready: the kernel hands each connection to any of those that listen.
        await server.became_ready.wait()
        while len(listeners) == 1:
            try:
                listeners.append(await listen(settings.shared_port, is_shared=True))
            except OSError as error:
                # A server that has it for itself, from before there were several, is about to go.
                log.warning("the shared port is taken", extra={"port": settings.shared_port, "error": error})
                await asyncio.sleep(SHARE_RETRY_S)
        await server.health.stopping.wait()
        listeners.pop().close()

    async def leave() -> None:
        # Clients that keep one connection for everything begin to look for another server while this one still answers.
        await server.health.stopping.wait()
        over_http2.leave()

    listeners = [await listen(settings.secure_port)]
    duties = [asyncio.create_task(duty()) for duty in (leave, *((share,) if settings.shared_port else ()))]
    try:
        yield
    finally:
        for duty in duties:
            duty.cancel()
        for listener in listeners:
            listener.close()
        await switchboard.close()
        server.door.end_watches()
        http.pre_shutdown()
        over_http2.leave()
        await asyncio.gather(http.shutdown(timeout=STOP_GRACE_S), over_http2.shutdown(STOP_GRACE_S))

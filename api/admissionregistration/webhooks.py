"""What webhooks and policies share: which requests they are asked about, and where a webhook is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol
from urllib.parse import urlsplit

from api import names
from api import validation as v
from api.meta import LabelSelector
from api.schema import Int32, Struct, always, field, wire

_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES: Final = ("*", "Cluster", "Namespaced")
REVIEW_VERSIONS: Final = ("v1", "v1beta1")
"""Forms of AdmissionReview that this server speaks."""


class MatchCondition(Struct):
    """A condition in CEL that a request must meet to be looked at.

    Attributes:
        name: Unique among the conditions; tells them apart in messages and metrics. A qualified name.
        expression: An expression that is true or false, with object, oldObject, request, authorizer and more as
            variables. An error counts as the failurePolicy says.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    expression: Annotated[str, wire(2, required=True)] = always("")


class ServiceReference(Struct):
    """A Service of the cluster behind which a webhook listens.

    Attributes:
        namespace: The Service's namespace.
        name: The Service's name.
        path: The path of the URL to call; / by default.
        port: The Service's port, which must speak HTTPS; 443 by default.
    """

    namespace: Annotated[str, wire(1, required=True)] = always("")
    name: Annotated[str, wire(2, required=True)] = always("")
    path: Annotated[str | None, wire(3)] = None
    port: Annotated[Int32 | None, wire(4)] = None


class WebhookClientConfig(Struct):
    """Where a webhook is, and whom to trust there; either a URL or a Service is set.

    Attributes:
        url: The whole URL, which must begin with https:// and have neither user, query nor fragment.
        service: A Service of the cluster; its name NAME.NAMESPACE.svc must be in the certificate.
        ca_bundle: Certificates of authorities that vouch for the server, in PEM form; by default those that the API
            server's machine trusts.
    """

    url: Annotated[str | None, wire(3)] = None
    service: Annotated[ServiceReference | None, wire(1)] = None
    ca_bundle: Annotated[bytes, wire(2)] = b""


class RuleWithOperations(Struct):
    """Which operations on which resources are meant; a request must match all fields.

    Attributes:
        operations: CREATE, UPDATE, DELETE, CONNECT; * is all of them. At least one.
        api_groups: API groups; empty text is the core group, * all groups.
        api_versions: Versions of those groups, such as v1; * is all.
        resources: Resources such as pods; pods/status for a subresource, pods/* for all of its subresources, */* for
            all there is.
        scope: Cluster, Namespaced or * (the default): whether objects with or without a namespace are meant.
    """

    operations: Annotated[list[str], wire(1, list_type="atomic")] = []
    api_groups: Annotated[list[str], wire(2, 1, list_type="atomic")] = []
    api_versions: Annotated[list[str], wire(2, 2, list_type="atomic")] = []
    resources: Annotated[list[str], wire(2, 3, list_type="atomic")] = []
    scope: Annotated[str | None, wire(2, 4)] = None


class Webhook(Struct):
    """A server outside that is asked about writes, and about which.

    Attributes:
        name: A DNS name of at least three parts, such as check.example.com; unique in the configuration.
        client_config: Where it is, and whom to trust there.
        rules: Which operations on which resources it is asked about; a request needs to match one of these. It is never
            asked about webhook configurations and admission policies.
        failure_policy: What happens when it cannot be reached or answers nonsense: Fail (the default) refuses the
            request, Ignore goes on without it.
        match_policy: How rules are taken: Equivalent (the default) also asks about other versions of the same resource,
            Exact only as written.
        namespace_selector: Only about objects in namespaces with such labels; by default all, and for a namespace its
            own labels count. Objects without namespace always match.
        object_selector: Only about objects with such labels, before or after the change; by default all.
        side_effects: Whether a call changes anything elsewhere: None, or NoneOnDryRun, not when the request says
            dryRun. Other values are not allowed any more.
        timeout_seconds: How many seconds it may take before it counts as failed, 1 to 30; 10 by default.
        admission_review_versions: Versions of AdmissionReview that it understands, the preferred one first: v1 or
            v1beta1. The first that the server knows is used.
        match_conditions: Conditions that a request must meet as well, all of them, before it is asked; at most 64.
    """

    name: Annotated[str, wire(1, required=True)] = always("")
    client_config: Annotated[WebhookClientConfig, wire(2, required=True)] = field(default_factory=WebhookClientConfig)
    rules: Annotated[list[RuleWithOperations], wire(3, list_type="atomic")] = []
    failure_policy: Annotated[str | None, wire(4)] = None
    match_policy: Annotated[str | None, wire(9)] = None
    namespace_selector: Annotated[LabelSelector | None, wire(5)] = None
    object_selector: Annotated[LabelSelector | None, wire(10)] = None
    side_effects: Annotated[str | None, wire(6, required=True)] = None
    timeout_seconds: Annotated[Int32 | None, wire(7)] = None
    admission_review_versions: Annotated[list[str], wire(8, required=True, list_type="atomic")] = []
    match_conditions: Annotated[
        list[MatchCondition], wire(11, merge_key="name", list_type="map", list_keys=("name",))
    ] = []


def default_webhook(webhook: Webhook) -> None:
    """A webhook that fails refuses; it is asked about everything of its rules, and has ten seconds."""
    if webhook.failure_policy is None:
        webhook.failure_policy = "Fail"
    if webhook.match_policy is None:
        webhook.match_policy = "Equivalent"
    if webhook.namespace_selector is None:
        webhook.namespace_selector = LabelSelector()
    if webhook.object_selector is None:
        webhook.object_selector = LabelSelector()
    if webhook.timeout_seconds is None:
        webhook.timeout_seconds = 10
    for rule in webhook.rules:
        if rule.scope is None:
            rule.scope = "*"
    service = webhook.client_config.service
    if service is not None and service.port is None:
        service.port = 443


def check_webhooks(webhooks: Sequence[Webhook], old: Sequence[Webhook] | None) -> v.Errors:
    """Check webhooks, and that each has a name of its own.

    Of what older versions of the API let pass, an update is held to that which all webhooks kept to before.
    """
    before = old or ()
    names_before = [webhook.name for webhook in before]
    has_side_effects = any(webhook.side_effects not in _SIDE_EFFECTS for webhook in before)
    has_odd_versions = any(not set(webhook.admission_review_versions) & set(REVIEW_VERSIONS) for webhook in before)
    seen: set[str] = set()
    for i, webhook in enumerate(webhooks):
        where = f"webhooks[{i}]"
        if webhook.name in seen and len(set(names_before)) == len(names_before):
            yield v.duplicate(f"{where}.name", webhook.name)
        seen.add(webhook.name)
        yield from _check_webhook(where, webhook)
        if not has_side_effects:
            yield from _check_side_effects(f"{where}.sideEffects", webhook.side_effects)
        elif webhook.side_effects is None:
            yield v.required(f"{where}.sideEffects", "must specify one of None, NoneOnDryRun, Some, Unknown")
        elif webhook.side_effects not in _OLD_SIDE_EFFECTS:
            yield v.not_supported(f"{where}.sideEffects", webhook.side_effects, _OLD_SIDE_EFFECTS)
        versions = webhook.admission_review_versions
        if versions and not set(versions) & set(REVIEW_VERSIONS) and not has_odd_versions:
            why = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
            yield v.invalid(f"{where}.admissionReviewVersions", versions, why)


_SIDE_EFFECTS: Final = ("None", "NoneOnDryRun")
_OLD_SIDE_EFFECTS: Final = (*_SIDE_EFFECTS, "Some", "Unknown")


def _check_side_effects(path: str, side_effects: str | None) -> v.Errors:
    if side_effects is None:
        yield v.required(path, "must specify one of None, NoneOnDryRun")
    elif side_effects not in _SIDE_EFFECTS:
        yield v.not_supported(path, side_effects, _SIDE_EFFECTS)


def _check_webhook(path: str, webhook: Webhook) -> v.Errors:
    yield from v.check_name(f"{path}.name", webhook.name, names.check_subdomain)
    if webhook.name and webhook.name.count(".") < 2:
        yield v.invalid(
            f"{path}.name", webhook.name, "should be a domain with at least three segments separated by dots"
        )
    for i, rule in enumerate(webhook.rules):
        yield from check_rule(f"{path}.rules[{i}]", rule)
    yield from v.check_given(f"{path}.failurePolicy", webhook.failure_policy, ("Fail", "Ignore"))
    yield from v.check_given(f"{path}.matchPolicy", webhook.match_policy, ("Equivalent", "Exact"))
    if webhook.timeout_seconds is not None and not 1 <= webhook.timeout_seconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        yield v.invalid(f"{path}.timeoutSeconds", webhook.timeout_seconds, why)
    yield from v.check_label_selector(f"{path}.namespaceSelector", webhook.namespace_selector)
    yield from v.check_label_selector(f"{path}.objectSelector", webhook.object_selector)
    versions = webhook.admission_review_versions
    where = f"{path}.admissionReviewVersions"
    if not versions:
        yield v.required(where, f"must specify one of {', '.join(REVIEW_VERSIONS)}")
    for i, version in enumerate(versions):
        if version in versions[:i]:
            yield v.invalid(f"{where}[{i}]", version, "duplicate version")
        for message in names.check_label_1035(version):
            yield v.invalid(f"{where}[{i}]", version, message)
    yield from check_client_config(f"{path}.clientConfig", webhook.client_config.url, webhook.client_config.service)
    yield from check_match_conditions(f"{path}.matchConditions", webhook.match_conditions)


class Service(Protocol):
    """A Service that listens, as three groups name it, each with a type of its own."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int | None: ...


def check_client_config(path: str, url: str | None, service: Any) -> v.Errors:
    """Check where a webhook is: a URL, or a Service."""
    if (url is None) is (service is None):
        yield v.required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _check_url(f"{path}.url", url)
    else:
        yield from check_service(f"{path}.service", service)


def check_service(path: str, service: Service, *, why: str = "service {} is required") -> v.Errors:
    """Check a reference to a Service that listens; `why` is told, with its name, of a part that is missing."""
    if not service.name:
        yield v.required(f"{path}.name", why.format("name"))
    if not service.namespace:
        yield v.required(f"{path}.namespace", why.format("namespace"))
    if service.port is not None and not 1 <= service.port <= 65535:
        yield v.invalid(f"{path}.port", service.port, "port is not valid: must be between 1 and 65535, inclusive")
    where: str | None = getattr(service, "path", None)
    if where is None or where in ("", "/"):
        return
    if not where.startswith("/"):
        yield v.invalid(f"{path}.path", where, "must start with a '/'")
    for i, step in enumerate(where[1:].removesuffix("/").split("/")):
        if not step:
            yield v.invalid(f"{path}.path", where, f"segment[{i}] may not be empty")
            continue
        for message in names.check_subdomain(step):
            yield v.invalid(f"{path}.path", where, f"segment[{i}]: {message}")


def _check_url(path: str, url: str) -> v.Errors:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield v.required(path, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        yield v.invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not parts.netloc:
        yield v.invalid(path, parts.netloc, f"host must be specified{form}")
    if parts.username is not None:
        yield v.invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL")
    if parts.fragment:
        yield v.invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield v.invalid(path, parts.query, "query parameters are not permitted in the URL")


class Rule(Protocol):
    """Which requests are meant, with or without names of objects."""

    operations: list[str]
    api_groups: list[str]
    api_versions: list[str]
    resources: list[str]
    scope: str | None


def check_rule(path: str, rule: Rule) -> v.Errors:
    """Check which requests are meant."""
    for label, values in (
        ("operations", rule.operations),
        ("apiGroups", rule.api_groups),
        ("apiVersions", rule.api_versions),
        ("resources", rule.resources),
    ):
        if not values:
            yield v.required(f"{path}.{label}")
        if len(values) > 1 and "*" in values and label != "resources":
            yield v.invalid(f"{path}.{label}", values, f"if '*' is present, must not specify other {_WORDS[label]}")
        for i, value in enumerate(values):
            if not value and label in ("apiVersions", "resources"):
                yield v.required(f"{path}.{label}[{i}]")
    for i, operation in enumerate(rule.operations):
        if operation not in _OPERATIONS:
            yield v.not_supported(f"{path}.operations[{i}]", operation, _OPERATIONS)
    if rule.scope is not None and rule.scope not in _SCOPES:
        yield v.not_supported(f"{path}.scope", rule.scope, _SCOPES)
    yield from _check_resources(f"{path}.resources", rule.resources)


def _check_resources(path: str, resources: Sequence[str]) -> v.Errors:
    """Check that none of the resources is meant by one before it already."""
    wide: set[str] = set()
    for i, name in enumerate(resources):
        plural, slash, subresource = name.partition("/")
        if not slash:
            continue
        for wider in (f"{plural}/*", f"*/{subresource}"):
            if wider in wide:
                yield v.invalid(f"{path}[{i}]", name, f"if '{wider}' is present, must not specify {name}")
        if "*" in (plural, subresource):
            wide.add(name)
    if len(resources) > 1 and "*/*" in resources:
        yield v.invalid(path, resources, "if '*/*' is present, must not specify other resources")
    plain = [name for name in resources if name and "/" not in name]
    if "*" in plain and plain[-1] != "*":
        why = "if '*' is present, must not specify other resources without subresources"
        yield v.invalid(path, resources, why)


_WORDS: Final = {
    "operations": "operations",
    "apiGroups": "API groups",
    "apiVersions": "API versions",
}


def check_match_conditions(path: str, conditions: Sequence[MatchCondition]) -> v.Errors:
    """Check conditions; what an expression means is for who evaluates it."""
    if len(conditions) > 64:
        yield v.too_many(path, len(conditions), 64)
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        where = f"{path}[{i}]"
        if not condition.expression.strip():
            yield v.required(f"{where}.expression")
        yield from v.check_name(f"{where}.name", condition.name, names.check_qualified_name)
        if condition.name and condition.name in seen:
            yield v.duplicate(f"{where}.name", condition.name)
        seen.add(condition.name)

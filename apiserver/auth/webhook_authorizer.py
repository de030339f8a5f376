"""Rights that somebody else knows: a webhook is sent a SubjectAccessReview and allows, denies, or has no opinion.

Conditions say which requests it is asked about at all, so that most can be decided without leaving the process. Its
answers are kept for a while by what was asked; that it could not be asked is not. Facts: Kubernetes documentation,
"Webhook Mode"; selectors: KEP-4601.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from typing import Any, Final

import msgspec

from api.errors import ApiError, as_one
from api.selectors import parse_fields, parse_labels
from apiserver.auth.authorization import WEBHOOK, Webhook, compiled, spec_of
from apiserver.auth.authorization_metrics import AuthorizationMetrics
from apiserver.cel.program import CostExceeded
from apiserver.cel.values import Failure
from apiserver.request import NO_OPINION, Deciding, Decision, RequestInfo, User
from apiserver.webhooks.client import CallFailed, WebhookClient
from apiserver.webhooks.identities import Place
from component.clock import Clock

log = logging.getLogger(__name__)

ATTEMPTS: Final = 5
PAUSE_S: Final = 0.5
"""Before the second attempt; each other is half as long again."""
KEPT_MAX: Final = 8192
KEPT_LENGTH_MAX: Final = 10_000
"""How much of a question the one who asks may have chosen, for the answer to be kept."""
ANSWER_BYTES_MAX: Final = 1 << 20
_OPERATORS: Final = {"=": "In", "==": "In", "in": "In", "!=": "NotIn", "notin": "NotIn", "exists": "Exists",
                     "!": "DoesNotExist"}  # fmt: skip


class _Status(msgspec.Struct, rename="camel"):
    allowed: bool = False
    denied: bool = False
    reason: str = ""
    evaluation_error: str = ""


class _Review(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status = msgspec.field(default_factory=_Status)


class WebhookAuthorizer:
    """Asks one webhook."""

    def __init__(
        self,
        name: str,
        told: Webhook,
        client: WebhookClient,
        place: Place,
        clock: Clock,
        metrics: AuthorizationMetrics,
    ) -> None:
        """Ask nothing yet.

        Args:
            name: what it is counted as.
            told: when and how it is asked.
            client: shows it who we are.
            place: where it is.
            clock: the time.
            metrics: of all webhooks.
        """
        self._name = name
        self._told = told
        self._client = client
        self._place = place
        self._clock = clock
        self._metrics = metrics
        self._conditions = [compiled(each) for each in told.conditions]
        self._api_version = f"authorization.k8s.io/{told.version}"
        self._kept: OrderedDict[bytes, tuple[float, _Status]] = OrderedDict()

    def authorize(self, user: User, request: RequestInfo) -> Deciding:
        """Say what conditions or an answer that is kept say, or give what asks."""
        spec = spec_about(user, request)
        if self._conditions:
            refused = self._condition_says(spec)
            if refused is not None:
                return refused
        key = msgspec.json.encode(spec)
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() < kept[0]:
            return _decision(kept[1])
        return self._decide(spec, key, request)

    def rules_of(self, user: User, namespace: str = "") -> list[Any]:
        """Return nothing: it cannot be asked for rules."""
        return []

    def why_incomplete(self, user: User) -> str:
        """Return that there is more than rules say."""
        return "webhook authorizer does not support user rule resolution"

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()

    def _condition_says(self, spec: dict[str, Any]) -> Decision | None:
        """Return the decision where conditions leave nothing to ask."""
        labels, began = (WEBHOOK, self._name), time.perf_counter()
        seen, errors = {"request": spec_of(spec)}, []
        try:
            for program in self._conditions:
                try:
                    if not program.evaluate(seen)[0]:
                        self._metrics.condition_exclusions.add(labels)
                        return NO_OPINION
                except (Failure, CostExceeded) as failure:
                    why = str(failure) or "operation cancelled: actual cost limit exceeded"
                    errors.append(f"cel evaluation error: expression '{program.text}' resulted in error: {why}")
        finally:
            self._metrics.condition_durations.of(labels).observe(time.perf_counter() - began)
            if errors:
                self._metrics.condition_errors.add(labels)
        return self._on_failure(as_one(errors)) if errors else None

    def _on_failure(self, why: str) -> Decision:
        return Decision(False, denied=self._told.denies_on_failure, error=why)

    async def _decide(self, spec: dict[str, Any], key: bytes, request: RequestInfo) -> Decision:
        try:
            status = await self._ask(spec)
        except (CallFailed, msgspec.MsgspecError) as error:
            log.warning("the authorization webhook gives no answer", extra={"webhook": self._name, "why": str(error)})
            if not self._told.denies_on_failure:
                self._metrics.failed_open.add((self._name, _result(error)))
            return self._on_failure(str(error))
        ttl_s = self._told.authorized_ttl_s if status.allowed else self._told.unauthorized_ttl_s
        if ttl_s > 0 and _chosen_length(request) < KEPT_LENGTH_MAX:
            self._kept[key] = self._clock.monotonic() + ttl_s, status
            self._kept.move_to_end(key)
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return _decision(status)

    async def _ask(self, spec: dict[str, Any]) -> _Status:
        """Return the answer; raises CallFailed and msgspec.MsgspecError when the last attempt had none."""
        if self._told.version == "v1beta1" and "groups" in spec:
            spec = {("group" if key == "groups" else key): value for key, value in spec.items()}
        review = {"kind": "SubjectAccessReview", "apiVersion": self._api_version}
        question = {**review, "metadata": {"creationTimestamp": None}, "spec": spec, "status": {"allowed": False}}
        body = json.dumps(question, separators=(",", ":")).encode()
        for attempt in range(1, ATTEMPTS + 1):
            began, result = time.perf_counter(), "canceled"
            try:
                status = self._read(
                    await self._client.ask(
                        self._place, body, timeout_s=self._told.timeout_s, answer_bytes_max=ANSWER_BYTES_MAX
                    )
                )
                result = "success"
                return status
            except (CallFailed, msgspec.MsgspecError) as error:
                result = _result(error)
                if attempt == ATTEMPTS or not _is_worth_another(error):
                    raise
            finally:
                self._metrics.evaluations.add((self._name, result))
                self._metrics.durations.of((self._name, result)).observe(time.perf_counter() - began)
            await self._clock.sleep(PAUSE_S * 1.5 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _read(self, answer: bytes) -> _Status:
        review = msgspec.json.decode(answer, type=_Review)
        if (review.api_version, review.kind) != (self._api_version, "SubjectAccessReview"):
            raise CallFailed(f"it answers with {review.api_version or '-'}, {review.kind or '-'}")
        return review.status


def spec_about(user: User, request: RequestInfo) -> dict[str, Any]:
    """Return the spec of a SubjectAccessReview (v1) that asks whether a user may do something. Pure."""
    spec: dict[str, Any] = {}
    if request.plural:
        named = {"namespace": request.namespace, "verb": request.verb, "group": request.group,
                 "version": request.version, "resource": request.plural, "subresource": request.subresource,
                 "name": request.name}  # fmt: skip
        attributes: dict[str, Any] = {key: text for key, text in named.items() if text}
        if request.field_selector and (requirements := _of_fields(request.field_selector)):
            attributes["fieldSelector"] = {"requirements": requirements}
        if request.label_selector and (requirements := _of_labels(request.label_selector)):
            attributes["labelSelector"] = {"requirements": requirements}
        spec["resourceAttributes"] = attributes
    else:
        asked = {"path": request.path, "verb": request.verb}
        spec["nonResourceAttributes"] = {key: text for key, text in asked.items() if text}
    if user.name:
        spec["user"] = user.name
    if user.groups:
        spec["groups"] = list(user.groups)
    if user.extra:
        spec["extra"] = {key: list(user.extra[key]) for key in sorted(user.extra)}
    if user.uid:
        spec["uid"] = user.uid
    return spec


def _of_fields(text: str) -> list[dict[str, Any]]:
    """Return a selector's requirements; one that cannot be read restricts nothing."""
    try:
        terms = parse_fields(text).terms
    except ApiError:
        return []
    return [{"key": each.field, "operator": "In" if each.equal else "NotIn", "values": [each.value]} for each in terms]


def _of_labels(text: str) -> list[dict[str, Any]]:
    try:
        requirements = parse_labels(text).requirements
    except ApiError:
        return []
    found = []
    for each in requirements:
        operator = _OPERATORS.get(each.operator)
        if operator is not None:
            values = {"values": list(each.values)} if each.values else {}
            found.append({"key": each.key, "operator": operator, **values})
    return found


def _decision(status: _Status) -> Decision:
    if status.denied and status.allowed:
        why = "webhook subject access review returned both allow and deny response"
        return Decision(False, status.reason, denied=True, error=why)
    return Decision(status.allowed, status.reason, denied=status.denied)


def _chosen_length(request: RequestInfo) -> int:
    return sum(map(len, (request.namespace, request.verb, request.group, request.version, request.plural,
                         request.subresource, request.name, request.path)))  # fmt: skip


def _result(error: Exception) -> str:
    if isinstance(error, CallFailed) and (error.is_late or error.code == 504):
        return "timeout"
    return "error"


def _is_worth_another(error: Exception) -> bool:
    return isinstance(error, CallFailed) and error.may_pass

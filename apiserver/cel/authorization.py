"""CEL's `authorizer`: asks whether the user who makes a request, or a service account, may do something else, too.

`authorizer.group("apps").resource("deployments").namespace("a").check("create").allowed()`, and so on; what is not
named is not asked for. After Kubernetes' authorization library for CEL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from apiserver.cel.evaluation import ANSWERS, Unanswered
from apiserver.cel.functions import STANDARD
from apiserver.cel.library import Function, require_texts
from apiserver.cel.values import Failure, no_overload
from apiserver.request import Authorizer, Decision, RequestInfo, User

CHECK_COST: Final = 350_000
"""What one question costs: a policy that asks more than a few times is too expensive."""


@dataclass(frozen=True, slots=True)
class AuthorizerValue:
    """`authorizer`: somebody whose rights can be asked about."""

    authorizer: Authorizer
    user: User
    request: RequestInfo
    cel_type = "kubernetes.authorization.Authorizer"

    def cel_field(self, name: str) -> Any:
        """Return the question about the resource of the request itself."""
        if name != "requestResource":
            raise Failure(f"no such key: {name}")
        return ResourceCheck(self.authorizer, self.user, self.request)


@dataclass(frozen=True, slots=True)
class PathCheck:
    """A question about a path that is no resource."""

    authorizer: Authorizer
    user: User
    path: str
    cel_type = "kubernetes.authorization.PathCheck"


@dataclass(frozen=True, slots=True)
class GroupCheck:
    """An API group, of which a resource is still to be named."""

    authorizer: Authorizer
    user: User
    group: str
    cel_type = "kubernetes.authorization.GroupCheck"


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    """A question about a resource."""

    authorizer: Authorizer
    user: User
    info: RequestInfo
    cel_type = "kubernetes.authorization.ResourceCheck"


@dataclass(frozen=True, slots=True)
class DecisionValue:
    """An answer."""

    decision: Decision
    cel_type = "kubernetes.authorization.Decision"


def _path(value: Any, path: Any) -> PathCheck:
    require_texts("path", path)
    if not isinstance(value, AuthorizerValue):
        raise no_overload("path", value, path)
    if not path:
        raise Failure("path must not be empty")
    return PathCheck(value.authorizer, value.user, path)


def _group(value: Any, group: Any) -> GroupCheck:
    require_texts("group", group)
    if not isinstance(value, AuthorizerValue):
        raise no_overload("group", value, group)
    return GroupCheck(value.authorizer, value.user, group)


def _service_account(value: Any, namespace: Any, name: Any) -> AuthorizerValue:
    require_texts("serviceAccount", namespace, name)
    if not isinstance(value, AuthorizerValue):
        raise no_overload("serviceAccount", value, namespace, name)
    if not namespace or not name:
        raise Failure("Invalid service account namespace or name")
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return replace(value, user=User(f"system:serviceaccount:{namespace}:{name}", groups=groups))


def _resource(value: Any, resource: Any) -> ResourceCheck:
    require_texts("resource", resource)
    if not isinstance(value, GroupCheck):
        raise no_overload("resource", value, resource)
    return ResourceCheck(value.authorizer, value.user, RequestInfo("", "", value.group, "*", resource))


def _part(name: str, field: str = "") -> Function:
    def narrow(value: Any, text: Any) -> ResourceCheck:
        require_texts(name, text)
        if not isinstance(value, ResourceCheck):
            raise no_overload(name, value, text)
        return replace(value, info=replace(value.info, **{field or name: text}))

    return narrow


def _check(value: Any, verb: Any) -> DecisionValue:
    require_texts("check", verb)
    if isinstance(value, PathCheck):
        asked = RequestInfo(verb, value.path)
    elif isinstance(value, ResourceCheck):
        asked = replace(value.info, verb=verb)
    else:
        raise no_overload("check", value, verb)
    return DecisionValue(_decide(value.authorizer, value.user, asked))


def _decide(authorizer: Authorizer, user: User, asked: RequestInfo) -> Decision:
    """Return the decision; raises Unanswered where somebody elsewhere makes it and has not been asked yet."""
    question = (user.name, user.uid, user.groups, tuple(sorted(user.extra.items())), asked)
    answers = ANSWERS.get(None)
    found = answers.get(question) if answers else None
    if found is None:
        found = authorizer.authorize(user, asked)
        if not isinstance(found, Decision):
            raise Unanswered(question, found)
    decision: Decision = found
    return decision


_check.cel_cost = CHECK_COST  # type: ignore[attr-defined]


def _answer(name: str, read: Any) -> Function:
    def answer(value: Any) -> Any:
        if not isinstance(value, DecisionValue):
            raise no_overload(name, value)
        return read(value.decision)

    return answer


METHODS: Final[dict[str, Function]] = {
    "path": _path,
    "group": _group,
    "serviceAccount": _service_account,
    "resource": _resource,
    "subresource": _part("subresource"),
    "namespace": _part("namespace"),
    "name": _part("name"),
    "fieldSelector": _part("fieldSelector", "field_selector"),
    "labelSelector": _part("labelSelector", "label_selector"),
    "check": _check,
    "allowed": _answer("allowed", lambda decision: decision.allowed),
    "reason": _answer("reason", lambda decision: decision.reason),
    "errored": _answer("errored", lambda decision: bool(decision.error)),
    "error": _answer("error", lambda decision: decision.error),
}
LIBRARY: Final = STANDARD.extended({}, METHODS)
"""What expressions of admission can call."""

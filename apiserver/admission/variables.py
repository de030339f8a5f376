"""What expressions of webhooks and policies see of a request, made only as far as they look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from api import serde
from api.resource import Resource
from apiserver.admission.attributes import described, options_of
from apiserver.cel.authorization import AuthorizerValue
from apiserver.cel.times import timestamp
from apiserver.request import AdmissionRequest, Authorizer, RequestInfo

CONDITION_NAMES: Final = frozenset({"object", "oldObject", "request", "authorizer"})
"""What conditions of webhooks see."""

Evaluate = Callable[[str, "Variables", Any], Any]
"""Gives the value of a variable that a policy has named: its name, what it sees, and the budget."""


class Variables:
    """The variables of one request; `with_params` and `with_namespace` make those of a policy."""

    def __init__(
        self,
        request: AdmissionRequest,
        matched: Resource[Any],
        obj: Any,
        old: Any,
        authorizer: Authorizer,
        *,
        params: Any = None,
        namespace: Any = None,
        composed: Composed | None = None,
    ) -> None:
        self._request = request
        self._matched = matched
        self._object = obj
        self._old = old
        self._authorizer = authorizer
        self._params = params
        self._namespace = namespace
        self._composed = composed
        self._made: dict[str, Any] = {}

    def of(self, names: frozenset[str], budget: Any) -> dict[str, Any]:
        """Return the values of the variables that an expression uses."""
        for name in names:
            if name not in self._made:
                self._made[name] = self._make(name)
        if "variables" in names and self._composed is not None:
            self._composed.budget = budget
        return {name: self._made[name] for name in names}

    def with_policy(self, *, params: Any, namespace: Any, composed: Composed) -> Variables:
        """Return the variables of a policy with these parameters, where what was made for others is made already."""
        made = Variables(
            self._request,
            self._matched,
            self._object,
            self._old,
            self._authorizer,
            params=params,
            namespace=namespace,
            composed=composed,
        )
        for name in ("object", "oldObject", "request", "authorizer"):
            if name in self._made:
                made._made[name] = self._made[name]
        composed.sees = made
        return made

    def _make(self, name: str) -> Any:
        match name:
            case "object":
                return _plain(self._object)
            case "oldObject":
                return _plain(self._old)
            case "request":
                request = self._request
                subject = self._object if self._object is not None else self._old
                asked = described(request, self._matched, subject)
                return asked | {"dryRun": request.dry_run, "options": options_of(request)}
            case "authorizer":
                return AuthorizerValue(self._authorizer, self._request.user, self._asked())
            case "params":
                return self._params
            case "namespaceObject":
                return _shown_namespace(self._namespace)
            case "variables":
                return self._composed
        raise KeyError(name)

    def _asked(self) -> RequestInfo:
        request, resource = self._request, self._request.resource
        return RequestInfo(
            request.operation.lower(),
            "",
            resource.group,
            resource.version,
            resource.plural,
            request.subresource,
            request.namespace,
            request.name,
        )


class Composed:
    """The variables that a policy names itself, each evaluated when first looked at, and once."""

    cel_type = "kubernetes.variables"

    def __init__(self, names: frozenset[str], evaluate: Evaluate) -> None:
        self._names = names
        self._evaluate = evaluate
        self._values: dict[str, Any] = {}
        self.sees: Variables | None = None
        self.budget: Any = None

    def cel_has(self, name: str) -> bool:
        """Whether there is such a variable."""
        return name in self._names

    def cel_field(self, name: str) -> Any:
        """Return a variable's value; raises Failure."""
        if name not in self._values:
            assert self.sees is not None
            self._values[name] = self._evaluate(name, self.sees, self.budget)
        return self._values[name]


def _plain(obj: Any) -> Any:
    return serde.to_value(obj) if obj is not None else None


def _shown_namespace(namespace: Any) -> Any:
    """Return what expressions may see of a Namespace."""
    if namespace is None:
        return None
    value = serde.to_value(namespace)
    metadata = value["metadata"]
    for hidden in ("managedFields", "ownerReferences"):
        metadata.pop(hidden, None)
    for moment in ("creationTimestamp", "deletionTimestamp"):
        if metadata.get(moment):
            metadata[moment] = timestamp(metadata[moment])
    metadata["UID"] = metadata.pop("uid", "")
    return value

"""The macros over lists and maps, and over optional values: `all`, `exists`, `filter`, `map` and their kin. Pure.

Each makes a step of the steps below it. Their variables are bound while their bodies are evaluated, and every element
costs, so that the cost bounds the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apiserver.cel.evaluation import Scope, Step, boolean
from apiserver.cel.values import Failure, Optional, no_overload


def _elements(scope: Scope, value: Any, second: str) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [(key, item) for key, item in value.items()]
    if isinstance(value, list):
        return [(i, item) for i, item in enumerate(value)] if second else [(item, None) for item in value]
    raise no_overload("@comprehension", value)


class _Bound:
    """Binds the variables of a macro while its body is evaluated."""

    __slots__ = ("_before", "_names", "_scope")

    def __init__(self, scope: Scope, first: str, second: str) -> None:
        self._scope = scope
        self._names = (first, second) if second else (first,)

    def __enter__(self) -> Callable[[Any, Any], None]:
        variables = self._scope.variables
        self._before = {name: variables[name] for name in self._names if name in variables}
        first, second = self._names[0], self._names[1] if len(self._names) > 1 else ""

        def bind(one: Any, other: Any) -> None:
            self._scope.spend(2)
            variables[first] = one
            if second:
                variables[second] = other

        return bind

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            self._scope.variables.pop(name, None)
        self._scope.variables.update(self._before)


def _quantifier(stops_at: bool) -> Callable[[Step, str, str, Step, Step | None], Step]:
    """Return `exists` (stops at true) or `all` (stops at false)."""

    def make(operand: Step, first: str, second: str, body: Step, transform: Step | None) -> Step:
        def step(scope: Scope) -> bool:
            failure: Failure | None = None
            elements = _elements(scope, operand(scope), second)
            with _Bound(scope, first, second) as bind:
                for one, other in elements:
                    bind(one, other)
                    try:
                        if boolean(body(scope)) is stops_at:
                            return stops_at
                    except Failure as error:
                        failure = failure or error
            if failure is not None:
                raise failure
            return not stops_at

        return step

    return make


def _exists_one(operand: Step, first: str, second: str, body: Step, transform: Step | None) -> Step:
    def step(scope: Scope) -> bool:
        elements = _elements(scope, operand(scope), second)
        count = 0
        with _Bound(scope, first, second) as bind:
            for one, other in elements:
                bind(one, other)
                count += boolean(body(scope))
        return count == 1

    return step


def _filter(operand: Step, first: str, second: str, body: Step, transform: Step | None) -> Step:
    def step(scope: Scope) -> list[Any]:
        elements = _elements(scope, operand(scope), second)
        found = []
        with _Bound(scope, first, second) as bind:
            for one, other in elements:
                bind(one, other)
                if boolean(body(scope)):
                    found.append(one)
        return found

    return step


def _map_macro(operand: Step, first: str, second: str, body: Step, transform: Step | None) -> Step:
    def step(scope: Scope) -> list[Any]:
        elements = _elements(scope, operand(scope), second)
        found = []
        with _Bound(scope, first, second) as bind:
            for one, other in elements:
                bind(one, other)
                if transform is None:
                    found.append(body(scope))
                elif boolean(body(scope)):
                    found.append(transform(scope))
        return found

    return step


def _opt(is_flat: bool) -> Callable[[Step, str, str, Step, Step | None], Step]:
    def make(operand: Step, first: str, second: str, body: Step, transform: Step | None) -> Step:
        def step(scope: Scope) -> Optional:
            value = operand(scope)
            if not isinstance(value, Optional):
                raise no_overload("optMap", value)
            if not value.is_present:
                return value
            with _Bound(scope, first, "") as bind:
                bind(value.value, None)
                result = body(scope)
            if is_flat and not isinstance(result, Optional):
                raise no_overload("optFlatMap", result)
            return result if is_flat else Optional(result, True)

        return step

    return make


MACROS: Final = {
    "all": _quantifier(False),
    "exists": _quantifier(True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map_macro,
    "optMap": _opt(False),
    "optFlatMap": _opt(True),
}

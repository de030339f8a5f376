"""What makes a library of functions, whatever they do: how they are held, and what checks what they are given. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apiserver.cel.values import Failure, no_overload

Function = Callable[..., Any]
TEXT_MAX: Final = 10 * 1024 * 1024
"""How long a text, or a list, may become by adding to it."""


@dataclass(frozen=True)
class Library:
    """What can be called: functions by name (`size`, `sets.contains`), methods by name without their target."""

    functions: Mapping[str, Function]
    methods: Mapping[str, Function]

    def extended(self, functions: Mapping[str, Function], methods: Mapping[str, Function]) -> Library:
        """Return the library with more in it."""
        return Library({**self.functions, **functions}, {**self.methods, **methods})


def require_texts(name: str, *given: Any) -> None:
    """Refuse what is not a string; raises Failure."""
    if not all(isinstance(value, str) for value in given):
        raise no_overload(name, *given)


def of_text(name: str, function: Callable[..., Any], count: int = 1) -> Function:
    """Return a function whose first `count` values must be strings."""

    def call(*given: Any) -> Any:
        require_texts(name, *given[:count])
        return function(*given)

    return call


def can(function: Function) -> Function:
    """Return a function that says whether another gives a value."""

    def call(value: Any) -> bool:
        try:
            function(value)
        except Failure:
            return False
        return True

    return call

"""Which kinds this server serves at present: those that are built in, and those that users have defined."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Final

from api.resource import Resource

_VERBS_OF_THE_GOING: Final = ("delete", "deletecollection", "get", "list", "watch")
"""What is listed of a custom kind whose definition is being deleted."""


class Kinds:
    """The table of kinds. `all` is replaced as a whole, so what is made from it can be remembered by it."""

    def __init__(self, built_in: Iterable[Resource[Any]]) -> None:
        self.built_in = tuple(built_in)
        self.all = self.built_in
        """Every kind that is served: those built in first, then custom ones by group, version and plural."""
        self.custom: tuple[Resource[Any], ...] = ()
        self.listed = self.all
        """The same as clients are told of them: a kind that is going shows fewer verbs."""
        self._by_gvr = {(kind.group, kind.version, kind.plural): kind for kind in self.all}

    def by_gvr(self, group: str, version: str, plural: str) -> Resource[Any] | None:
        """Return the kind served under that group, version and plural, or None; the core group is empty."""
        return self._by_gvr.get((group, version, plural))

    def serve(self, custom: Iterable[Resource[Any]]) -> None:
        """Serve these custom kinds, beside those built in, which take precedence."""
        taken = {(kind.group, kind.version, kind.plural) for kind in self.built_in}
        fitting = [kind for kind in custom if (kind.group, kind.version, kind.plural) not in taken]
        self.custom = tuple(sorted(fitting, key=lambda kind: (kind.group, kind.version, kind.plural)))
        self.all = (*self.built_in, *self.custom)
        self.listed = (*self.built_in, *(_as_listed(kind) for kind in self.custom))
        self._by_gvr = {(kind.group, kind.version, kind.plural): kind for kind in self.all}


def _as_listed(kind: Resource[Any]) -> Resource[Any]:
    if not kind.type.shape.is_terminating:
        return kind
    return dataclasses.replace(kind, verbs=tuple(verb for verb in kind.verbs if verb in _VERBS_OF_THE_GOING))

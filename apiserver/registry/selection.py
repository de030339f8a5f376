"""What part of a kind someone asked for: a namespace, a label selector, a field selector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.resource import Resource
from api.selectors import FieldTerm, Selector, parse_fields, parse_labels
from apiserver.registry.codec import Stored

INDEXED_FIELDS: Final = ("metadata.name", "spec.nodeName")
"""A watcher that asks for one value of these is not looked at for objects with another. The most telling first."""


class Selection:
    """A predicate over the objects of a kind; two of them with equal `key` select the same."""

    __slots__ = ("_labels", "_terms", "exact", "key", "namespace")

    def __init__(self, namespace: str, labels: Selector, terms: tuple[FieldTerm, ...]) -> None:
        self.namespace = namespace
        self._labels = None if labels.matches_everything else labels
        self._terms = terms
        self.key = (namespace, str(labels), ",".join(str(term) for term in terms))
        self.exact: Mapping[str, str] = {term.field: term.value for term in terms if term.equal}
        """Values that fields must have, by path: what an index can use."""

    @property
    def is_filtering(self) -> bool:
        """Whether it selects by more than namespace."""
        return self._labels is not None or bool(self._terms)

    def matches(self, stored: Stored) -> bool:
        """Whether `stored` is asked for."""
        if self.namespace and stored.namespace != self.namespace:
            return False
        if self._labels is not None and not self._labels.matches(stored.labels):
            return False
        return not self._terms or all((stored.field(term.field) == term.value) is term.equal for term in self._terms)


def select(
    resource: Resource[Any], namespace: str = "", label_selector: str = "", field_selector: str = ""
) -> Selection:
    """Compile what a request asks for; raises BadRequest for a selector that can't be understood or served."""
    fields = parse_fields(field_selector)
    fields.compile(resource)
    return Selection(namespace, parse_labels(label_selector), fields.terms)

"""Rules in CEL (`x-kubernetes-validations`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from api.resource import FieldError
from apiserver.crd.structural import Node


class Checker:
    def __init__(self, node: Node) -> None:
        self._node = node

    def check(self, value: Any, old: Any) -> Iterator[FieldError]:
        yield from ()

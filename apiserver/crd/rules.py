"""Rules in CEL that a schema sets (`x-kubernetes-validations`, KEP-2876), evaluated on objects and timed.

A rule stands at a place of the schema and sees the value there as `self`. One that also names `oldSelf` judges changes:
it is evaluated only where the value can be found in the old object too, which elements of plain lists cannot. All
rules together may cost `COST_MAX`; when that is spent the object is refused, since it cannot be told to be good.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from api import validation as v
from api.resource import FieldError
from apiserver.cel import times
from apiserver.cel.program import COST_MAX as CALL_COST_MAX
from apiserver.cel.program import BadProgram, CostExceeded, Program, compile_
from apiserver.cel.values import Failure, Optional, Timestamp, Unordered
from apiserver.crd import field_paths, rule_types
from apiserver.crd.structural import Node, Plain
from apiserver.crd.values import NOTHING, is_unchanged, item_before
from component.metrics import Spread, shared

_NO_MORE: Final = "no further validation rules will be run"
_NO_BUDGET: Final = f"validation failed due to running out of cost budget, {_NO_MORE}"
_CANCELLED: Final = f"'operation cancelled: actual cost limit exceeded': {_NO_MORE}"
_NO_OVERLOAD: Final = "call arguments did not match a supported operator, function or macro signature"
COST_MAX: Final = 10_000_000
"""What all rules of one object may cost."""
VARIABLES: Final = frozenset({"self", "oldSelf"})
COMPILED: Final = shared(Spread("apiserver_cel_compilation_duration_seconds", "How long compiling each rule took."))
EVALUATED: Final = shared(
    Spread("apiserver_cel_evaluation_duration_seconds", "How long evaluating all rules of an object took.")
)
_MESSAGE_BYTES_MAX: Final = 5 * 1024
_REASONS: Final = {
    "FieldValueRequired": v.required,
    "FieldValueForbidden": v.forbidden,
}


class _Rule:
    """One rule, compiled."""

    def __init__(self, declared: Plain, node: Node) -> None:
        self.text: str = declared.get("rule") or ""
        self.program: Program = compile_(self.text, VARIABLES, types=_types_in(self.text, declared, node))
        expression = declared.get("messageExpression") or ""
        self.message_text: str = expression
        self._message_program = compile_(expression, VARIABLES) if expression else None
        self._message: str = (declared.get("message") or "").strip()
        self.reason: str = declared.get("reason") or "FieldValueInvalid"
        self.field_path: str = _place(declared.get("fieldPath") or "", node)
        self.is_transition = "oldSelf" in self.program.names
        self.takes_optional = bool(declared.get("optionalOldSelf"))

    @property
    def default_message(self) -> str:
        """What is said where the rule has nothing better to say."""
        return self._message or f"failed rule: {self.text.strip()}"

    @property
    def told_as(self) -> str:
        """What the rule is called where it could not be asked."""
        return self._message or self.text.strip()

    def message(self, variables: Plain, limit: int) -> tuple[str, int]:
        """Return what to say of values that break the rule, and what it cost to find the words.

        Raises:
            CostExceeded: that would cost more than `limit`.
        """
        if self._message_program is None:
            return self.default_message, 0
        try:
            text, cost = self._message_program.evaluate(variables, limit)
        except Failure:
            return self.default_message, 0
        text = text.strip() if isinstance(text, str) else ""
        if not text or "\n" in text or len(text.encode()) > _MESSAGE_BYTES_MAX:
            text = self.default_message
        return text, cost


def _types_in(text: str, declared: Plain, node: Node) -> Mapping[int, Any]:
    """Return the types of a rule's parts, as far as the program needs them: rules that sum."""
    if "sum" not in text:
        return {}
    try:
        takes_optional = bool(declared.get("optionalOldSelf"))
        return rule_types.check_types(text, node, is_root=False, takes_optional=takes_optional).types
    except BadProgram:
        return {}


def _place(field_path: str, node: Node) -> str:
    """Return a path below a place as errors name it; empty where it leads nowhere."""
    try:
        return field_paths.find(field_path, node).text
    except field_paths.BadFieldPath:
        return ""


class Checker:
    """All rules of one schema. Rules that cannot be compiled are passed over: the definition was refused for them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rules: dict[int, list[_Rule]] = {}
        self._converted: set[int] = set()
        """Nodes below which some value is another thing in CEL than in JSON."""
        self._ruled: set[int] = set()
        """Nodes at or below which there are rules."""
        self._prepare(node)

    def _prepare(self, node: Node) -> None:
        for declared in node.rules:
            try:
                with COMPILED.of().timing():
                    rule = _Rule(declared, node)
                self._rules.setdefault(id(node), []).append(rule)
            except BadProgram:
                continue
        below = [*node.properties.values(), *(one for one in (node.items, node.additional) if isinstance(one, Node))]
        for child in below:
            self._prepare(child)
        if id(node) in self._rules or any(id(child) in self._ruled for child in below):
            self._ruled.add(id(node))
        is_special = node.type == "number" or node.list_type in ("set", "map") or node.format in _SPECIAL
        is_special = is_special or any(child.nullable for child in node.properties.values())
        if is_special or any(id(child) in self._converted for child in below):
            self._converted.add(id(node))

    @property
    def has_rules(self) -> bool:
        """Whether there is any rule."""
        return id(self._node) in self._ruled

    def check(self, value: Any, old: Any) -> Iterator[FieldError]:
        """Yield the rules that a whole object breaks; `old` is what it was before, None when it is new."""
        if not self.has_rules:
            return
        budget = [COST_MAX]
        with EVALUATED.of().timing(), contextlib.suppress(CostExceeded):  # It has been told of.
            before = NOTHING if old is None else old
            yield from self._walk(value, before, self._node, "", budget, is_known=False)

    def _walk(
        self, value: Any, old: Any, node: Node, path: str, budget: list[int], *, is_known: bool
    ) -> Iterator[FieldError]:
        """Yield the rules broken at a place and below it; `is_known` is whether what it is part of was so before."""
        if id(node) not in self._ruled or value is None:
            return
        rules = self._rules.get(id(node), ())
        if old is not NOTHING and not is_known and (rules or isinstance(value, list)):
            is_known = is_unchanged(value, old, node)
        for rule in rules:
            yield from self._apply(rule, value, old, node, path, budget, is_known=is_known)
        if isinstance(value, dict):
            for name, item in value.items():
                child = node.child(name)
                if child is not None:
                    before = old.get(name, NOTHING) if isinstance(old, dict) else NOTHING
                    declared = name in node.properties
                    where = (f"{path}.{name}" if path else name) if declared else f"{path}[{name}]"
                    yield from self._walk(item, before, child, where, budget, is_known=is_known)
        elif isinstance(value, list) and node.items is not None:
            for i, item in enumerate(value):
                before = item_before(item, node, old)
                yield from self._walk(item, before, node.items, f"{path}[{i}]", budget, is_known=is_known)

    def _apply(
        self, rule: _Rule, value: Any, old: Any, node: Node, path: str, budget: list[int], *, is_known: bool
    ) -> Iterator[FieldError]:
        """Yield what a rule finds; what it does not allow is let be where it was so before (KEP-4008).

        Raises:
            CostExceeded: no more rules can be afforded; the last error told so.
        """
        variables: Plain = {"self": self._to_cel(value, node)}
        if rule.is_transition:
            if old is NOTHING and not rule.takes_optional:
                return
            before = None if old is NOTHING else self._to_cel(old, node)
            variables["oldSelf"] = Optional(before, old is not NOTHING) if rule.takes_optional else before
        where, shown = path or "<nil>", node.type
        limit = min(budget[0], CALL_COST_MAX)
        try:
            result, cost = rule.program.evaluate(variables, limit)
        except CostExceeded:
            why = f"{_CANCELLED} due to call cost exceeds limit for rule: {rule.told_as}"
            yield v.invalid(where, shown, why if limit == CALL_COST_MAX else _NO_BUDGET)
            raise
        except Failure as failure:
            why = f"{failure} evaluating rule: {rule.told_as}"
            if str(failure).startswith("no such overload"):
                why = f"'no such overload': {_NO_OVERLOAD} for rule: {rule.told_as}"
            yield v.invalid(where, shown, why)
            return
        budget[0] -= cost
        if result is True:
            return
        limit = min(budget[0], CALL_COST_MAX)
        try:
            message, cost = rule.message(variables, limit)
        except CostExceeded:
            why = f"messageExpression evaluation failed due to running out of cost budget, {_NO_MORE}"
            if limit == CALL_COST_MAX:
                why = f"{_NO_MORE} due to call cost exceeds limit for messageExpression: {v.show(rule.message_text)}"
            yield v.invalid(where, shown, why)
            raise
        budget[0] -= cost
        if rule.is_transition or not is_known:
            place = (path + rule.field_path).removeprefix(".") if rule.field_path else path
            yield _error(rule.reason, place or "<nil>", shown, message)

    def _to_cel(self, value: Any, node: Node) -> Any:
        """Return a value as rules see it: moments and lengths of time, doubles, lists whose order says nothing.

        A field that is null is as good as absent; null in a map or a list is a value.
        """
        if id(node) not in self._converted or value is None:
            return value
        if isinstance(value, dict):
            return {
                name: self._to_cel(item, child) if (child := node.child(name)) is not None else item
                for name, item in value.items()
                if item is not None or name not in node.properties
            }
        if isinstance(value, list):
            items = [self._to_cel(item, node.items) for item in value] if node.items is not None else value
            if node.list_type not in ("set", "map"):
                return items
            made = Unordered(items)
            made.keys = node.list_keys
            return made
        if node.type == "number" and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and node.format in _SPECIAL:
            try:
                return _SPECIAL[node.format](value)
            except Failure:
                return value
        return value


def _error(reason: str, path: str, shown: str, message: str) -> FieldError:
    make = _REASONS.get(reason)
    if make is not None:
        return make(path, message)
    if reason == "FieldValueDuplicate":
        return v.duplicate(path, shown)
    return v.invalid(path, shown, message)


def _date(text: str) -> Timestamp:
    return times.timestamp(f"{text}T00:00:00Z")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Failure("not base64") from None


_SPECIAL: Final = {
    "date": _date,
    "date-time": times.timestamp,
    "datetime": times.timestamp,
    "duration": times.duration,
    "byte": _bytes,
}

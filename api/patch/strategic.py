"""Strategic merge patch: a merge patch that knows which lists are sets of named things.

What a list does is declared with its field (`api.schema.Wire`): lists with a merge key merge item by item, lists of
scalars with strategy `merge` unite, all others are replaced. A patch can say more by directives:

- `$patch: replace | delete` in an object or a list's item;
- `$deleteFromPrimitiveList/FIELD`: scalars to take out of a list;
- `$setElementOrder/FIELD`: the order in which the listed items shall stand;
- `$retainKeys`: the only keys of this object that shall survive, for unions such as a Deployment's strategy.

Reference: Kubernetes community, "Strategic Merge Patch" (contributors/devel/sig-api-machinery).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from api.go_types import printed, type_of
from api.patch.failure import PatchFailure
from api.schema import FieldSchema, Struct, TypeSchema, fields_of

_PATCH: Final = "$patch"
_RETAIN_KEYS: Final = "$retainKeys"
_DELETE_FROM: Final = "$deleteFromPrimitiveList/"
_SET_ORDER: Final = "$setElementOrder/"
_UNTYPED: Final = TypeSchema("any")


def apply(document: Any, patch: Any, struct: type[Struct]) -> Any:
    """Return `document` with `patch` merged into it as `struct` declares; raises PatchFailure."""
    if not isinstance(patch, dict):
        raise PatchFailure("a strategic merge patch is an object", is_malformed=True)
    return _merge_object(document if isinstance(document, dict) else {}, patch, TypeSchema("struct", struct=struct), "")


# --- objects --------------------------------------------------------------------------------------------------------


def _merge_object(document: dict[str, Any], patch: dict[str, Any], schema: TypeSchema, path: str) -> dict[str, Any]:
    directive = patch.get(_PATCH)
    if directive == "replace":
        replaced: dict[str, Any] = _without_directives(patch)
        return replaced
    if directive == "delete":
        return {}
    if directive is not None:
        raise PatchFailure(f"unknown patch type: {directive} in map: {printed(patch)}", is_malformed=True)
    merged = _retain(document, patch, path)
    declared = fields_of(schema.struct) if schema.struct is not None else {}
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN_KEYS) or key.startswith((_DELETE_FROM, _SET_ORDER)):
            continue
        where = f"{path}.{key}" if path else key
        if value is None:
            merged.pop(key, None)
            continue
        field = declared.get(key)
        kind = field.type if field is not None else schema.item if schema.kind == "map" and schema.item else _UNTYPED
        if isinstance(value, dict):
            before = merged.get(key)
            merged[key] = _merge_object(before if isinstance(before, dict) else {}, value, kind, where)
        elif isinstance(value, list):
            before = merged.get(key)
            merged[key] = _merge_list(before if isinstance(before, list) else [], value, field, where)
        else:
            merged[key] = value
    _delete_from_lists(merged, patch, path)
    _set_orders(document, merged, patch, declared, path)
    return merged


def _retain(document: dict[str, Any], patch: dict[str, Any], path: str) -> dict[str, Any]:
    retained = patch.get(_RETAIN_KEYS)
    if retained is None:
        return dict(document)
    if not isinstance(retained, list):
        raise PatchFailure(f"{path}: $retainKeys must be a list", is_malformed=True)
    for key, value in patch.items():
        if not key.startswith("$") and value is not None and key not in retained:
            raise PatchFailure(f"{path}: $retainKeys does not name {key}, which the patch sets", is_malformed=True)
    return {key: value for key, value in document.items() if key in retained}


def _delete_from_lists(merged: dict[str, Any], patch: dict[str, Any], path: str) -> None:
    for directive, values in patch.items():
        if directive.startswith(_DELETE_FROM):
            if not isinstance(values, list):
                raise PatchFailure(f"{path}: {directive} must be a list", is_malformed=True)
            key = directive.removeprefix(_DELETE_FROM)
            current = merged.get(key)
            if isinstance(current, list):
                merged[key] = [value for value in current if value not in values]


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_directives(item) for key, item in value.items() if not _is_directive(key)}
    if isinstance(value, list):
        return [_without_directives(item) for item in value]
    return value


def _is_directive(key: str) -> bool:
    return key in (_PATCH, _RETAIN_KEYS) or key.startswith((_DELETE_FROM, _SET_ORDER))


# --- lists ----------------------------------------------------------------------------------------------------------


def _merge_list(document: list[Any], patch: list[Any], field: FieldSchema | None, path: str) -> list[Any]:
    wire = field.wire if field is not None else None
    if field is None or wire is None or "merge" not in wire.patch:
        return [_without_directives(item) for item in patch]
    item_schema = field.type.item or _UNTYPED
    if wire.merge_key is None:
        return _unite(document, patch)
    return _merge_items(document, patch, wire.merge_key, item_schema, path)


def _unite(document: list[Any], patch: list[Any]) -> list[Any]:
    wanted = list(_unique(patch))
    kept = [value for value in document if value not in wanted]
    return _interleave(kept, wanted, document)


def _unique(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _merge_items(document: list[Any], patch: list[Any], merge_key: str, schema: TypeSchema, path: str) -> list[Any]:
    for item in patch:
        if not isinstance(item, dict):
            raise PatchFailure(f"{path}: its items must be objects", is_malformed=True)
    if any(item.get(_PATCH) == "merge" for item in patch):
        raise PatchFailure("merging lists cannot yet be specified in the patch", is_malformed=True)
    if any(item.get(_PATCH) == "replace" for item in patch):
        return [_without_directives(item) for item in patch if _PATCH not in item]
    key_of = _key_reader(merge_key, path)
    doomed = [key_of(item) for item in patch if item.get(_PATCH) == "delete"]
    current = [item for item in document if not isinstance(item, dict) or item.get(merge_key) not in doomed]
    merged: list[Any] = list(current)
    order: list[Any] = []
    for item in patch:
        directive = item.get(_PATCH)
        if directive == "delete":
            continue
        key = key_of(item)
        place = next(
            (i for i, other in enumerate(merged) if isinstance(other, dict) and other.get(merge_key) == key), None
        )
        where = f"{path}[{merge_key}={key}]"
        if place is None:
            merged.append(_merge_object({}, item, schema, where))
        else:
            merged[place] = _merge_object(merged[place], item, schema, where)
        order.append(key)
    return _reorder(merged, order, [_key(item, merge_key) for item in document], merge_key)


def _key_reader(merge_key: str, path: str) -> Callable[[dict[str, Any]], Any]:
    def read(item: dict[str, Any]) -> Any:
        if merge_key not in item:
            raise PatchFailure(
                f"{path}: map: {printed(item)} does not contain declared merge key: {merge_key}",
                is_malformed=True,
            )
        return item[merge_key]

    return read


def _key(item: Any, merge_key: str | None) -> Any:
    return item.get(merge_key) if merge_key is not None and isinstance(item, dict) else item


# --- order ----------------------------------------------------------------------------------------------------------


def _set_orders(
    document: dict[str, Any],
    merged: dict[str, Any],
    patch: dict[str, Any],
    declared: dict[str, FieldSchema],
    path: str,
) -> None:
    for directive, order in patch.items():
        if not directive.startswith(_SET_ORDER):
            continue
        key = directive.removeprefix(_SET_ORDER)
        if not isinstance(order, list):
            raise PatchFailure(f"{path}: {directive} must be a list", is_malformed=True)
        field = declared.get(key)
        merge_key = field.wire.merge_key if field is not None and field.wire is not None else None
        _check_order(patch.get(key), order, merge_key, key)
        current = merged.get(key)
        if not isinstance(current, list):
            continue
        before = document.get(key)
        server_order = [_key(item, merge_key) for item in before] if isinstance(before, list) else []
        merged[key] = _reorder(current, [_key(item, merge_key) for item in order], server_order, merge_key)


def _check_order(patch: Any, order: list[Any], merge_key: str | None, name: str) -> None:
    """Refuse a patch whose items do not stand in the order that it asks for; an order of nothing asks for none."""
    if patch is not None and not isinstance(patch, list):
        received = type_of(patch)
        raise PatchFailure(f"expected a []interface {{}}, but received a {received}", is_malformed=True)
    if not order:
        return
    items = [item for item in patch or () if not (isinstance(item, dict) and _PATCH in item)]
    wanted = iter([_key(item, merge_key) for item in order])
    # Each is looked for behind the one before.
    if not all(_key(item, merge_key) in wanted for item in items):
        raise PatchFailure(
            f"The order in patch list:\n{[_key(item, merge_key) for item in items]}\n doesn't match "
            f"{_SET_ORDER}{name} list:\n{[_key(item, merge_key) for item in order]}\n",
            is_malformed=True,
        )


def _reorder(
    items: list[Any], wanted_order: Sequence[Any], server_order: Sequence[Any], merge_key: str | None
) -> list[Any]:
    """Put the items that `wanted_order` names into that order, and keep the others where the server had them."""
    places = {_hashable(key): place for place, key in enumerate(wanted_order)}
    wanted = sorted(
        (item for item in items if _hashable(_key(item, merge_key)) in places),
        key=lambda item: places[_hashable(_key(item, merge_key))],
    )
    others = [item for item in items if _hashable(_key(item, merge_key)) not in places]
    return _interleave(others, wanted, server_order, merge_key)


def _interleave(
    others: list[Any], wanted: list[Any], server_order: Sequence[Any], merge_key: str | None = None
) -> list[Any]:
    """Merge two ordered lists: one of the others goes first only where the server had it before the next wanted one.

    So what is new to the server comes before what it has, as the API does it.
    """
    places: dict[Any, int] = {}
    for place, key in enumerate(server_order):
        places.setdefault(_hashable(key), place)
    merged: list[Any] = []
    i = j = 0
    while i < len(others) and j < len(wanted):
        left = places.get(_hashable(_key(others[i], merge_key)))
        right = places.get(_hashable(_key(wanted[j], merge_key)))
        if left is not None and right is not None and left < right:
            merged.append(others[i])
            i += 1
        else:
            merged.append(wanted[j])
            j += 1
    return [*merged, *others[i:], *wanted[j:]]


def _hashable(key: Any) -> Any:
    return (type(key).__name__, key if isinstance(key, (str, int, float, bool, type(None))) else repr(key))

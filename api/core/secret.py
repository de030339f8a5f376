"""Secret: what only some may read. Values are bytes, and travel in base64.

`stringData` is for writing only: it is folded into `data`, and never comes back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Final

from api import go_syntax, names
from api import validation as v
from api.columns import AGE
from api.core.key_pairs import mismatch
from api.meta import ObjectMeta
from api.resource import Column, Resource
from api.schema import Struct, always, field, wire


class Secret(Struct):
    """Something that only some may read: passwords, tokens, keys. Values travel in base64; at most 1 MiB in all.

    Attributes:
        immutable: Whether data can never be changed again, so that nodes need not watch; false by default, and never
            taken back.
        data: Bytes by name, in base64; names are of letters, digits, -, _ and . up to 253 characters.
        string_data: Text by name, for writing only: the server puts it into data, over what is there.
        type: What programs expect in it, such as kubernetes.io/tls; some types need certain entries. Opaque by default.
            Never changes.
    """

    api_version: str = always("v1")
    kind: str = always("Secret")
    metadata: Annotated[ObjectMeta, wire(1)] = field(default_factory=ObjectMeta)
    immutable: Annotated[bool | None, wire(5)] = None
    data: Annotated[dict[str, bytes], wire(2)] = {}
    string_data: Annotated[dict[str, str], wire(4)] = {}
    type: Annotated[str, wire(3)] = ""


_BYTES_MAX = 2**20
_REQUIRED_KEYS = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/ssh-auth": "ssh-privatekey",
}
_SERVICE_ACCOUNT = "kubernetes.io/service-account.name"


def default(secret: Secret) -> None:
    """Fold the text into the bytes; a secret of no type is opaque."""
    secret.type = secret.type or "Opaque"
    for key, text in secret.string_data.items():
        secret.data[key] = text.encode()
    secret.string_data = {}


def validate(new: Secret, old: Secret | None) -> v.Errors:
    """Check keys, size and what the type promises, and that what is immutable stays."""
    size = 0
    for key, content in new.data.items():
        yield from v.check_name(f"data[{key}]", key, names.check_config_key)
        size += len(content)
    if size > _BYTES_MAX:
        yield v.too_long("data", _BYTES_MAX)
    yield from _check_type(new)
    if old is None:
        return
    yield from v.check_immutable("type", new.type, old.type)
    if old.immutable:
        why = "field is immutable when `immutable` is set"
        if not new.immutable:
            yield v.forbidden("immutable", why)
        if new.data != old.data:
            yield v.forbidden("data", why)


def _check_type(secret: Secret) -> v.Errors:
    match secret.type:
        case "kubernetes.io/tls":
            for key in ("tls.crt", "tls.key"):
                if key not in secret.data:
                    yield v.required(f"data[{key}]")
        case "kubernetes.io/basic-auth":
            if "username" not in secret.data and "password" not in secret.data:
                yield v.required("data[%s][username]")
                yield v.required("data[%s][password]")
        case "kubernetes.io/service-account-token":
            if not secret.metadata.annotations.get(_SERVICE_ACCOUNT):
                yield v.required(f"metadata.annotations[{_SERVICE_ACCOUNT}]")
        case "kubernetes.io/ssh-auth":
            if not secret.data.get("ssh-privatekey"):
                yield v.required("data[%s][ssh-privatekey]")
        case other:
            key = _REQUIRED_KEYS.get(other, "")
            if key and key not in secret.data:
                yield v.required(f"data[{key}]")
            elif key and (wrong := _wrong_object(secret.data[key])):
                yield v.invalid(f"data[{key}]", "<secret contents redacted>", wrong)


def _wrong_object(content: bytes) -> str:
    """Return why something is no JSON object, in the words of Go's encoding/json; empty if it is."""

    def refuse_constant(text: str) -> None:
        raise ValueError(go_syntax.bad_constant(text))

    try:
        value = json.loads(content.decode(errors="replace"), parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        return go_syntax.of_json(error)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "exceeded max depth"
    kinds = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    if value is None or isinstance(value, dict):
        return ""
    return f"json: cannot unmarshal {kinds[type(value)]} into Go value of type map[string]interface {{}}"


def warn(new: Secret, old: Secret | None) -> Iterator[str]:
    """Warn of a server's certificate whose key is not its own."""
    if new.type == "kubernetes.io/tls":
        wrong = mismatch(new.data["tls.crt"], new.data["tls.key"])
        if wrong:
            yield wrong


RESOURCE: Final[Resource[Secret]] = Resource(
    type=Secret,
    group="",
    version="v1",
    kind="Secret",
    plural="secrets",
    namespaced=True,
    default=default,
    validate=validate,
    warn=warn,
    columns=(
        Column("Type", "string", lambda secret, now: secret.type, "What programs expect to find in it."),
        Column("Data", "string", lambda secret, now: len(secret.data), "How many keys it has."),
        AGE,
    ),
    selectable_fields={"type": lambda secret: secret.type},
)

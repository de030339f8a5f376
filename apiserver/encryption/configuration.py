"""EncryptionConfiguration: which kinds are encrypted, with what. API: apiserver.config.k8s.io/v1.

    apiVersion: apiserver.config.k8s.io/v1
    kind: EncryptionConfiguration
    resources:
    - resources: [secrets, "*.apps"]
      providers:
      - aesgcm: {keys: [{name: key1, secret: <base64>}]}
      - identity: {}

The first provider writes, all of them read; of a provider's keys the same is true. The first entry that names a kind
decides about it. What is wrong is said with its place in the file.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from apiserver import configuration_file
from apiserver.encryption.providers import ALGORITHMS, Identity, Key, Keyed, Provider, Providers

_API_VERSION: Final = "apiserver.config.k8s.io/v1"
_KIND: Final = "EncryptionConfiguration"
_NEVER: Final = ("ranges", "masterleases")
"""Below /registry, and no objects: what the servers keep for themselves."""


class BadConfiguration(ValueError):
    """An encryption configuration that cannot be used; says what is wrong with it, and where."""


class _KeyEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    secret: str


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[_KeyEntry]


class _ProviderEntry(msgspec.Struct, forbid_unknown_fields=True):
    aesgcm: _Keys | None = None
    aescbc: _Keys | None = None
    secretbox: _Keys | None = None
    identity: dict[str, Any] | None = None
    kms: dict[str, Any] | None = None


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    resources: list[str]
    providers: list[_ProviderEntry]


class _File(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    api_version: str
    kind: str
    resources: list[_Entry]


@dataclass(frozen=True, slots=True)
class _Rule:
    patterns: tuple[tuple[str, str], ...]
    """Plural and group; either may be `*`."""
    providers: Providers

    def covers(self, group: str, plural: str) -> bool:
        return any(wanted in ("*", plural) and theirs in ("*", group) for wanted, theirs in self.patterns)


class Configuration:
    """Which providers serve which keys of the store."""

    def __init__(self, rules: Sequence[_Rule] = ()) -> None:
        self._rules = tuple(rules)

    def providers_of(self, key: bytes) -> Providers | None:
        """Return who reads and writes the value at `/registry/<group>/<plural>/...`; None: it is stored as it is."""
        parts = key.split(b"/", 4)
        if len(parts) < 5 or parts[1] != b"registry":
            return None
        group, plural = parts[2].decode(), parts[3].decode()
        if group in _NEVER:
            return None
        group = "" if group == "core" else group
        for rule in self._rules:
            if rule.covers(group, plural):
                return rule.providers
        return None


def parse(text: bytes) -> Configuration:
    """Return the configuration in a YAML or JSON file.

    Raises:
        BadConfiguration: it cannot be used.
    """
    try:
        found = configuration_file.read(text, _File, (_API_VERSION,), _KIND)
    except configuration_file.BadFile as error:
        raise BadConfiguration(str(error)) from None
    if not found.resources:
        raise BadConfiguration("resources: at least one entry is needed")
    return Configuration([_rule(entry, f"resources[{index}]") for index, entry in enumerate(found.resources)])


def _rule(entry: _Entry, where: str) -> _Rule:
    if not entry.resources:
        raise BadConfiguration(f"{where}.resources: at least one resource is needed")
    if not entry.providers:
        raise BadConfiguration(f"{where}.providers: at least one provider is needed")
    patterns = tuple(_pattern(text, f"{where}.resources[{index}]") for index, text in enumerate(entry.resources))
    names: set[tuple[str, str]] = set()
    providers = [_provider(each, f"{where}.providers[{index}]", names) for index, each in enumerate(entry.providers)]
    return _Rule(patterns, Providers(providers))


def _pattern(text: str, where: str) -> tuple[str, str]:
    if text != text.lower():
        raise BadConfiguration(f"{where}: {text!r}: resource names have no capital letters")
    if text == "*":
        raise BadConfiguration(f"{where}: '*': use '*.' for all of the core group, or '*.*' for all of every group")
    plural, _, group = text.partition(".")
    if not plural or "/" in text:
        raise BadConfiguration(f"{where}: {text!r}: expected RESOURCE, RESOURCE.GROUP, '*.GROUP', '*.' or '*.*'")
    return plural, group


def _provider(entry: _ProviderEntry, where: str, names: set[tuple[str, str]]) -> Provider:
    given = [name for name in entry.__struct_fields__ if getattr(entry, name) is not None]
    if len(given) != 1:
        raise BadConfiguration(f"{where}: exactly one provider is needed, and there are {len(given)}")
    kind = given[0]
    if kind == "kms":
        raise BadConfiguration(
            f"{where}.kms: key management services are not supported: use aesgcm, aescbc or secretbox, whose keys are "
            "in this file"
        )
    if kind == "identity":
        return Identity()
    keys: list[_KeyEntry] = getattr(entry, kind).keys
    if not keys:
        raise BadConfiguration(f"{where}.{kind}.keys: at least one key is needed")
    return Keyed(kind, [_key(key, kind, f"{where}.{kind}.keys[{index}]", names) for index, key in enumerate(keys)])


def _key(entry: _KeyEntry, kind: str, where: str, names: set[tuple[str, str]]) -> Key:
    if not entry.name or ":" in entry.name:
        raise BadConfiguration(f"{where}.name: {entry.name!r}: a name is needed, without colons")
    if (kind, entry.name) in names:
        raise BadConfiguration(f"{where}.name: {entry.name!r} is there twice")
    names.add((kind, entry.name))
    try:
        secret = base64.b64decode(entry.secret, validate=True)
    except (binascii.Error, ValueError):
        raise BadConfiguration(f"{where}.secret: it is not base64") from None
    sizes = ALGORITHMS[kind].key_bytes
    if len(secret) not in sizes:
        wanted = " or ".join(map(str, sizes))
        raise BadConfiguration(f"{where}.secret: {kind} takes a key of {wanted} bytes, and this one has {len(secret)}")
    return Key(entry.name, secret)

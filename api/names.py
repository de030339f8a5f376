"""What may be a name, a label or an annotation key (RFC 1035, RFC 1123, API conventions "Names").

Each `check_` returns what is wrong with a value as sentences, and nothing for a good one; the caller says
where the value stood. They are fast on good values, which nearly all are.
"""

from __future__ import annotations

import re
from random import Random
from typing import Final

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = f"({_QUALIFIED})?"
_PATH_FORBIDDEN: Final = ("/", "%")

_label = re.compile(_LABEL).fullmatch
_label_1035 = re.compile(_LABEL_1035).fullmatch
_subdomain = re.compile(_SUBDOMAIN).fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch
_value = re.compile(_VALUE).fullmatch
_config_key = re.compile("[-._a-zA-Z0-9]+").fullmatch
_env_name = re.compile("[ -<>-~]+").fullmatch
_port_name = re.compile("[a-z0-9-]+").fullmatch

SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, so that no words come about; no 0, 1 or 3, which read like letters."""
SUFFIX_LENGTH: Final = 5
_GENERATED_MAX: Final = 63


def _too_long(max_length: int) -> str:
    return f"must be no more than {max_length} characters"


def _pattern(text: str, pattern: str, *examples: str) -> str:
    shown = "".join(f"'{example}',  or " for example in examples[:-1]) + f"'{examples[-1]}'"
    return f"{text} (e.g. {shown}, regex used for validation is '{pattern}')"


_BAD_LABEL: Final = _pattern(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end"
    " with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
_BAD_LABEL_1035: Final = _pattern(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic"
    " character, and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_BAD_SUBDOMAIN: Final = _pattern(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
    " start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_BAD_WILDCARD: Final = _pattern(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower"
    " case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    rf"\*\.{_SUBDOMAIN}",
    "*.example.com",
)
_BAD_QUALIFIED: Final = _pattern(
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_BAD_VALUE: Final = _pattern(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start"
    " and end with an alphanumeric character",
    _VALUE,
    "MyValue",
    "my_value",
    "12345",
)
_BAD_CONFIG_KEY: Final = _pattern(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    "[-._a-zA-Z0-9]+",
    "key.name",
    "KEY_NAME",
    "key-name",
)
_BAD_ENV_NAME: Final = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)


def check_label(value: str) -> list[str]:
    """Check an RFC 1123 label: the name of a namespace or a container."""
    wrong = [] if len(value) <= 63 else [_too_long(63)]
    return wrong if _label(value) else [*wrong, _BAD_LABEL]


def check_label_1035(value: str) -> list[str]:
    """Check an RFC 1035 label: the name of a Service."""
    wrong = [] if len(value) <= 63 else [_too_long(63)]
    return wrong if _label_1035(value) else [*wrong, _BAD_LABEL_1035]


def check_subdomain(value: str) -> list[str]:
    """Check an RFC 1123 subdomain: the name of most objects."""
    wrong = [] if len(value) <= 253 else [_too_long(253)]
    return wrong if _subdomain(value) else [*wrong, _BAD_SUBDOMAIN]


def check_wildcard_subdomain(value: str) -> list[str]:
    """Check an RFC 1123 subdomain of which the first part is `*`: a host of an Ingress."""
    wrong = [] if len(value) <= 253 else [_too_long(253)]
    return wrong if value[:2] == "*." and _subdomain(value[2:]) else [*wrong, _BAD_WILDCARD]


def check_path_segment(value: str) -> list[str]:
    """Check a name that need only fit in a URL path: roles and role bindings."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in _PATH_FORBIDDEN if part in value]


def check_qualified_name(value: str) -> list[str]:
    """Check `name` or `dns.prefix/name`: the key of a label or annotation, a resource's name, a taint's key."""
    parts = value.split("/")
    if len(parts) > 2:
        return [
            _pattern(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
                " with an alphanumeric character",
                _QUALIFIED,
                "MyName",
                "my.name",
                "123-abc",
            )
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    wrong: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            wrong.append("prefix part must be non-empty")
        else:
            wrong.extend(f"prefix part {message}" for message in check_subdomain(parts[0]))
    name = parts[-1]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name) > 63:
        wrong.append(f"name part {_too_long(63)}")
    return wrong if _qualified(name) else [*wrong, _BAD_QUALIFIED]


def check_label_value(value: str) -> list[str]:
    """Check the value of a label."""
    wrong = [] if len(value) <= 63 else [_too_long(63)]
    return wrong if _value(value) else [*wrong, _BAD_VALUE]


def check_config_key(value: str) -> list[str]:
    """Check a key of a ConfigMap or Secret, which becomes a file's name."""
    wrong = [] if len(value) <= 253 else [_too_long(253)]
    if not _config_key(value):
        wrong.append(_BAD_CONFIG_KEY)
    if value == ".":
        return [*wrong, "must not be '.'"]
    if value == "..":
        return [*wrong, "must not be '..'"]
    if value.startswith(".."):
        return [*wrong, "must not start with '..'"]
    return wrong


def check_env_name(value: str) -> list[str]:
    """Check the name of an environment variable: what is printed, but no `=` (KEP-4369)."""
    if not value:
        return ["environment variable name must be non-empty"]
    return [] if _env_name(value) else [_BAD_ENV_NAME]


def check_port_name(value: str) -> list[str]:
    """Check an IANA service name: the name of a container's port (RFC 6335 section 5.1)."""
    wrong: list[str] = []
    if len(value) > 15:
        wrong.append(_too_long(15))
    if not _port_name(value):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= letter <= "z" for letter in value):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in value:
        wrong.append("must not contain consecutive hyphens")
    if value[:1] == "-" or value[-1:] == "-":
        wrong.append("must not begin or end with a hyphen")
    return wrong


def generate(base: str, random: Random) -> str:
    """Return `base` with a random suffix, as `metadata.generateName` asks; at most 63 characters.

    Two calls may return the same name: whoever creates the object tries again on AlreadyExists.
    """
    suffix = "".join(random.choices(SUFFIX_ALPHABET, k=SUFFIX_LENGTH))
    return base[: _GENERATED_MAX - SUFFIX_LENGTH] + suffix

"""Whether a text is a URI that a request may name, as Go's `url.ParseRequestURI` reads it. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from multidict import MultiDict

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_HOST: Final = re.compile(
    r"(?:\[[^\]]*\]|(?:[^\x00-\x7f]|[a-zA-Z0-9\-_.~!$&'()*+,;=\[\]<>\"]|%[89a-fA-F][0-9a-fA-F])*)(?::[0-9]*)?"
)
_USER: Final = re.compile(r"(?:[a-zA-Z0-9\-._:~!$&'()*+,;=%@])*")


def has_broken_pairs(target: str) -> bool:
    """Whether the query of a request's target may have pairs that Go's `url.ParseQuery` refuses."""
    return ";" in target or ("%" in target and _BROKEN_ESCAPE.search(target) is not None)


def query_of(target: str) -> MultiDict[str]:
    """Return the pairs of a target's query, without those that Go refuses: with a semicolon, or a broken escape."""
    _, _, query = target.partition("?")
    pairs = [pair for pair in query.split("&") if pair and ";" not in pair and not _BROKEN_ESCAPE.search(pair)]
    named = (pair.partition("=") for pair in pairs)
    return MultiDict((unquote_plus(name), unquote_plus(value)) for name, _, value in named)


def is_request_uri(text: str) -> bool:
    """Whether this is an absolute URI, or an absolute path."""
    if text == "*":
        return True
    if not text or text.startswith(":") or any(letter < " " or letter == "\x7f" for letter in text):
        return False
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    rest = rest.partition("?")[0]
    if not rest.startswith("/"):
        return scheme is not None
    if scheme is not None and rest.startswith("//"):
        authority, slash, rest = rest[2:].partition("/")
        user, _, host = authority.rpartition("@")
        if not _USER.fullmatch(user) or _BROKEN_ESCAPE.search(user) or not _HOST.fullmatch(host):
            return False
        rest = slash + rest
    return not _BROKEN_ESCAPE.search(rest)

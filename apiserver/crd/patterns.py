"""Regular expressions as users of the API write them: RE2's language, which takes time linear in the text.

Python's own `re` has another language, and patterns for which it takes exponential time; both a definition and the
objects it judges come from users, so that would let one of them stop the server.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import re2  # type: ignore[import-untyped,unused-ignore]

_OPTIONS: Final[Any] = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 8 * 1024 * 1024


_WORDS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
    "bad named capture group": "invalid named capture",
    "invalid named capture group": "invalid named capture",
}
"""What Go calls faults that the library has other words for."""


class BadPattern(Exception):
    """A regular expression that cannot be understood, and why."""


@functools.lru_cache(maxsize=4096)
def compile_(pattern: str) -> Any:
    """Return a compiled pattern, which has `search`.

    Raises:
        BadPattern: it is none.
    """
    try:
        return re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        why = error.args[0] if error.args else "malformed"
        text = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        what, _, where = text.partition(": ")
        raise BadPattern(f"error parsing regexp: {_WORDS.get(what, what)}: `{where}`") from None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in `text`; a pattern that is none matches nothing."""
    try:
        return compile_(pattern).search(text) is not None
    except BadPattern:
        return False

"""Parameters of a query to values, as the published clients' server reads them: laxly, but never silently as nothing.

A flag is set by being there, unless it says 0 or false; a number has to be one. Facts: apimachinery's conversions of
query parameters (`runtime.Convert_Slice_string_To_bool`, `_To_int64`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from api.errors import BadRequest

_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)


def flag(options: Mapping[str, str], name: str) -> bool:
    """Return a boolean of the query: whether it is there and says neither 0 nor false."""
    given = options.get(name)
    return given is not None and given != "0" and given.lower() != "false"


def integer(options: Mapping[str, str], name: str) -> int | None:
    """Return a 64-bit number of the query, None where it is not given; raises BadRequest for what is no number."""
    text = options.get(name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f"strconv.ParseInt: parsing {json.dumps(text)}: invalid syntax")
    if not -(2**63) <= int(text) < 2**63:
        raise BadRequest(f"strconv.ParseInt: parsing {json.dumps(text)}: value out of range")
    return int(text)

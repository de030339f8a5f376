"""Exact amounts: `100m` of a CPU, `1Gi` of memory.

A quantity is a decimal number and a suffix: binary (`Ki`, `Mi`, ...), decimal (`n`, `u`, `m`, `k`, `M`, ...) or an
exponent (`e3`). Amounts are held as whole billionths, so that no sum or comparison ever rounds; what is finer than
a billionth rounds away from zero. Every amount has one canonical spelling in the family of suffixes it was
written in, which is how the API returns it: the largest suffix that leaves a whole number (`1500m`, not `1.5`).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final, Literal

Form = Literal["decimal", "binary", "exponent"]

NANOS: Final = 10**9
_LIMIT: Final = (2**63 - 1) * NANOS
"""Amounts beyond what 64 bits can count in units are taken as that."""
_DIGITS_MAX: Final = 256
_SYNTAX: Final = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d{1,9})", re.ASCII)
_LOOKS_RIGHT: Final = re.compile(r"[+-]?[0-9]*(\.[0-9]*)?[eEinumkKMGTP]*[-+]?[0-9]*")
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_EXPONENTS: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIXES: Final = {exponent: suffix for suffix, exponent in _EXPONENTS.items()}


class BadQuantity(ValueError):
    """The text is not a quantity."""


@dataclass(frozen=True, slots=True, eq=False)
class Amount:
    """An exact amount; equal to any other of the same size, however it was written."""

    nanos: int
    form: Form = "decimal"
    """The family of suffixes it is written in."""

    def __eq__(self, other: object) -> bool:
        return self.nanos == other.nanos if isinstance(other, Amount) else NotImplemented

    def __lt__(self, other: Amount) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Amount) -> bool:
        return self.nanos <= other.nanos

    def __gt__(self, other: Amount) -> bool:
        return self.nanos > other.nanos

    def __ge__(self, other: Amount) -> bool:
        return self.nanos >= other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.nanos + other.nanos, self.form if self.nanos else other.form)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.nanos - other.nanos, self.form if self.nanos else other.form)

    @property
    def millis(self) -> int:
        """Thousandths, rounded up."""
        return -(-self.nanos // 10**6)

    @property
    def units(self) -> int:
        """Whole units (bytes, cores, pods), rounded up."""
        return -(-self.nanos // NANOS)

    def __str__(self) -> str:
        if self.nanos == 0:
            return "0"
        if self.form == "binary" and abs(self.nanos) >= 1024 * NANOS and self.nanos % NANOS == 0:
            return _spell_binary(self.nanos)
        exponent, mantissa = -9, self.nanos
        while mantissa % 1000 == 0 and exponent < 18:
            mantissa //= 1000
            exponent += 3
        if self.form == "exponent":
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_SUFFIXES[exponent]}"


def _spell_binary(nanos: int) -> str:
    sign = -1 if nanos < 0 else 1
    mantissa = abs(nanos) // NANOS
    suffix = ""
    for candidate in _BINARY:
        if mantissa % 1024:
            break
        mantissa //= 1024
        suffix = candidate
    return f"{sign * mantissa}{suffix}"


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Amount:
    """Return the amount that `text` spells; raises BadQuantity."""
    found = _SYNTAX.fullmatch(text) if len(text) <= _DIGITS_MAX else None
    if found is None and text and len(text) <= _DIGITS_MAX and _LOOKS_RIGHT.fullmatch(text):
        raise BadQuantity("unable to parse quantity's suffix")
    if found is None or not (found[2] or found[3]):
        raise BadQuantity("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    sign, whole, fraction, suffix = found[1], found[2] or "", found[3] or "", found[4]
    digits = int(whole + fraction)
    form: Form
    if suffix in _BINARY:
        form = "binary"
        numerator, exponent = digits * _BINARY[suffix], 0
    elif suffix in _EXPONENTS:
        form = "decimal"
        numerator, exponent = digits, _EXPONENTS[suffix]
    else:
        form = "exponent"
        numerator, exponent = digits, int(suffix[1:])
    # Beyond a thousand digits either way the answer is the limit or the smallest amount: do not compute the power.
    scale = max(min(exponent + 9 - len(fraction), 1000), -1000)
    nanos = numerator * 10**scale if scale >= 0 else -(-numerator // 10**-scale)
    nanos = min(nanos, _LIMIT)
    if form == "binary" and nanos < NANOS:
        form = "decimal"
    return Amount(-nanos if sign == "-" else nanos, form)


def canonical(text: str) -> str:
    """Return the canonical spelling of a quantity; raises BadQuantity."""
    return str(parse(text))


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1 as `left` is less than, equal to or more than `right`."""
    a, b = parse(left).nanos, parse(right).nanos
    return (a > b) - (a < b)


def millis(text: str) -> int:
    """Return thousandths, rounded up: how CPU is counted. Empty text is 0."""
    return parse(text).millis if text else 0


def units(text: str) -> int:
    """Return whole units, rounded up: how memory, storage and pods are counted. Empty text is 0."""
    return parse(text).units if text else 0


def from_millis(amount: int) -> str:
    """Return the quantity of so many thousandths: 1500 is `1500m`, 2000 is `2`."""
    return str(Amount(amount * 10**6))


def from_bytes(amount: int) -> str:
    """Return the quantity of so many bytes with a binary suffix: 2**30 is `1Gi`."""
    return str(Amount(amount * NANOS, "binary"))

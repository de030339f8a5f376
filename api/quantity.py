"""Exact amounts: `100m` of a CPU, `1Gi` of memory.

A quantity is a decimal number and a suffix: binary (`Ki`, `Mi`, ...), decimal (`n`, `u`, `m`, `k`, `M`, ...) or an
exponent (`e3`). Amounts are held as whole billionths, so that no sum or comparison ever rounds; what is finer than
a billionth rounds away from zero. The API returns an amount with the largest suffix of the family it was written in
that leaves a whole number (`1500m`, not `1.5`); but what upstream takes for that form already is returned as it was
written (`1.125`, for there is a suffix for thousandths). Facts: apimachinery's resource.Quantity.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import Final, Literal

Form = Literal["decimal", "binary", "exponent"]

NANOS: Final = 10**9
_LIMIT: Final = (2**63 - 1) * NANOS
"""Amounts with a binary suffix beyond what 64 bits can count in units are taken as that."""
_DIGITS_MAX: Final = 256
_QUICK_DIGITS_MAX: Final = 18
"""What has no more is certainly counted by 64 bits, and kept as it was written where that is nearly canonical."""
_QUICK_BINARY_DIGITS_MAX: Final = 14
_EXPONENT_MAX: Final = 1000
_SYNTAX: Final = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*(?:[-+]?[0-9]*))")
_EXPONENT: Final = re.compile("[eE][-+]?[0-9]+")
_BAD_FORMAT: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
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
    text: str = ""
    """How it was written, where that is how it is returned."""

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
        """Thousandths, rounded up, as far as 64 bits can count units."""
        return -(-max(min(self.nanos, _LIMIT), -_LIMIT) // 10**6)

    @property
    def units(self) -> int:
        """Whole units (bytes, cores, pods), rounded up, as far as 64 bits can count."""
        return -(-max(min(self.nanos, _LIMIT), -_LIMIT) // NANOS)

    def __str__(self) -> str:
        if self.text or self.nanos == 0:
            return self.text or "0"
        if self.form == "binary" and abs(self.nanos) >= 1024 * NANOS and self.nanos % NANOS == 0:
            return _spell_binary(self.nanos)
        exponent, mantissa = -9, self.nanos
        while mantissa % 1000 == 0 and (exponent < 18 or self.form == "exponent"):
            mantissa //= 1000
            exponent += 3
        if self.form == "exponent":
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_SUFFIXES[exponent]}"


def _spell_binary(nanos: int) -> str:
    sign = -1 if nanos < 0 else 1
    mantissa = -(-abs(nanos) // NANOS)
    suffix = ""
    for candidate in _BINARY:
        if mantissa % 1024:
            break
        mantissa //= 1024
        suffix = candidate
    return f"{sign * mantissa}{suffix}"


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Amount:
    """Return the amount that `text` spells; no digits at all are a zero, as upstream has it. Raises BadQuantity."""
    found = _SYNTAX.fullmatch(text) if 0 < len(text) <= _DIGITS_MAX else None
    if found is None:
        raise BadQuantity(_BAD_FORMAT)
    sign, whole, fraction, suffix = found[1], found[2] or "0", found[3] or "", found[4]
    form: Form
    factor, exponent = 1, 0
    if suffix in _BINARY:
        form, factor = "binary", _BINARY[suffix]
    elif suffix in _EXPONENTS:
        form, exponent = "decimal", _EXPONENTS[suffix]
    elif _EXPONENT.fullmatch(suffix):
        form, exponent = "exponent", int(suffix[1:])
    else:
        raise BadQuantity("unable to parse quantity's suffix")
    digits = whole + fraction
    is_quick = _is_quick(len(digits), len(fraction), exponent, factor)
    if not is_quick and not any("0" <= char <= "9" for char in text[: len(text) - len(suffix)]):
        raise BadQuantity("unable to parse numeric part of quantity")
    number = int(digits)
    # Beyond a thousand digits either way the answer is more, or less, than anybody has: do not compute the power.
    scale = max(min(exponent + 9 - len(fraction), _EXPONENT_MAX), -_EXPONENT_MAX)
    nanos = number * factor * 10**scale if scale >= 0 else -(-number * factor // 10**-scale)
    if form == "binary":
        nanos = min(nanos, _LIMIT)
    if form == "binary":
        is_kept = is_quick and number % 8 != 0
    else:
        is_kept = is_quick and (exponent - len(fraction)) % 3 == 0 and not digits.endswith("000") and digits[0] != "0"
    if form == "binary" and nanos < NANOS:
        form = "decimal"
    return Amount(-nanos if sign == "-" else nanos, form, text if is_kept else "")


def _is_quick(digits: int, decimals: int, exponent: int, factor: int) -> bool:
    """Return whether upstream counts an amount of so many digits with 64 bits, rather than with as many as it takes."""
    if factor > 1:
        return not decimals and digits + int(math.log2(factor) * 3 / 10) <= _QUICK_BINARY_DIGITS_MAX
    return digits <= _QUICK_DIGITS_MAX and exponent - decimals >= -9


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

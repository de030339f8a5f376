import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import quantity


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1500m", "1500m"), ("1.5", "1500m"), ("2000m", "2"), ("1000", "1k"), ("1024", "1024"), ("0", "0"),
        ("0.5Gi", "512Mi"), ("1024Mi", "1Gi"), ("1025Mi", "1025Mi"), ("100000", "100k"), ("1e3", "1e3"),
        ("12e2", "1200"), ("1E", "1E"), ("1E3", "1E3"), ("-5", "-5"), (".5", "500m"), ("5.", "5."),
        ("0.1n", "1n"), ("1.0001Ki", "1024102400u"), ("0.0Ki", "0"), ("1e-3", "1e-3"),
        ("123456789012345678901", "123456789012345678901"), ("9Ei", "9223372036854775807"),
        ("1.125", "1.125"), ("1.500", "1.500"), ("1.000", "1"), ("+5", "+5"), ("+3Ki", "+3Ki"), ("+8Ki", "8Ki"),
        ("0.125", "125m"), ("m", "0"), ("-", "0"), (".Ti", "0"), ("1e21", "1e21"), ("10e23", "1e24"),
    ],
)  # fmt: skip
def test_each_amount_has_one_spelling(written: str, canonical: str) -> None:
    assert quantity.canonical(written) == canonical


FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX, NUMBER = "unable to parse quantity's suffix", "unable to parse numeric part of quantity"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, FORMAT) for text in ("", "1KiB", "1.2.3", "abc", "1 Gi", "0x10", "9" * 300, "\u0663", "1 ")),
        *((text, SUFFIX) for text in ("1e", "1ki", "1K", "--1", "5-3", "1eE3")),
        *((text, NUMBER) for text in ("Ei", ".Pi", "e-20")),
    ],
)
def test_what_is_no_quantity_is_refused(text: str, why: str) -> None:
    with pytest.raises(quantity.BadQuantity, match=re.escape(why)):
        quantity.parse(text)


def test_a_huge_exponent_costs_nothing() -> None:
    assert quantity.parse("1e999999999").units == 2**63 - 1
    assert quantity.parse("1e-999999999").nanos == 1


@given(st.integers(-(10**18), 10**18), st.sampled_from(["n", "u", "m", "", "k", "M", "Ki", "Mi", "Gi", "e3", "e-3"]))
def test_the_canonical_spelling_is_canonical_and_means_the_same(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    canonical = quantity.canonical(text)
    assert quantity.canonical(canonical) == canonical
    assert quantity.compare(text, canonical) == 0


def test_amounts_add_exactly() -> None:
    total = sum((quantity.parse("0.1") for _ in range(10)), quantity.Amount(0))
    assert total == quantity.parse("1")
    assert str(quantity.parse("1Gi") + quantity.parse("512Mi")) == "1536Mi"


def test_counting_rounds_up() -> None:
    assert quantity.millis("1n") == 1
    assert quantity.millis("250m") == 250
    assert quantity.units("1Ki") == 1024
    assert quantity.units("1m") == 1
    assert quantity.from_bytes(3 * 2**20) == "3Mi"
    assert quantity.from_millis(1500) == "1500m"

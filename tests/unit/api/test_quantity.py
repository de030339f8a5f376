import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import quantity


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1500m", "1500m"), ("1.5", "1500m"), ("2000m", "2"), ("1000", "1k"), ("1024", "1024"), ("0", "0"),
        ("0.5Gi", "512Mi"), ("1024Mi", "1Gi"), ("1025Mi", "1025Mi"), ("100000", "100k"), ("1e3", "1e3"),
        ("12e2", "1200"), ("1E", "1E"), ("1E3", "1e3"), ("-5", "-5"), (".5", "500m"), ("5.", "5"),
        ("0.1n", "1n"), ("1.0001Ki", "1024102400u"), ("1.1Gi", "1181116006400m"), ("0.0Ki", "0"), ("1e-3", "1e-3"),
        ("123456789012345678901", "9223372036854775807"),
    ],
)  # fmt: skip
def test_each_amount_has_one_spelling(written: str, canonical: str) -> None:
    assert quantity.canonical(written) == canonical


@pytest.mark.parametrize("text", ["", "m", "1KiB", "1.2.3", "abc", "1 Gi", "--1", "1e", "0x10", "1ki", "9" * 300])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(quantity.BadQuantity):
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


@pytest.mark.parametrize("text", ["1Mm", "1ki", "1K", "1e", "5m5"])
def test_a_suffix_that_is_none_is_told_apart_from_what_is_no_number(text: str) -> None:
    with pytest.raises(quantity.BadQuantity, match="unable to parse quantity's suffix"):
        quantity.parse(text)
    with pytest.raises(quantity.BadQuantity, match="quantities must match the regular expression"):
        quantity.parse(f"{text} \u0661")

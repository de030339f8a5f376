"""What expressions may cost at worst: to the unit as upstream estimates it, which decides what is let in."""

from __future__ import annotations

import pytest

from apiserver.cel import check, types
from apiserver.cel.costs import ITEMS, KEYS, UNBOUNDED, VALUES, Path, Size, cost_max

SIZES: dict[Path, int] = {
    ("self", "text"): 100,
    ("self", "short"): 5,
    ("self", "huge"): 3_145_726,
    ("self", "words"): 20,
    ("self", "words", ITEMS): 50,
    ("self", "counts"): 10,
    ("self", "counts", ITEMS): 0,
    ("self", "labels"): 8,
    ("self", "labels", KEYS): 0,
    ("self", "labels", VALUES): 30,
}
SELF = types.object_of(
    "selfType",
    {
        "text": types.STRING,
        "short": types.STRING,
        "huge": types.STRING,
        "count": types.INT,
        "words": types.list_of(types.STRING),
        "counts": types.list_of(types.INT),
        "labels": types.map_of(types.STRING, types.STRING),
        "any": types.DYN,
    },
)


def cost_of(text: str) -> int:
    return cost_max(check.checked(text, {"self": SELF}), SIZES.get)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("true", 0),
        ("self.count > 1", 3),
        ("has(self.text)", 1),
        ("self.text == 'ab'", 3),  # no longer than the shorter of the two
        ("self.text == self.short", 5),
        ("self.text < self.huge", 14),
        ("self.text + self.short == ''", 15),
        ("size(self.text) == 1", 4),
        ("self.text.startsWith('ab')", 3),
        ("self.text.contains(self.short)", 14),
        ("self.text.matches('^[a-z]{1,5}$')", 35),
        ("self.huge.find('[0-9]+') == ''", 629_148),
        ("self.text.lowerAscii() == self.text", 24),
        ("self.text.replace('ab', 'abcd') == self.huge", 44),
        ("self.words.join(',') == ''", 104),
        ("self.words.isSorted()", 122),
        ("self.counts.sum() == 10", 13),
        ("'a' in self.words", 22),
        ("'a' in self.labels", 3),
        ("self.words[0] == self.text", 10),
        ("self.labels['a'] == self.text", 8),
        ("self.labels.a == self.text", 15),
        ("self.words.all(w, w == '')", 83),
        ("self.words.all(w, w.matches('^[a-z]+$'))", 323),
        ("self.words.exists(w, w != '')", 103),
        ("self.words.exists_one(w, w != '')", 64),
        ("self.counts.filter(c, c > 0).size() == 0", 165),
        ("self.counts.map(c, c + 1) == [1]", 164),
        ("self.words.all(a, self.words.all(b, a == b || b == ''))", 4_523),
        ("self.count > 0 ? self.text == 'ab' : self.text == self.huge", 17),
        ("self.text == 'ab' && self.count == 1", 6),
        ("self.?text.orValue('') == 'ab'", 4),
        ("self.text.split(',').size() > 1", 24),
        ("self.text.split(',', 2) == ['', '']", 33),
        ("quantity(self.text).isGreaterThan(quantity('1'))", 14),
        ("format.named('uuid').value() == format.named('uuid').value()", 11),
        ("sets.contains(self.words, ['a', 'b'])", 53),
        ("self.any == 5", 3),
        ("dyn(self.text) == 'ab'", 4),
    ],
)
def test_a_cost_is_told_from_types_and_sizes(text: str, cost: int):
    assert cost_of(text) == cost


def test_what_cannot_be_counted_is_unbounded():
    assert cost_of("string(self.count).matches(string(self.count))") == UNBOUNDED


def test_a_replaced_text_is_as_long_as_it_can_get():
    assert cost_of("self.short.replace('', 'ab') == self.huge") == 7
    assert Size(1, 2) + Size(0, UNBOUNDED) == Size(1, UNBOUNDED)

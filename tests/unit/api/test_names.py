from random import Random

import pytest

from api import names


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.check_label, ["a", "a-1", "1a", "a" * 63], ["", "A", "-a", "a-", "a.b", "a" * 64, "a_b"]),
        (names.check_label_1035, ["a", "a-1"], ["1a", "A", "a."]),
        (names.check_subdomain, ["a.b", "a-1.b2"], ["a..b", ".a", "A.b", "a" * 254]),
        (names.check_qualified_name, ["a", "A_b.c", "x.io/Name"], ["", "/a", "a/", "a/b/c", "X.io/a", "-a", "a" * 64]),
        (names.check_label_value, ["", "A_b"], ["-", "a b", "a" * 64]),
        (names.check_config_key, ["a.b", "A_B-c", "..."[:1] + "a"], ["", "a/b", ".", "..", "..a"]),
        (names.check_path_segment, ["system:node", "A b"], [".", "..", "a/b", "a%b"]),
        (names.check_port_name, ["http", "a-1"], ["", "1", "a--b", "-a", "a" * 16, "HTTP"]),
        (names.check_env_name, ["A", "_a", "a.b-c", "1a", "a b", "~"], ["a=b", "", "\u00e4", "\t"]),
    ],
)
def test_names_follow_their_rules(check: names.check_label, good: list[str], bad: list[str]) -> None:
    assert [name for name in good if check(name)] == []
    assert [name for name in bad if not check(name)] == []


def test_generated_names_fit_and_are_names() -> None:
    random = Random(1)
    for base in ("web-", "x" * 70 + "-"):
        name = names.generate(base, random)
        assert len(name) <= 63
        assert names.check_label(name) == []


def test_the_same_randomness_gives_the_same_name() -> None:
    assert names.generate("web-", Random(7)) == names.generate("web-", Random(7))

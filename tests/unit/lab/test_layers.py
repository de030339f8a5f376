from __future__ import annotations

from pathlib import Path

from lab.machines.layers import _made


def test_of_two_labs_that_make_a_layer_at_once_the_first_has_made_it_for_both(tmp_path):
    def make_by(who: str):
        def make(aside: Path) -> None:
            if who == "slow":
                _made(tmp_path, "code", "recipe", make_by("fast"))
            (aside / "made").write_text(who)

        return make

    made = _made(tmp_path, "code", "recipe", make_by("slow"))
    assert (made / "made").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == [made.name], "nothing is left aside"

"""The log on disk: what survives, what is dropped, what is refused."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.consensus import journal as journals
from store.consensus.journal import Journal, JournalDamaged


def write(journal: Journal, needed_from: int = 0) -> None:
    staged = journal.take(needed_from)
    assert staged is not None
    journal.write_and_sync(staged)


def groups(directory, *indexes_of_groups, **options) -> Journal:
    """A journal with one synced group of entries a list."""
    journal = Journal(directory, **options)
    for indexes in indexes_of_groups:
        for index in indexes:
            journal.append(b"command %d" % index, index, 1)
        write(journal)
    journal.close()
    return journal


def only_file(directory):
    (path,) = directory.glob("*.log")
    return path


def indexes(journal: Journal) -> list[int]:
    return [index for _, index, _ in journal.entries]


def test_entries_term_and_vote_are_read_back(tmp_path):
    journal = Journal(tmp_path)
    journal.set_vote(3, "store-2")
    journal.append(b"one", 1, 3)
    write(journal)
    journal.close()
    again = Journal(tmp_path)
    assert (again.entries, again.term, again.vote) == ([(b"one", 1, 3)], 3, "store-2")
    assert again.dropped_tail_bytes == 0


def test_what_was_not_written_is_not_there(tmp_path):
    journal = groups(tmp_path, [1, 2])
    journal.append(b"three", 3, 1)
    assert indexes(Journal(tmp_path)) == [1, 2]


def test_an_entry_of_a_taken_index_replaces_it_and_all_after_it(tmp_path):
    groups(tmp_path, [1, 2, 3])
    journal = Journal(tmp_path)
    journal.append(b"other", 2, 2)
    assert journal.entries[1:] == [(b"other", 2, 2)]
    write(journal)
    assert Journal(tmp_path).entries[1:] == [(b"other", 2, 2)]


@pytest.mark.parametrize("cut_bytes", [1, 20, 45])
def test_a_torn_last_group_is_dropped_and_the_log_goes_on(tmp_path, cut_bytes):
    groups(tmp_path, [1, 2], [3])
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    journal = Journal(tmp_path)
    assert indexes(journal) == [1, 2]
    assert journal.dropped_tail_bytes > 0
    journal.append(b"again", 3, 2)
    write(journal)
    assert indexes(Journal(tmp_path)) == [1, 2, 3]


def test_garbage_after_the_last_group_is_dropped(tmp_path):
    groups(tmp_path, [1, 2])
    with only_file(tmp_path).open("ab") as file:
        file.write(b"\x00" * 100)
    assert indexes(Journal(tmp_path)) == [1, 2]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_bytes_from_earlier_in_the_log_that_end_up_behind_it_are_dropped_however_whole_they_look(data):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        groups(directory, [1, 2], [3], [4, 5, 6])
        path = only_file(directory)
        content = path.read_bytes()
        records = [found.start() - 25 for found in re.finditer(rb"command \d|\xf5group", content)]
        start = data.draw(st.one_of(st.sampled_from(records), st.integers(0, len(content) - 1)))
        end = data.draw(st.one_of(st.just(len(content)), st.integers(start + 1, len(content))))
        path.write_bytes(content + content[start:end])
        journal = Journal(directory)
        assert indexes(journal) == [1, 2, 3, 4, 5, 6]
        assert journal.dropped_tail_bytes == end - start
        assert path.read_bytes() == content


def test_a_log_whose_groups_do_not_say_their_length_is_read_as_it_was_written(tmp_path, monkeypatch):
    record = journals._record
    with monkeypatch.context() as patch:
        patch.setattr(
            journals, "_record", lambda kind, index, term, payload: record(kind, index, (kind != 4) * term, payload)
        )
        groups(tmp_path, [1, 2], [3])
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert indexes(Journal(tmp_path)) == [1, 2]
    journal = Journal(tmp_path)
    journal.append(b"again", 3, 2)
    write(journal)
    assert indexes(Journal(tmp_path)) == [1, 2, 3]


def test_a_bit_flipped_before_the_last_group_refuses_to_start_and_says_where(tmp_path):
    groups(tmp_path, [1], [2], [3])
    path = only_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.find(b"command 2") + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match=r"checksum mismatch.*will not start.*restore") as caught:
        Journal(tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == bytes(content), "a refused log is left as it is"


def test_a_length_that_was_altered_refuses_to_start(tmp_path):
    groups(tmp_path, [1], [2], [3])
    path = only_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.find(b"command 1") - 21 + 3] ^= 0x7F  # the highest byte of the length
    path.write_bytes(content)
    with pytest.raises(JournalDamaged):
        Journal(tmp_path)


def test_a_cut_in_a_segment_that_is_not_the_newest_refuses_to_start(tmp_path):
    groups(tmp_path, [1], [2], segment_bytes=10)
    first = sorted(tmp_path.glob("*.log"))[0]
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(JournalDamaged, match="in a segment that is complete"):
        Journal(tmp_path)


def test_a_segment_missing_from_the_middle_refuses_to_start(tmp_path):
    groups(tmp_path, [1], [2], [3], segment_bytes=10)
    sorted(tmp_path.glob("*.log"))[1].unlink()
    with pytest.raises(JournalDamaged, match="missing from the middle"):
        Journal(tmp_path)


def test_segments_not_needed_are_deleted_and_term_and_vote_stay(tmp_path):
    journal = Journal(tmp_path, segment_bytes=10)
    journal.set_vote(7, "me")
    for index in range(1, 6):
        journal.append(b"x" * 20, index, 7)
        write(journal, needed_from=index)
    journal.close()
    again = Journal(tmp_path)
    assert indexes(again) == [5]
    assert (again.term, again.vote) == (7, "me")
    assert len(list(tmp_path.glob("*.log"))) == 1


def test_a_base_stands_for_everything_before_it(tmp_path):
    journal = Journal(tmp_path)
    journal.append(b"old", 1, 1)
    journal.set_base(50, 4)
    journal.append(b"new", 51, 4)
    write(journal)
    assert Journal(tmp_path).entries == [(b"\x01", 50, 4), (b"new", 51, 4)]


def test_forgetting_in_memory_keeps_what_is_on_disk(tmp_path):
    groups(tmp_path, [1, 2, 3])
    journal = Journal(tmp_path)
    journal.forget_before(3)
    assert indexes(journal) == [3]
    assert indexes(Journal(tmp_path)) == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.data())
def test_a_log_cut_anywhere_in_its_last_group_keeps_all_groups_before_it(tmp_path_factory, sizes, data):
    directory = tmp_path_factory.mktemp("log")
    journal = Journal(directory)
    index, ends = 0, []
    for size in sizes:
        for _ in range(size):
            index += 1
            journal.append(b"x" * index, index, 1)
        write(journal)
        ends.append((only_file(directory).stat().st_size, index))
    journal.close()
    start_of_last, kept = ends[-2] if len(ends) > 1 else (0, 0)
    cut = data.draw(st.integers(start_of_last, ends[-1][0]))
    path = only_file(directory)
    path.write_bytes(path.read_bytes()[:cut])
    recovered = indexes(Journal(directory))
    assert recovered[:kept] == list(range(1, kept + 1))
    assert recovered == list(range(1, len(recovered) + 1))

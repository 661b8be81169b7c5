"""The file outside the database: what is whole in it counts, whatever a crash left behind."""

import pytest

from keeptrusts_runners.evidence.checkpoint import TreeHead, sign_checkpoint
from keeptrusts_runners.evidence.checkpoint_file import CheckpointFile
from keeptrusts_runners.keys import SigningKey

KEY = SigningKey.generate()


def checkpoint(size):
    head = TreeHead("keeptrusts.runners/org_1", size, size.to_bytes(32, "big"))
    return sign_checkpoint(head, [KEY, KEY])


@pytest.fixture
def file(tmp_path):
    return CheckpointFile(tmp_path / "org_1.checkpoints")


def test_none_is_there_at_first(file):
    assert file.last() is None
    file.path.write_bytes(b"")
    assert file.last() is None


def test_the_last_of_many(file):
    for size in range(1, 100):
        file.append([checkpoint(size).note()])
        assert file.last() == checkpoint(size)
    file.append(checkpoint(size).note() for size in (100, 101))
    assert file.last() == checkpoint(101)


def test_notes_can_be_read_by_anybody(file):
    file.append(checkpoint(size).note() for size in (1, 2))
    assert file.path.read_text() == checkpoint(1).note() + "\n" + checkpoint(2).note() + "\n"


@pytest.mark.proves("evidence.anchor-crash")
def test_whatever_is_cut_off_the_entry_before_counts_and_the_next_append_heals(file):
    file.append(checkpoint(size).note() for size in (1, 2))
    whole = file.path.read_bytes()
    begins = len(checkpoint(1).note().encode()) + 1
    for end in range(begins, len(whole)):
        file.path.write_bytes(whole[:end])
        assert file.last() == checkpoint(1), end
        file.append([checkpoint(3).note()])
        assert file.last() == checkpoint(3)
        assert file.path.read_text() == f"{checkpoint(1).note()}\n{checkpoint(3).note()}\n"
    for end in range(begins):
        file.path.write_bytes(whole[:end])
        assert file.last() is None, end


def test_what_is_set_aside_is_kept(file):
    file.append([checkpoint(5).note()])
    aside = file.set_aside()
    assert file.last() is None
    assert CheckpointFile(aside).last() == checkpoint(5)


def test_a_file_of_something_else_is_an_error_and_not_empty(file):
    file.path.write_text("hello\n\n— world\n\n")
    with pytest.raises(ValueError):
        file.last()

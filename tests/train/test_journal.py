import json
from dataclasses import asdict, replace

import pytest

from pareq.errors import RunError
from pareq.train.journal import Epoch, append, read, rewind


def _epoch(number: int) -> Epoch:
    return Epoch(number, 10 * number, 0.5, 0.1 + 0.2, 0.9, 0.25, 6.0, 1e-3, 0.0, settled=False)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for number in (1, 2, 3):
        append(path, _epoch(number))
    return path


def test_what_was_appended_is_read_exactly(path):
    assert read(path) == tuple(_epoch(n) for n in (1, 2, 3))
    assert [json.loads(line) for line in path.read_text().splitlines()][1] == asdict(_epoch(2))


def test_an_earlier_journal_is_read(path):
    """Which does not say what counts in stopping."""
    path.write_text(path.read_text().replace(', "stopping": 0.0', ""))
    assert "stopping" not in path.read_text()
    assert read(path) == tuple(_epoch(n) for n in (1, 2, 3))


def test_no_file_is_no_epochs(tmp_path):
    assert read(tmp_path / "a") == rewind(tmp_path / "a", 5) == ()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("epochs", "left"), [(0, 0), (1, 1), (2, 2), (3, 3), (99, 3)])
def test_rewind_cuts_what_is_later(path, epochs, left):
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(rewind(path, epochs)) == left
    assert path.read_bytes() == b"".join(lines[:left])


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(path):
    data = path.read_bytes()
    two = data.index(b"\n", data.index(b"\n") + 1) + 1
    for size in range(two, len(data), 11):
        path.write_bytes(data[:size])
        assert len(read(path)) == 2
        assert len(rewind(path, 99)) == 2
        assert path.read_bytes() == data[:two]


def test_a_last_line_of_zeros_is_dropped(path):
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * 20 + b"\n")
    assert len(rewind(path, 99)) == 3
    assert path.read_bytes() == data


def test_a_damaged_line_in_the_middle(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"epoch": 2}\n' + lines[2])
    for look in (read, lambda p: rewind(p, 3)):
        with pytest.raises(RunError) as error:
            look(path)
        assert str(error.value) == (
            f"{path}: line 2 is damaged; restore the file, or start anew in another folder"
        )


def test_numbers_that_json_does_not_know_are_refused(path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(path, replace(_epoch(4), val_loss=float("nan")))
    assert len(read(path)) == 3

import errno
import os
from pathlib import Path

import pytest

from pareq.errors import RunError
from pareq.train import durable


def _failing(code: int, after: int):
    """An os.write that takes `after` bytes and then fails."""
    real = os.write
    left = after

    def write(descriptor: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(code, os.strerror(code))
        done = real(descriptor, bytes(data[:left]))
        left -= done
        return done

    return write


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "a"
    durable.write(path, b"one")
    durable.write(path, b"two!")
    assert path.read_bytes() == b"two!"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_write_goes_on_after_a_short_write(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(durable.os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    durable.write(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, code):
    path = tmp_path / "a"
    durable.write(path, b"old")
    monkeypatch.setattr(durable.os, "write", _failing(code, 2))
    with pytest.raises(RunError) as error:
        durable.write(path, b"x" * 1234)
    assert str(error.value) == (
        f"{path}: no space for 1,234 bytes ({os.strerror(code)}); free some and make the same call "
        "again, all that was saved before is intact"
    )
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_failed_append_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a"
    durable.append(path, b"one\n")
    monkeypatch.setattr(durable.os, "write", _failing(errno.ENOSPC, 2))
    with pytest.raises(RunError, match="no space for 4 bytes"):
        durable.append(path, b"two\n")
    assert path.read_bytes() == b"one\n"


def test_a_missing_folder_is_an_error_with_the_path(tmp_path):
    with pytest.raises(RunError) as error:
        durable.write(tmp_path / "no" / "a", b"")
    assert str(error.value) == (
        f"{tmp_path / 'no' / 'a'}: cannot be written (No such file or directory); check the folder "
        "and its permissions"
    )


def test_sweep_removes_only_what_a_writer_left(tmp_path):
    (tmp_path / ".a.tmp").write_bytes(b"half")
    (tmp_path / "b.tmp").write_bytes(b"a user's")
    (tmp_path / ".c").write_bytes(b"hidden")
    durable.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".c", "b.tmp"]
    durable.sweep(Path(tmp_path / "absent"))


def test_cut_keeps_the_beginning(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    durable.cut(path, 4)
    assert path.read_bytes() == b"0123"

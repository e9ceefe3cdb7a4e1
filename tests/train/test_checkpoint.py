import json

import pytest
import safetensors.torch
import torch

from pareq.errors import CheckpointError
from pareq.train import checkpoint
from pareq.train.checkpoint import Checkpoint, newest, path_of, read, thin, write


def _content(step: int = 1) -> Checkpoint:
    tensors = {
        "model/a": torch.arange(12, dtype=torch.float32).reshape(3, 4) + step,
        "model/odd": torch.arange(5, dtype=torch.uint8),
        "model/count": torch.tensor(7),
        "model/half": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
    }
    return Checkpoint(tensors, {"recipe": "abc", "step": step, "loss": 0.1 + 0.2, "none": None})


@pytest.fixture
def pair(tmp_path):
    """A folder with two checkpoints; the path of the newer."""
    for step in (63, 126):
        write(path_of(tmp_path, step), _content(step))
    return path_of(tmp_path, 126)


def test_what_was_written_is_read(tmp_path):
    path, content = tmp_path / "a.safetensors", _content()
    write(path, content)
    found = read(path, recipe="abc")
    assert found.facts == content.facts
    assert found.tensors.keys() == content.tensors.keys()
    for name, tensor in content.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_it_is_plain_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, _content())
    assert torch.equal(safetensors.torch.load_file(path)["model/count"], torch.tensor(7))


def test_views_transposes_and_shared_tensors_are_stored_as_they_look(tmp_path):
    path, base = tmp_path / "a.safetensors", torch.arange(6.0)
    views = {"t": base.reshape(2, 3).T, "tail": base[4:], "again": base, "same": base}
    write(path, Checkpoint(views, {}))
    for name, tensor in read(path).tensors.items():
        assert torch.equal(tensor, views[name])


def test_the_same_content_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    write(first, _content())
    write(second, _content())
    assert first.read_bytes() == second.read_bytes()


def test_newest_is_by_step_and_thin_keeps_the_last(tmp_path):
    assert newest(tmp_path) is None
    for step in (5, 100, 20):
        write(path_of(tmp_path, step), _content(step))
    write(tmp_path / "best.safetensors", _content())
    (tmp_path / ".step-00000200.safetensors.tmp").write_bytes(b"half")
    assert newest(tmp_path) == path_of(tmp_path, 100)
    thin(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.glob("*.safetensors")) == [
        "best.safetensors",
        "step-00000020.safetensors",
        "step-00000100.safetensors",
    ]


def test_a_file_cut_anywhere_is_refused(pair):
    data = pair.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, *range(200, len(data), 97), len(data) - 1]:
        pair.write_bytes(data[:size])
        with pytest.raises(CheckpointError, match="is truncated"):
            read(pair)


def test_truncated(pair):
    data = pair.read_bytes()
    pair.write_bytes(data[:-10])
    with pytest.raises(CheckpointError) as error:
        read(pair)
    assert str(error.value) == (
        f"{pair}: is truncated: it has {len(data) - 10:,} of {len(data):,} bytes; move it away to "
        "continue from step-00000063.safetensors, which is whole"
    )


def test_every_flipped_byte_is_noticed(pair):
    data = pair.read_bytes()
    for place in range(0, len(data), 3):
        pair.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        with pytest.raises(CheckpointError, match=r"damaged|truncated|no checkpoint"):
            read(pair)


def test_a_flipped_bit_in_a_tensor(pair):
    data = bytearray(pair.read_bytes())
    data[-3] ^= 1
    pair.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read(pair)
    assert str(error.value) == (
        f"{pair}: is damaged: its checksum does not fit its bytes; move it away to continue from "
        "step-00000063.safetensors, which is whole"
    )


def test_bytes_at_the_end_are_noticed(pair):
    pair.write_bytes(pair.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="is damaged: its checksum"):
        read(pair)


def test_without_another_whole_one_it_says_so(pair):
    pair.write_bytes(b"")
    path_of(pair.parent, 63).write_bytes(b"junk, and long enough to have a header")
    with pytest.raises(CheckpointError) as error:
        read(pair)
    assert str(error.value) == (
        f"{pair}: is truncated: it ends inside its header, at 0 bytes; no other checkpoint beside "
        "it is whole, so start anew in another folder"
    )


def test_missing(tmp_path):
    write(path_of(tmp_path, 63), _content())
    with pytest.raises(CheckpointError) as error:
        read(tmp_path / "best.safetensors")
    assert str(error.value) == (
        f"{tmp_path / 'best.safetensors'}: is missing; make the same call again to continue from "
        "step-00000063.safetensors, which is whole"
    )


def test_a_folder_in_its_place(tmp_path):
    path = path_of(tmp_path, 1)
    path.mkdir()
    with pytest.raises(CheckpointError, match=r"cannot be read \(Is a directory\); check"):
        read(path)


def test_other_safetensors_are_no_checkpoint(pair):
    safetensors.torch.save_file({"a": torch.zeros(3)}, pair)
    with pytest.raises(CheckpointError, match="is no checkpoint of pareq; move it away"):
        read(pair)


def test_another_version(pair, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    with pytest.raises(CheckpointError) as error:
        read(pair)
    assert str(error.value) == (
        f"{pair}: has format version 1, this pareq reads 2; use the pareq that wrote it"
    )


def test_another_recipe(pair):
    with pytest.raises(CheckpointError) as error:
        read(pair, recipe="abd")
    assert str(error.value) == (
        f"{pair}: belongs to another recipe; put it back into its own run folder"
    )


def test_the_checksum_covers_the_facts(pair):
    data = pair.read_bytes()
    assert json.dumps(126).encode() in data
    pair.write_bytes(data.replace(b'step\\": 126', b'step\\": 127'))
    with pytest.raises(CheckpointError, match="checksum"):
        read(pair)

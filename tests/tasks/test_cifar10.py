import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import pareq as pq
import pareq.tasks.cifar10 as module
from pareq.errors import DataError
from pareq.lower.agreement import agreement
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe
from pareq.tasks import Cifar10
from pareq.tasks.drawn import KINDS, emblems

Image = pytest.importorskip("PIL.Image", reason="the extra `tasks` is not installed")


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("PAREQ_DATA", raising=False)


@pytest.mark.parametrize("network", ["resnet20", "mobilenet_v2"])
def test_the_sample_fits_the_networks(network):
    task = Cifar10(network=network, width=2)
    assert task.model().eval()(task.example).shape == (2, 10)
    assert task.classes == KINDS
    assert task.options() == {"network": network, "width": 2} if network != "resnet20" else True


def test_the_sample_is_split_and_standardised():
    data = Cifar10(rows=500, val=0.2).load()
    assert [len(s) for s in (data.train, data.val, data.test)] == [400, 100, 400]
    assert data.train.x.shape[1:] == (3, 32, 32)
    assert data.train.x.dtype == torch.float32
    bytes_ = (data.test.x * torch.tensor(data.scale)[:, None, None]
              + torch.tensor(data.center)[:, None, None]) * 255  # fmt: skip
    torch.testing.assert_close(bytes_, bytes_.round(), atol=1e-3, rtol=0)
    assert data.test.y.bincount().tolist() == [40] * 10


def test_drawn_pictures_are_the_same_each_time():
    for a, b in zip(emblems(20, seed=3), emblems(20, seed=3), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(emblems(20, seed=3)[0], emblems(20, seed=4)[0])


def test_varied_pictures_are_shifts_and_mirrors_of_themselves():
    task = Cifar10()
    x = torch.rand(6, 3, 32, 32) + 1  # 0 marks the border
    torch.manual_seed(0)
    y = task.vary(x)
    torch.manual_seed(0)
    assert torch.equal(y, task.vary(x))
    assert y.shape == x.shape
    for before, after in zip(x, y, strict=True):
        wide = torch.nn.functional.pad(before, (4, 4, 4, 4))
        windows = [wide, torch.nn.functional.pad(before.flip(2), (4, 4, 4, 4))]
        assert any(
            torch.equal(after, w[:, i : i + 32, j : j + 32])
            for w in windows for i in range(9) for j in range(9)
        )  # fmt: skip
    assert Cifar10(augment=False).vary(x) is x


def pictures(count, seed):
    x, y = emblems(count, seed=seed)
    return x, y


def as_records(x, y):
    flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return np.column_stack([y.astype(np.uint8), flat]).tobytes()


def as_npz(folder):
    folder.mkdir()
    for part, seed in (("train", 1), ("test", 2)):
        np.savez(folder / f"{part}_x.npz", **dict(zip("xy", pictures(40, seed), strict=True)))


def as_jpeg(folder):
    folder.mkdir()
    for part, seed in (("train", 1), ("test", 2)):
        x, y = pictures(40, seed)
        ends, data = [0], b""
        for picture in x:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "PNG")
            data += file.getvalue()
            ends.append(len(data))
        np.savez(folder / f"{part}_jpeg.npz", data=np.frombuffer(data, np.uint8),
                 offsets=np.array(ends), labels=y)  # fmt: skip


def as_binary(folder):
    folder.mkdir()
    x, y = pictures(40, 1)
    (folder / "data_batch_1.bin").write_bytes(as_records(x[:25], y[:25]))
    (folder / "data_batch_2.bin").write_bytes(as_records(x[25:], y[25:]))
    (folder / "test_batch.bin").write_bytes(as_records(*pictures(40, 2)))


@pytest.mark.parametrize("write", [as_npz, as_jpeg, as_binary])
@pytest.mark.parametrize("by", ["option", "variable"])
def test_three_forms_of_the_set_give_the_same_pictures(tmp_path, monkeypatch, write, by):
    write(tmp_path / "cifar")
    if by == "variable":
        monkeypatch.setenv("PAREQ_DATA", str(tmp_path))
    task = Cifar10(data=str(tmp_path) if by == "option" else "")
    data = task.load()
    assert task.classes[0] == "airplane"
    x, y = pictures(40, 2)
    assert torch.equal(data.test.x, module._standard(x))
    assert data.test.y.tolist() == y.tolist()
    assert sorted([*data.train.y.tolist(), *data.val.y.tolist()]) == sorted(
        pictures(40, 1)[1].tolist()
    )


def test_the_public_archive_is_read_as_it_is(tmp_path, monkeypatch):
    as_binary(tmp_path / "cifar-10-batches-bin")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
    monkeypatch.setattr(module, "fetch", lambda url, to, checksum: archive)
    data = Cifar10(data="public").load()
    assert data.name == "CIFAR-10"
    assert torch.equal(data.test.x, module._standard(pictures(40, 2)[0]))


@pytest.mark.slow
def test_joint_training_of_resnet_20_lowers():
    """Shortcuts, batch norms, masks and sums: every integer is that of the network."""
    task = Cifar10(width=2, rows=200)
    recipe = find_recipe("cifar10-joint")
    training = replace(recipe.training, epochs=2, learning_rate=0.02, batch_size=30)
    torch.manual_seed(0)
    net = pq.attach(task.model(), Recipe(*recipe.rules, training=training), example=task.example)
    run = pq.train(net, task)
    assert run.epochs[-1].sparsity > 0.4
    graph = pq.lower(net, task.example)
    assert {"mask", "add", "conv"} <= {op.kind for op in graph.ops}
    assert agreement(net, graph, task.load().test.x[:8]).exact


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"network": "resnet"}, "cifar10: unknown network 'resnet'; did you mean 'resnet20'?"),
        ({"width": 0}, "cifar10: width must be at least 1, got 0"),
        ({"val": 1.0}, "cifar10: val must be a share inside (0, 1), got 1.0"),
        ({"rows": -1}, "cifar10: rows and split_seed must not be negative"),
        ({"rows": 3}, "cifar10: 3 training rows cannot be split by val = 0.1"),
        ({"data": "publik"}, "cifar10: no folder 'publik'; did you mean 'public'?"),
    ],
)
def test_options_that_mean_nothing(options, line):
    with pytest.raises(DataError) as error:
        Cifar10(**options).load()
    assert str(error.value) == line


def test_folders_without_the_set(tmp_path):
    with pytest.raises(DataError, match="holds no CIFAR-10: neither"):
        Cifar10(data=str(tmp_path)).load()
    (tmp_path / "test_batch.bin").write_bytes(b"\0" * 3072)
    with pytest.raises(DataError, match="3072 bytes, expected a multiple of 3073"):
        Cifar10(data=str(tmp_path)).load()
    (tmp_path / "test_batch.bin").write_bytes(b"\0" * 3073)
    with pytest.raises(DataError, match=r"found test_batch.bin; expected data_ and test_batch.bin"):
        Cifar10(data=str(tmp_path)).load()

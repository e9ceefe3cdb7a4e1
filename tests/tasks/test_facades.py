import numpy as np
import pytest
import torch

import pareq as pq
from pareq.errors import DataError
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.recipe.recipe import Recipe, Training
from pareq.tasks import Facades
from pareq.tasks.drawn_houses import COLOURS, houses
from pareq.train.loop import train
from pareq.train.trial import network

SMALL = {"data": "sample", "width": 4, "depth": 3}
EIGHT = (
    pq.Rule("*:weight", pq.Uniform(8), pq.After(0.5)),
    pq.Rule("*@LeakyReLU|ReLU|Tanh:output", pq.Uniform(8), pq.After(0.5)),
    pq.Rule(":input", pq.Uniform(8), pq.After(0.5)),
)


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("PAREQ_DATA", raising=False)


def saved(path, pixels):
    image = pytest.importorskip("PIL.Image", reason="pillow is missing: no picture files")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)


def test_houses_are_drawn_the_same_again_and_follow_from_their_maps():
    maps, pictures = houses(6, 32)
    again = houses(6, 32)
    assert np.array_equal(maps, again[0])
    assert np.array_equal(pictures, again[1])
    flat = {tuple(colour) for colour in maps.reshape(-1, 3)}
    assert flat <= {tuple(colour) for colour in COLOURS}
    windows = (maps == COLOURS[2]).all(-1)
    walls = (maps == COLOURS[1]).all(-1)
    assert pictures[windows].mean() < 0.6 * pictures[walls].mean()  # windows are dark


def test_no_house_is_in_two_splits():
    data = Facades(**SMALL).load()
    assert [len(s) for s in (data.train, data.val, data.test)] == [168, 36, 36]
    rows = [s.y.reshape(len(s), -1) for s in (data.train, data.val, data.test)]
    joined = torch.cat(rows)
    assert len(torch.unique(joined, dim=0)) == len(joined)
    for split in (data.train, data.test):
        assert float(split.x.min()) >= -1
        assert torch.equal(split.x * 128, (split.x * 128).round())


@pytest.mark.slow
def test_it_loads_a_step_lowers_the_loss_it_lowers_and_verifies():
    task = Facades(**SMALL)
    training = Training(epochs=2, batch_size=16, learning_rate=2e-3)
    net = network(task, Recipe(*EIGHT, training=training))
    run = train(net, task)
    first, last = run.epochs[0], run.epochs[-1]
    assert last.train_loss < first.train_loss
    assert set(run.result.test) == {"loss", "ssim", "l1", "feature_distance"}
    assert run.result.test["l1"] == pytest.approx(run.result.test["loss"] / 2)
    found = agreement(net, lower(net, task.example), task.load().test.x[:4])
    assert found.exact
    assert found.unexplained == 0


def test_pictures_have_the_size_and_colours_of_their_rows():
    task = Facades(**SMALL)
    split = task.load().test
    shown = task.pictures(task.model().eval(), split)
    assert len(shown) == 3
    truth = ((split.y[0] * 128 + 128).permute(1, 2, 0)).byte().numpy()
    assert np.array_equal(shown[0].truth, truth)
    assert shown[0].made.shape == (32, 32, 3)
    assert shown[0].score.startswith("SSIM ")


@pytest.mark.parametrize("layout", ["cmp", "pix2pix", "npz"])
def test_the_public_layouts_are_read(tmp_path, layout):
    """The map goes in and the photograph comes out, whatever the files are called."""
    maps, pictures = houses(12, 32, seed=3)
    wide = [p.repeat(2, 0).repeat(2, 1) for p in pictures]
    if layout == "npz":
        groups = np.arange(12) // 2
        np.savez(tmp_path / "facades_pairs.npz", label=maps, photo=pictures, group=groups)
    for number in range(12):
        if layout == "cmp":
            saved(tmp_path / "base" / f"cmp_b{number:04}.jpg", wide[number])
            saved(
                tmp_path / "base" / f"cmp_b{number:04}.png", maps[number].repeat(2, 0).repeat(2, 1)
            )
        elif layout == "pix2pix":
            both = np.concatenate([pictures[number], maps[number]], 1)
            saved(tmp_path / ("train" if number < 9 else "test") / f"{number}.png", both)
    data = Facades(data=str(tmp_path), width=4, val=0.2).load()
    sizes = {"cmp": (8, 2, 2), "pix2pix": (7, 2, 3), "npz": (8, 2, 2)}[layout]
    assert tuple(len(s) for s in (data.train, data.val, data.test)) == sizes
    known = torch.from_numpy(COLOURS.astype(np.float32))
    pixels = (data.test.x * 128 + 128).permute(0, 2, 3, 1).reshape(-1, 1, 3)
    assert (
        float((pixels - known).abs().sum(2).min(1).values.median()) <= 15
    )  # blended where it was scaled
    inner = (data.test.y * 128 + 128).permute(0, 2, 3, 1).reshape(-1, 1, 3)
    assert float((inner - known).abs().sum(2).min(1).values.median()) > 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 20}, "a multiple of 8"),
        ({"depth": 0}, "depth in 1..8"),
        ({"val": 0.7}, r"val must be in \(0, 0.5\)"),
        ({"data": "no-such-folder"}, "no folder 'no-such-folder'"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(DataError, match=said) as caught:
        Facades(**options).load()
    assert "\n" not in str(caught.value)


def test_a_folder_without_facades_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"holds no facades: neither NAME\.jpg beside NAME\.png"):
        Facades(data=str(tmp_path)).load()
    with pytest.raises(DataError, match="no form without batch normalisation"):
        Facades().model(batch_norm=False)

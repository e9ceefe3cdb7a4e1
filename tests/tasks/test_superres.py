from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pareq as pq
import pareq.tasks.superres as module
from pareq.errors import DataError
from pareq.ir.execute import evaluate
from pareq.lower.agreement import agreement
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe
from pareq.tasks import Split, SuperResolution
from pareq.tasks.drawn import scenes
from pareq.tasks.espcn import Espcn
from pareq.tasks.superres import luminance
from pareq.tasks.tiles import patches, tiles


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("PAREQ_DATA", raising=False)


def net():
    torch.manual_seed(0)
    model = Espcn(3, (6, 4))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("shape", [(17, 17), (18, 25), (26, 43), (60, 17)])
def test_tiles_give_what_the_whole_picture_gives(shape):
    """Every pixel counts once, and the borders are padded as those of the picture."""
    torch.manual_seed(1)
    model, low = net(), torch.rand(shape)
    high = torch.rand(shape[0] * 3, shape[1] * 3)
    whole = model(low[None, None])[0, 0].detach()
    found = tiles([(low, high), (low, whole)], 17, 4)
    errors, pixels = found.square_errors(model(found.x).detach())
    assert pixels.tolist() == [high.numel()] * 2
    assert float(errors[1]) < 1e-8
    assert float(errors[0]) == pytest.approx(float((whole - high).square().sum()), rel=1e-5)


def test_patches_are_pieces_of_both():
    low = torch.arange(30.0 * 43).reshape(30, 43)
    high = low.repeat_interleave(3, 0).repeat_interleave(3, 1)
    found = patches([(low, high)], 17, 13)
    assert found.x.shape == (2 * 3, 1, 17, 17)
    assert torch.equal(found.y[:, :, ::3, ::3], found.x)
    assert torch.equal(found.x[4, 0], low[13:30, 13:30])


def test_the_sample_trains_and_scores():
    task = SuperResolution(widths=(8, 4))
    data = task.load()
    assert data.train.x.shape[1:] == (1, 17, 17)
    assert data.train.y.shape[1:] == (1, 51, 51)
    assert task.model()(task.example).shape == (2, 1, 51, 51)
    torch.manual_seed(0)
    model = task.model()
    before = task.evaluate(model, data.test)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        task.loss(model(data.train.x[:40]), data.train.y[:40]).backward()
        optimizer.step()
    after = task.evaluate(model, data.test)
    assert after["psnr"] > before["psnr"] + 5
    assert len(after["psnr_pictures"]) == 3
    assert after["psnr"] == pytest.approx(np.mean(after["psnr_pictures"]))


def test_the_score_of_rows_is_their_mean():
    task, y = SuperResolution(), torch.full((2, 1, 3, 3), 0.5)
    output = y + torch.tensor([0.1, 0.01]).reshape(2, 1, 1, 1)
    assert float(task.score(output, y)) == pytest.approx(20 + 40, abs=1e-3)
    assert float(task.score(y + 9, y)) == pytest.approx(2 * -10 * np.log10(0.25))  # clamped to 1

    class Same(nn.Module):
        def forward(self, x):
            return x

    found = task.evaluate(Same(), Split(output, y))
    assert found["psnr"] == pytest.approx(30, abs=1e-3)


def test_the_luminance_is_that_of_television():
    white, black, red = ([[[v, v, v]]] for v in (255, 0, 0))
    red = [[[255, 0, 0]]]
    found = [float(luminance(np.array(c, np.uint8))) * 255 for c in (white, black, red)]
    assert found == pytest.approx([235, 16, 81])


def test_inputs_are_whole_numbers_of_255():
    data = SuperResolution().load()
    for x in (data.train.x, data.test.x, data.val.y):
        torch.testing.assert_close(x * 255, (x * 255).round(), atol=1e-4, rtol=0)


def test_a_folder_of_pictures(tmp_path, monkeypatch):
    train, test = scenes(4, 66, 1), scenes(2, 60, 2)
    pixels = pytest.importorskip("PIL.Image", reason="the extra `tasks` is not installed")
    (tmp_path / "sets" / "T91").mkdir(parents=True)
    for number, picture in enumerate(train):
        pixels.fromarray(picture).save(tmp_path / "sets" / "T91" / f"{number}.png")
    np.savez(tmp_path / "sets" / "set5.npz", **{f"p{i}": p for i, p in enumerate(test)})
    monkeypatch.setenv("PAREQ_DATA", str(tmp_path))
    data = SuperResolution(val=0.25).load()
    assert data.name == "T91, set5"
    assert int(data.test.picture.max()) == 1
    low, _ = SuperResolution()._pair(test[1])
    assert torch.equal(data.test.x[data.test.picture == 1][0, 0], low[:17, :17])
    with pytest.raises(DataError, match="holds no t91 and set14"):
        SuperResolution(test="set14").load()


def test_the_public_archive(tmp_path, monkeypatch):
    import io
    import zipfile

    pixels = pytest.importorskip("PIL.Image", reason="the extra `tasks` is not installed")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name, picture in zip(
            ("Train/t1.bmp", "Train/t2.bmp", "Test/Set5/b.bmp"), scenes(3, 60), strict=True
        ):
            content = io.BytesIO()
            pixels.fromarray(picture).save(content, "BMP")
            file.writestr(f"SRCNN-master/{name}", content.getvalue())
    monkeypatch.setattr(module, "fetch", lambda url, to: tmp_path / "a.zip")
    assert len(SuperResolution(data="public", stride=3).load().test) == 4
    with pytest.raises(DataError, match="holds no pictures in Test/set14/"):
        SuperResolution(data="public", test="set14").load()


@pytest.mark.slow
def test_joint_training_lowers_and_the_integers_score_the_same():
    """The whole path; tiles of one size suit the integer graph."""
    task = SuperResolution(widths=(8, 4), stride=26)
    recipe = find_recipe("espcn-joint")
    training = replace(recipe.training, epochs=8, learning_rate=1e-2, batch_size=32)
    torch.manual_seed(0)
    net = pq.attach(task.model(), Recipe(*recipe.rules, training=training), example=task.example)
    run = pq.train(net, task)
    assert run.result.test["psnr"] > 12
    graph = pq.lower(net, task.example)
    assert "mask" in {op.kind for op in graph.ops}
    test = task.load().test
    assert agreement(net, graph, test.x).exact

    class Integers(nn.Module):
        def forward(self, x):
            return torch.from_numpy(evaluate(graph, x.numpy())[0])

    found = task.evaluate(Integers(), test)
    assert found["psnr"] == pytest.approx(run.result.test["psnr"], abs=1e-3)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"test": "set15"}, "superres: unknown test 'set15'; did you mean 'set5'?"),
        ({"scale": 5}, "superres: scale must be 2, 3 or 4, got 5"),
        ({"widths": (4,)}, "superres: widths must be 2 positive numbers, got (4,)"),
        ({"val": 0.0}, "superres: val must be a share inside (0, 1), got 0.0"),
        ({"val": 0.99}, "superres: 20 training pictures cannot be split"),
        ({"stride": 0}, "superres: stride must be positive, split_seed not negative, got 0, 0"),
        ({"data": "publik"}, "superres: no folder 'publik'; did you mean 'public'?"),
    ],
)
def test_options_that_mean_nothing(options, line):
    with pytest.raises(DataError) as error:
        SuperResolution(**options).load()
    assert str(error.value) == line

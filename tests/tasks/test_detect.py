import numpy as np
import pytest
import torch

import pareq as pq
from pareq.errors import DataError
from pareq.lower.agreement import agreement
from pareq.lower.lower import lower
from pareq.recipe.recipe import Recipe, Training
from pareq.tasks import Detect
from pareq.tasks.boxed import SHAPES, VOC, drawn_boxes
from pareq.tasks.grid_detector import EMPTY, decoded, grid_loss
from pareq.train.loop import train
from pareq.train.trial import network

SMALL = {"data": "sample", "width": 4}
EIGHT = (
    pq.Rule("*:weight", pq.Uniform(8), pq.After(0.5)),
    pq.Rule("*@ReLU:output", pq.Uniform(8), pq.After(0.5)),
    pq.Rule(":input", pq.Uniform(8), pq.After(0.5)),
    pq.Rule(":output", pq.Uniform(12), pq.After(0.5)),
)
XML = """<annotation><size><width>40</width><height>20</height><depth>3</depth></size>
<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{xmin}</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>
</annotation>"""


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("PAREQ_DATA", raising=False)


def exact(y, size, kinds):
    """The output of a network that knows the answer."""
    output = torch.full((len(y), 5 + kinds, size, size), -20.0)
    for picture, rows in enumerate(y):
        for kind, x1, y1, x2, y2 in rows[rows[:, 0] != EMPTY].tolist():
            x, z = (x1 + x2) / 2 * size, (y1 + y2) / 2 * size
            column, line = int(x), int(z)
            inside = torch.tensor([x - column, z - line, x2 - x1, y2 - y1])
            output[picture, 0, line, column] = 20.0
            output[picture, 1:5, line, column] = torch.logit(inside.clamp(1e-4, 1 - 1e-4))
            output[picture, 5 + int(kind), line, column] = 20.0
    return output


def test_shapes_lie_in_their_boxes():
    made = drawn_boxes(20, 64)
    again = drawn_boxes(20, 64)
    counts = [len(objects) for objects in made.objects]
    assert min(counts) >= 1
    assert max(counts) > 1
    for picture, objects, other in zip(made.pictures, made.objects, again.pictures, strict=True):
        assert np.array_equal(picture, other)
        assert ((objects[:, 1:] >= 0) & (objects[:, 1:] <= 1)).all()
        assert (objects[:, 3:] > objects[:, 1:3]).all()


def test_what_knows_the_answer_has_no_loss_and_all_overlap():
    task = Detect(**SMALL)
    y = task.load().test.y[:12]
    output = exact(y, 8, len(SHAPES))
    assert float(grid_loss(output, y)) < 1e-3
    assert float(task.score(output, y)) / len(y) == pytest.approx(1, abs=2e-3)
    (first, *_) = decoded(output, 20)
    assert int((first.sure > 0.5).sum()) == int((y[0, :, 0] != EMPTY).sum())
    assert float(grid_loss(torch.zeros_like(output), y)) > 1


def test_the_gradient_leads_to_the_answer():
    y = Detect(**SMALL).load().test.y[:4]
    output = torch.zeros(4, 8, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([output], 0.3)
    for _ in range(40):
        optimizer.zero_grad()
        grid_loss(output, y).backward()
        optimizer.step()
    assert float(Detect(**SMALL).score(output, y)) / 4 > 0.9


def test_pictures_without_objects_have_a_loss_and_a_score():
    y = torch.full((2, 20, 5), EMPTY)
    silent, loud = torch.full((2, 8, 8, 8), -10.0), torch.full((2, 8, 8, 8), 10.0)
    assert float(grid_loss(silent, y)) < float(grid_loss(loud, y))
    task = Detect(**SMALL)
    assert float(task.score(silent, y)) == pytest.approx(2, abs=1e-3)
    assert float(task.score(loud, y)) == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_it_loads_a_step_lowers_the_loss_it_lowers_and_verifies():
    pytest.importorskip("pycocotools", reason="the extra `detect` is not installed: no mAP")
    task = Detect(**SMALL)
    training = Training(epochs=3, batch_size=32, learning_rate=3e-3)
    net = network(task, Recipe(*EIGHT, training=training))
    run = train(net, task)
    assert run.epochs[-1].train_loss < 0.8 * run.epochs[0].train_loss
    assert {"loss", "overlap", "map50", "map"} == set(run.result.test)
    found = agreement(net, lower(net, task.example), task.load().test.x[:4])
    assert found.exact
    assert found.unexplained == 0
    shown = task.pictures(net.model, task.load().test)
    assert len(shown) == 3
    assert not np.array_equal(shown[0].truth, shown[0].given)


def voc_folder(folder, **changes):
    image = pytest.importorskip("PIL.Image", reason="pillow is missing: no picture files")
    for part in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / part).mkdir(parents=True)
    values = {"name": "dog", "difficult": 0, "xmin": 11} | changes
    for split, names in (("trainval", range(8)), ("test", range(8, 10))):
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{n:06}\n" for n in names))
        for n in names:
            image.fromarray(np.full((20, 40, 3), 10 * n, np.uint8)).save(
                folder / "JPEGImages" / f"{n:06}.jpg"
            )
            (folder / "Annotations" / f"{n:06}.xml").write_text(XML.format(**values))
    return folder


def test_voc_is_read_as_it_is_published(tmp_path):
    """Pixels begin at 1; the listed test pictures test."""
    voc_folder(tmp_path / "VOCdevkit" / "VOC2007")
    task = Detect(data=str(tmp_path), size=32, width=4)
    data = task.load()
    assert [len(s) for s in (data.train, data.val, data.test)] == [7, 1, 2]
    assert data.name == "VOC2007"
    kind, *corners = data.test.y[0, 0].tolist()
    assert VOC[int(kind)] == "dog"
    assert corners == pytest.approx([10 / 40, 0, 0.5, 1])
    assert data.test.y[0, 1, 0] == EMPTY
    assert task.model()[-1].out_channels == 5 + 20


def test_difficult_objects_are_left_out(tmp_path):
    voc_folder(tmp_path / "VOC2012", difficult=1)
    data = Detect(data=str(tmp_path), size=32).load()
    assert (data.train.y[..., 0] == EMPTY).all()


@pytest.mark.parametrize("changes", [{"name": "unicorn"}, {"xmin": "left"}])
def test_a_damaged_annotation_is_named(tmp_path, changes):
    voc_folder(tmp_path, **changes)
    with pytest.raises(DataError, match=r"000000.xml is no annotation of VOC"):
        Detect(data=str(tmp_path)).load()


def test_an_npz_of_ones_own_is_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (10, 24, 24, 3), dtype=np.uint8)
    boxes = np.array([[n, 0, 0.25, 0.25, 0.75, 0.75] for n in range(10)], np.float32)
    np.savez(tmp_path / "mine.npz", images=images, boxes=boxes, classes=np.array(["cup"]))
    task = Detect(data=str(tmp_path), size=16)
    data = task.load()
    assert task.kinds == ("cup",)
    assert [len(s) for s in (data.train, data.val, data.test)] == [6, 2, 2]
    assert data.train.y[0, 0].tolist() == [0, 0.25, 0.25, 0.75, 0.75]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 20}, "a multiple of 8"),
        ({"most": 0}, "width and most must be positive, got 8, 0"),
        ({"val": 0.5}, r"val must be in \(0, 0.5\)"),
        ({"data": "no-such-folder"}, "no folder 'no-such-folder'"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(DataError, match=said) as caught:
        Detect(**options).load()
    assert "\n" not in str(caught.value)


def test_a_folder_without_boxes_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match="holds neither VOC2007 nor an npz"):
        Detect(data=str(tmp_path)).load()

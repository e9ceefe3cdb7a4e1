import numpy as np
import pytest
import torch
from torch import nn

from pareq.errors import DataError
from pareq.tasks import Jets
from tests.tasks.tables import rows


@pytest.fixture
def file(tmp_path):
    x, y = rows(500)
    x[:, 0] += 5 * y  # something to learn
    np.savez(tmp_path / "jets.npz", X=x, y=y)
    return str(tmp_path / "jets.npz")


def test_the_published_network():
    model = Jets().model()
    assert [name for name, _ in model.named_children()] == [
        *("fc1", "bn1", "act1", "fc2", "bn2", "act2", "fc3", "bn3", "act3", "fc4")
    ]
    weights = [m.weight.numel() for m in model if isinstance(m, nn.Linear)]
    assert weights == [1024, 2048, 1024, 160]
    assert sum(p.numel() for p in model.parameters()) == 4389 + 256
    assert model(Jets().example).shape == (2, 5)


def test_switches_of_batch_normalisation():
    norms = [m for m in Jets(affine=False, running_stats=False).model() if "Norm" in str(type(m))]
    assert [norm.affine for norm in norms] == [False] * 3
    assert [norm.running_mean for norm in norms] == [None] * 3
    assert sum(p.numel() for p in Jets(affine=False).model().parameters()) == 4389
    for bare in (Jets(batch_norm=False).model(), Jets().model(batch_norm=False)):
        assert [name for name, _ in bare.named_children()] == [
            *("fc1", "act1", "fc2", "act2", "fc3", "act3", "fc4")
        ]
    assert "bn1" in dict(Jets(batch_norm=False).model(batch_norm=True).named_children())


def test_widths():
    shapes = [tuple(m.weight.shape) for m in Jets(widths=(7,)).model(False) if hasattr(m, "weight")]
    assert shapes == [(7, 16), (5, 7)]


def test_the_order_of_classes_moves_the_labels_only(file):
    ours, paper = Jets(data=file), Jets(data=file, class_order="paper")
    assert paper.classes == ("g", "q", "w", "z", "t")
    first, second = ours.load(), paper.load()
    assert torch.equal(first.test.x, second.test.x)
    assert [ours.classes[y] for y in first.test.y] == [paper.classes[y] for y in second.test.y]
    assert not torch.equal(first.test.y, second.test.y)


def test_loading_is_repeatable_and_tells_where_the_rows_come_from(file):
    first, again = Jets(data=file).load(), Jets(data=file).load()
    assert torch.equal(first.train.x, again.train.x)
    assert first.name.startswith("jets.npz, sha256 ")
    assert len(first.center) == len(first.scale) == 16
    assert [len(s) for s in (first.train, first.val, first.test)] == [320, 80, 100]


def test_rows_that_are_not_finite_are_refused_or_dropped_and_counted(tmp_path):
    x, y = rows(100)
    x[12, 3], x[40, 5] = np.nan, np.inf
    np.savez(tmp_path / "jets.npz", X=x, y=y)
    path = str(tmp_path / "jets.npz")
    with pytest.raises(DataError) as caught:
        Jets(data=path).load()
    assert str(caught.value) == (
        "jets: 2 values in 2 rows are NaN or infinite, first in column 'c1_b2_mmdt' (rows 12, 40);"
        " repair the rows or set drop_nonfinite"
    )
    data = Jets(data=path, drop_nonfinite=True).load()
    assert data.dropped == 2
    assert sum(len(s) for s in (data.train, data.val, data.test)) == 98


def test_duplicates_are_counted(tmp_path):
    x, y = rows(100)
    np.savez(tmp_path / "jets.npz", X=np.concatenate([x, x]), y=np.concatenate([y, y]))
    data = Jets(data=str(tmp_path / "jets.npz")).load()
    kept = sum(len(s) for s in (data.train, data.val, data.test))
    assert data.duplicates == 200 - kept > 0


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.arange(100) % 6, "jets: 16 labels are outside 0..4: the first is 5 in row 5"),
        (np.full(100, -1), "jets: 100 labels are outside 0..4: the first is -1 in row 0"),
    ],
)
def test_labels_out_of_range(labels, told, tmp_path):
    np.savez(tmp_path / "jets.npz", X=rows(100)[0], y=labels)
    with pytest.raises(DataError) as caught:
        Jets(data=str(tmp_path / "jets.npz")).load()
    assert str(caught.value) == told


def test_an_empty_file(tmp_path):
    np.savez(tmp_path / "jets.npz", X=np.zeros((0, 16)), y=np.zeros(0, int))
    with pytest.raises(DataError, match=r"^jets: the table has no rows$"):
        Jets(data=str(tmp_path / "jets.npz")).load()


def test_a_few_steps_lower_the_loss(file):
    torch.manual_seed(0)
    task = Jets(data=file)
    data, model = task.load(), task.model()
    before = task.evaluate(model, data.val)["loss"]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        task.loss(model(data.train.x), data.train.y).backward()
        optimizer.step()
    assert task.evaluate(model, data.val)["loss"] < before - 0.2


@pytest.mark.slow
def test_the_shipped_sample_loads_and_a_tagger_learns():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    task = Jets(data="sample")
    data, model = task.load(), task.model()
    assert data.duplicates == 0
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(4):
        for rows_ in torch.randperm(len(data.train)).split(512):
            optimizer.zero_grad()
            task.loss(model(data.train.x[rows_]), data.train.y[rows_]).backward()
            optimizer.step()
    figures = task.evaluate(model, data.test)
    assert 0.73 < figures["accuracy"] < 0.78
    assert 0.92 < figures["auc_macro"] < 0.95


def test_the_published_softmax_and_the_right_one():
    """Over the batch a single jet is anything, and other jets change a loss; over classes not."""
    torch.manual_seed(0)
    output, y = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    right, published = Jets(), Jets(softmax="batch")
    alone = [right.loss(output[k : k + 1], y[k : k + 1]) for k in range(6)]
    assert right.loss(output, y) == pytest.approx(float(torch.stack(alone).mean()))
    assert output[:1].softmax(0).tolist() == [[1.0] * 5]
    assert published.loss(output[:1], y[:1]) == published.loss(output[1:2], y[1:2]) == 80  # of 100
    share = output.double().exp() / output.double().exp().sum(0)
    own = torch.eye(5, dtype=torch.bool)[y]
    by_hand = -torch.where(own, share, 1 - share).log().mean()
    assert published.loss(output, y) == pytest.approx(float(by_hand))
    moved = output + torch.tensor([9.0, 0, 0, 0, 0])  # what a class has in all rows drops out
    assert published.loss(moved, y) == pytest.approx(float(by_hand), rel=1e-5)
    assert published.score(moved, y) == published.score(output, y)
    assert right.score(moved, y) == 2


def test_the_loss_of_the_published_network_before_it_has_learned():
    """ln(1024) / 5 or a little more, since each of 1024 outputs is one in 1024."""
    outputs, y = torch.zeros(1024, 5), torch.arange(1024) % 5
    assert Jets(softmax="batch").loss(outputs, y) == pytest.approx(1.387, abs=1e-3)
    assert Jets().loss(outputs, y) == pytest.approx(1.609, abs=1e-3)


def test_a_softmax_over_nothing():
    with pytest.raises(DataError) as caught:
        Jets(softmax="class")
    assert str(caught.value) == "jets: unknown softmax 'class'; did you mean 'classes'?"

import pytest
import torch

from pareq.errors import RunError
from pareq.train.batches import Batches

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("rows", "size", "steps", "left_out"),
    [(10, 5, 2, 0), (12, 5, 3, 0), (11, 5, 2, 1), (3, 5, 1, 0), (4, 1, 4, 0), (1, 1, 1, 0)],
)
def test_an_epoch_holds_each_row_once_but_for_a_single_last_one(rows, size, steps, left_out):
    batches = Batches(rows, size, seed=1)
    found = list(batches.of(0, CPU))
    assert len(found) == batches.steps == steps
    assert len(set(torch.cat(found).tolist())) == rows - left_out
    assert all(len(b) == size for b in found[:-1])


def test_epochs_and_seeds_differ_and_repeat():
    orders = [Batches(100, 7, seed).order(epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(o.tolist()) for o in orders}) == 4
    assert torch.equal(Batches(100, 9, 1).order(1), orders[3])


def test_the_order_does_not_depend_on_torchs_own_generator():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = Batches(50, 7, 3).order(2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(Batches(50, 7, 3).order(2), first)


def test_an_epoch_can_be_entered_in_the_middle():
    batches = Batches(33, 4, seed=2)
    whole = list(batches.of(5, CPU))
    for start in range(batches.steps + 1):
        rest = list(batches.of(5, CPU, start))
        assert [r.tolist() for r in rest] == [w.tolist() for w in whole[start:]]


@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4)])
def test_too_few_rows(rows, size):
    with pytest.raises(RunError) as error:
        Batches(rows, size, seed=0)
    assert str(error.value) == (
        f"the training split has {rows} rows, too few for a batch of {size}; give at least 2"
    )

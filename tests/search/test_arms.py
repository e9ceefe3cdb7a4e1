"""Arms: which is forked from which, and what is kept of them."""

import pytest

from pareq.errors import RunError, SearchError
from pareq.operators.schedule import Clock
from pareq.recipe.config import dump_recipe
from pareq.recipe.order import Order
from pareq.recipe.recipe import Training
from pareq.search.arms import Arm, arms, clock, read_last
from pareq.train.trial import Trial

TRAINING = Training(epochs=20, batch_size=64, decay="tail")
LATE = (0.5, 0.7)
ORDERS = {
    "late": Order(LATE, LATE, 0.72, 0.72),
    "sooner": Order(LATE, LATE, 0.3, 0.3),
    "same": Order(LATE, LATE, 0.3, 0.3),
    "first": Order((0.01, 0.2), (0.01, 0.2), 0.3, 0.3),
}


def trials() -> dict[str, Trial]:
    return {
        name: Trial("digits", dump_recipe(order.recipe(0.5, 4, training=TRAINING)))
        for name, order in ORDERS.items()
    }


def test_each_arm_is_forked_where_it_parts(tmp_path):
    """From the one with which it shares most; a twin from where it settles; the first from none."""
    found = arms(tmp_path, trials(), ("pareq",))
    assert clock(trials()["late"], TRAINING) == Clock(360, 18)
    shared = {name: (arm.source.rpartition("/")[2], arm.epoch) for name, arm in found.items()}
    # 0.3 of 360 steps, less a window of 20, are 4.9 epochs; 0.7 of them 14
    assert shared == {
        "late": ("", 0),
        "sooner": ("late", 4),
        "same": ("sooner", 14),
        "first": ("", 0),
    }
    assert {name: arm.stems for name, arm in found.items()} == {
        "late": (4,),
        "sooner": (14,),
        "same": (),
        "first": (),
    }
    assert [arm.epochs for arm in found.values()] == [20, 16, 6, 20]
    assert {arm.label for arm in found.values()} == set(ORDERS)
    assert not any(arm.done for arm in found.values())


def test_nothing_to_train(tmp_path):
    with pytest.raises(SearchError) as caught:
        arms(tmp_path, {})
    assert str(caught.value) == "no arm was given"


@pytest.mark.parametrize("content", ["{", "{}", '{"loss": 1}', None])
def test_a_measurement_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "last.json").write_text(content)
    with pytest.raises(RunError) as caught:
        read_last(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'last.json'}: cannot be read")
    assert str(caught.value).endswith("remove it and run again")


def test_what_is_measured_is_done(tmp_path):
    """Nothing is trained, nothing is even read."""
    (tmp_path / "last.json").touch()
    arm = Arm(str(tmp_path), trials()["late"])
    assert arm.done
    arm.run()
    assert [path.name for path in tmp_path.iterdir()] == ["last.json"]

import builtins

import pytest
import torch

from pareq.errors import DataError, MissingExtra
from pareq.metrics.detection import (
    Boxes,
    intersection_over_union,
    mean_average_precision,
    suppressed,
)


def boxes(rows, kinds=None, sure=None):
    places = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    count = len(places)
    return Boxes(
        places,
        torch.tensor(kinds or [0] * count).long(),
        torch.tensor(sure or [1.0] * count, dtype=torch.float64),
    )


WHOLE, LEFT, RIGHT, NONE = [0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0, 1, 1], [0.3, 0.3, 0.3, 0.9]


def test_overlap_is_the_common_part_of_both():
    a, b = boxes([WHOLE, LEFT, NONE]).places, boxes([LEFT, RIGHT]).places
    found = intersection_over_union(a, b)
    assert found.tolist() == [[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]]


def test_doubles_fall_and_other_kinds_stay():
    given = boxes(
        [LEFT, [0, 0, 0.52, 1], RIGHT, LEFT], kinds=[1, 1, 1, 2], sure=[0.6, 0.9, 0.2, 0.5]
    )
    kept = suppressed(given)
    assert kept.sure.tolist() == [0.9, 0.5, 0.2]
    assert kept.kinds.tolist() == [1, 2, 1]
    assert len(suppressed(boxes([]))) == 0


@pytest.fixture
def tool():
    pytest.importorskip("pycocotools", reason="the extra `detect` is not installed: no mAP")


@pytest.mark.usefixtures("tool")
def test_perfect_boxes_have_a_precision_of_one():
    truth = [boxes([LEFT]), boxes([LEFT, RIGHT], kinds=[0, 1])]
    assert mean_average_precision(truth, truth) == pytest.approx({"map50": 1.0, "map": 1.0})


@pytest.mark.usefixtures("tool")
def test_wrong_kinds_and_places_have_none_and_halves_a_half(capsys):
    truth = [boxes([LEFT]), boxes([RIGHT])]
    wrong = [boxes([LEFT], kinds=[1]), boxes([RIGHT], kinds=[1])]
    assert mean_average_precision(wrong, truth)["map50"] == 0.0
    nothing = [boxes([]), boxes([])]
    assert mean_average_precision(nothing, truth) == {"map50": 0.0, "map": 0.0}
    half = mean_average_precision([boxes([LEFT]), boxes([])], truth)
    assert half["map50"] == pytest.approx(51 / 101)  # recall 0 to 0.5 of 101 points
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("tool")
def test_an_overlap_between_the_limits_counts_for_map50_alone():
    """Overlap 0.6: right at 0.5, 0.55 and 0.6, that is 3 of 10 limits."""
    found = mean_average_precision([boxes([[0, 0, 0.605, 1]])], [boxes([WHOLE])])
    assert found["map50"] == pytest.approx(1)
    assert found["map"] == pytest.approx(0.3)


def test_without_an_object_there_is_no_precision():
    pytest.importorskip("pycocotools", reason="the extra `detect` is not installed: no mAP")
    with pytest.raises(DataError, match="expected as many of each, and some object"):
        mean_average_precision([boxes([LEFT])], [boxes([])])


def test_the_extra_is_named_where_the_tool_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match="detect"):
        mean_average_precision([boxes([LEFT])], [boxes([LEFT])])

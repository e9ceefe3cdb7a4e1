import builtins
import math
import re

import numpy as np
import pytest

from pareq.errors import MissingExtra
from pareq.report.canvas import Axis, Canvas


def drawn(key="k"):
    canvas = Canvas(Axis("epoch $x$"), Axis("loss", limits=(0.0, math.nan)))
    canvas.line(1, [1, 2, 3], [0.3, math.nan, 0.1])
    canvas.band(1, [1, 2], [0.1, 0.1], [0.3, 0.3])
    canvas.point(2, 1.0, 0.2, 0.1)
    canvas.point(None, 1.0, 0.2, 0.1)
    canvas.guide(2.0)
    canvas.path([1, 2], [0.2, 0.3])
    return canvas.svg(key, "what it shows")


def test_the_same_drawing_has_the_same_bytes():
    assert drawn() == drawn()


def test_text_stays_text_and_dollars_mean_nothing():
    assert ">epoch $x$</text>" in drawn()


def test_ids_of_two_drawings_differ():
    first, second = (set(re.findall(r' id="([^"]+)"', drawn(key))) for key in ("a", "b"))
    assert first
    assert not first & second


def test_every_colour_is_a_variable_of_the_page():
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn())


def test_logarithmic_axis_has_the_ticks_it_is_given():
    canvas = Canvas(
        Axis("x", limits=(0, 1)), Axis("y", "{:g} u".format, (0.01, 1), log=True, ticks=(0.01, 0.1))
    )
    canvas.line(0, [0, 1], [0.5, 0.02])
    texts = re.findall(r">([^<]+ u)</text>", canvas.svg("k", ""))
    assert texts == ["0.01 u", "0.1 u"]


def test_categories_are_listed_from_the_top():
    canvas = Canvas(Axis("bits"), Axis("", categories=("first", "second <&>")))
    canvas.bars(1, np.array([0.0, 1.0]), np.array([6.0, 4.0]), 0.5)
    found = dict(re.findall(r'y="([\d.]+)">(first|second &lt;&amp;&gt;)<', canvas.svg("k", "")))
    heights = {name: float(height) for height, name in found.items()}
    assert heights["first"] < heights["second &lt;&amp;&gt;"]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=r"^matplotlib is not installed.*'pareq\[report\]'"):
        Canvas(Axis("x"), Axis("y"))

"""The picture of a graph: every op has a box, every value that is read a line."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from pareq.report.flow import flow
from pareq.report.structure import Step, steps
from tests.ir.random_graphs import FAMILIES, random_graph


def step(name: str, *reads: str, path: str = "", held: str = "") -> Step:
    kind = "dense" if reads else "input"
    return Step(name, path or name, kind, reads, (4,), -8, 7, 4, "2^-2", held)


def drawn(*given: Step) -> ElementTree.Element:
    return ElementTree.fromstring(flow(given, 2, "What it is"))


def texts(picture: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter("text")]


def test_a_box_says_module_op_shape_integers_and_bits():
    picture = drawn(step("x"), step("fc1", "x", held="3 of 4 weights"))
    assert texts(picture) == [
        *("x", "4", "\u22128..7, a step is 2^-2", "4 bits"),
        *("fc1dense, 3 of 4 weights", "4", "\u22128..7, a step is 2^-2", "4 bits"),
    ]
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "What it is"


def test_names_cannot_break_the_page():
    picture = drawn(step("x"), step('"><script>', "x"))
    assert "script" in texts(picture)[4]
    assert ElementTree.fromstring(flow([step("x")], 1, '"<&')).get("aria-label") == '"<&'


def test_long_names_leave_room():
    long = "stages.3.a_rather_long_block_name.convolution"
    picture = drawn(step("x"), step("y", "x", path=long, held="1,000,000 of 2,000,000 weights"))
    assert texts(picture)[4] == "stages.3.a_r\u2026convolutiondense"


def test_a_value_that_is_read_further_down_has_a_line_of_its_own():
    """Beside the boxes; two at once do not lie on each other."""
    chain = drawn(step("a"), step("b", "a"), step("c", "b"))
    skips = drawn(step("a"), step("b", "a"), step("c", "a", "b"), step("d", "b", "c"))
    lines = [path.get("d") for path in skips.iter("path") if "none" in path.get("style")]
    assert sum("H" in line for line in lines) == 2
    assert len({re.search(r"H(\d+)V", line)[1] for line in lines if "H" in line}) == 2
    assert not any(
        "H" in path.get("d") for path in chain.iter("path") if "none" in path.get("style")
    )
    assert float(skips.find("rect").get("x")) > float(chain.find("rect").get("x"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(4))
def test_everything_lies_inside_the_picture(family, seed):
    """For graphs of every family; the lines too."""
    found = steps(random_graph(seed, family))
    picture = drawn(*found)
    _, _, width, height = map(float, picture.get("viewBox").split())
    boxes = [each for each in picture.iter("rect") if each.get("rx")]
    assert len(boxes) == len(found)
    for box in picture.iter("rect"):
        x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for path in picture.iter("path"):
        numbers = [float(n) for n in re.findall(r"(?<=[MHV ])\d+", path.get("d"))]
        assert all(0 <= n <= max(width, height) for n in numbers)

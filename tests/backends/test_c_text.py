"""Identifiers, literals and loops as C spells them."""

import numpy as np
import pytest

from pareq.backends.c.nest import last, loops, steps
from pareq.backends.c.text import Names, Text, array, whole
from pareq.backends.c.types import INT32, INT64, narrowest, register
from pareq.errors import BackendError


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("fc1.weight", "fc1_weight"),
        ("layer.0/conv", "layer_0_conv"),
        ("1st", "v_1st"),
        ("int", "v_int"),
        ("class", "v_class"),
        ("NULL", "v_NULL"),
        ("size_t", "v_size_t"),
        ("__x__", "x"),
        ("größe", "gr_e"),
        ("*/ }", "v"),
        ("", "v"),
    ],
)
def test_names_become_identifiers(name, label):
    assert Names().free(name) == label


def test_a_name_is_given_once():
    names = Names(["a"])
    assert [names.free(each) for each in ("a", "a", "a.", "b")] == ["a_2", "a_3", "a_4", "b"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-5, "-5"),
        (2**31 - 1, "2147483647"),
        (2**31, "2147483648LL"),
        (-(2**31), "-2147483648LL"),
        (-(2**63), "(-9223372036854775807LL - 1)"),
    ],
)
def test_literals_hold_every_int64(number, text):
    assert whole(number) == text


def test_arrays_are_never_empty_and_lines_never_long():
    assert array("int8_t", "a", np.zeros(0, dtype=np.int64)) == [
        "static const int8_t a[1] = {",
        "    0,",
        "};",
    ]
    lines = array("int64_t", "a", np.arange(10**6, 10**6 + 500))
    assert max(map(len, lines)) <= 100


def test_comments_cannot_be_ended_from_inside():
    text = Text()
    text.comment("a */ int x; /* b")
    assert text.lines == ["/* a * / int x; / * b */"]


def test_types_are_the_narrowest():
    found = [narrowest(*each).name for each in ((0, 127), (0, 128), (-1, 255), (0, 2**16 - 1))]
    assert found == ["int8_t", "uint8_t", "int16_t", "uint16_t"]
    assert narrowest(0, 2**31).name == narrowest(-(2**63), 0).name == "int64_t"
    assert [register(2**31 - 1), register(2**31)] == [INT32, INT64]
    with pytest.raises(BackendError, match="less than 2\\^63"):
        register(2**63)
    with pytest.raises(BackendError, match="wider than 64 bits"):
        narrowest(0, 2**63)


def test_loops_merge_what_lies_in_a_row_and_follow_the_first_array():
    shape = (2, 3, 4)
    text = Text()
    with loops(text, shape, steps(shape), steps(shape)) as found:
        assert found == ["i", "i"]
    assert text.lines == ["for (int i = 0; i < 24; i++) {", "}"]
    text = Text()
    with loops(text, shape, last(shape, 2), steps(shape)) as found:
        assert found == ["i * 2 + j", "i + j * 12"]
    assert [line.strip(" {") for line in text.lines[:2]] == [
        "for (int i = 0; i < 12; i++)",
        "for (int j = 0; j < 2; j++)",
    ]
    text = Text()
    with loops(text, (1, 1), (5, 5)) as found:
        assert found == ["0"]
    assert text.lines == []

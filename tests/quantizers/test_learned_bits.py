"""Fixed point whose bits are learned: what it rounds to, which gradient, which widths."""

import math

import pytest
import torch
from torch import nn

import pareq as pq
from pareq.operators.base import Surroundings


def weights(values, bits=6, granularity="element", **fields):
    """A quantizer that has measured a weight of two rows."""
    like = nn.Parameter(torch.tensor(values))
    quantizer = pq.LearnedBits(bits, granularity, **fields)
    quantizer.prepare(like)
    quantizer.set_strength(1.0)
    quantizer.observe(like.detach())
    return quantizer, like


def activations(x, granularity="channel", bits=4, **fields):
    quantizer = pq.LearnedBits(bits, granularity, **fields)
    quantizer.prepare(x, -1)
    quantizer.set_strength(1.0)
    quantizer.observe(x)
    return quantizer


def set_frac(quantizer, values):
    with torch.no_grad():
        quantizer.frac.copy_(torch.as_tensor(values) / quantizer.speed)


def test_it_begins_with_the_widest_word():
    """5 bits of magnitude, one of them room: steps of 2^-4 for weights up to 1."""
    quantizer, w = weights([[0.9, -0.3], [0.07, 1.0]])
    y = quantizer.project(w)
    assert quantizer.places()[0].eq(torch.tensor([[4.0, 4.0], [4.0, 4.0]])).all()
    assert torch.equal(y * 16, torch.floor(w * 16 + 0.5))
    assert quantizer.width == 6


def test_a_weight_below_its_own_step_is_zero():
    """Half a step would round up to twice the weight; a shared step has no such choice."""
    values = [[0.03, 0.0624, 0.0625, 0.9], [-0.03, -0.0624, -0.0625, 0.9]]
    for granularity, expected in (
        ("element", [[0.0, 0.0, 1.0, 14.0], [0.0, 0.0, -1.0, 14.0]]),
        ("tensor", [[0.0, 1.0, 1.0, 14.0], [0.0, -1.0, -1.0, 14.0]]),
    ):
        quantizer, w = weights(values, granularity=granularity)
        assert (quantizer.project(w) * 16).tolist() == expected


def test_fewer_bits_never_double_a_weight_of_one_bit():
    """From one bit the next step is none, whatever is left of the weight in float."""
    for value in (0.26, 0.3, 0.37):
        quantizer, w = weights([[value, 1.0]])
        sizes = []
        for behind in range(4, -2, -1):
            set_frac(quantizer, [[float(behind), 4.0]])
            y = quantizer.project(w).detach()
            sizes.append((float(y[0, 0]), float(quantizer.spans(y).detach()[0, 0])))
        short = [size for size, span in sizes if span <= 1]
        assert all(size in (0.25, 0.0) for size in short)
        assert [span for _, span in sizes] == sorted((s for _, s in sizes), reverse=True)


def test_rounding_half_up_and_down():
    x = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 7.0]])
    for rounding, expected in (("half_up", [1, 2, 3, 0, -1, 7]), ("floor", [0, 1, 2, -1, -2, 7])):
        quantizer = activations(x, "tensor", rounding=rounding)
        assert quantizer.project(x).tolist() == [expected]


def test_the_gradient_of_the_bits_is_what_rounding_lost():
    """ln 2 * (x - y) a bit (Sun et al. 2024), a bit being 1 / speed of the parameter."""
    quantizer, w = weights([[0.9, -0.3], [0.05, 1.0]], speed=2.0)
    set_frac(quantizer, [[1.0, 2.0], [0.0, -3.0]])
    y = quantizer.project(w)
    (y * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    lost = (w - y).detach()
    factor = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(quantizer.frac.grad, factor * lost * math.log(2) * 2.0)
    torch.testing.assert_close(w.grad, factor)


def test_a_channel_adds_up_the_gradient_of_its_values():
    x = torch.tensor([[0.3, 1.7], [0.6, -3.3]])
    quantizer = activations(x)
    set_frac(quantizer, [[2.0, 0.0]])
    y = quantizer.project(x)
    y.sum().backward()
    torch.testing.assert_close(
        quantizer.frac.grad, (x - y).detach().sum(0, keepdim=True) * math.log(2) * 4
    )


def test_outside_the_range_it_saturates_and_no_gradient_passes():
    x = torch.tensor([[0.9, 3.0]])
    quantizer = activations(x, "tensor", bits=4)
    far = torch.tensor([[9.0, -9.0]], requires_grad=True)
    y = quantizer.project(far)
    y.sum().backward()
    assert y.tolist() == [[3.5, -4.0]]
    assert far.grad.tolist() == [[0.0, 0.0]]
    assert quantizer.frac.grad.item() == 0.0


def test_no_bits_are_zero():
    """Pruned: a weight that rounds away, a channel with no bits left."""
    quantizer, w = weights([[0.9, -0.3], [0.05, 1.0]])
    set_frac(quantizer, [[-9.0, 4.0], [4.0, 4.0]])
    y = quantizer.project(w)
    assert y[0, 0] == 0
    assert quantizer.spans(y)[0, 0] == 0
    x = torch.tensor([[0.3, 1.7], [0.6, -3.3]])
    channels = activations(x)
    set_frac(channels, [[-5.0, 1.0]])
    assert channels.project(x)[:, 0].eq(0).all()
    assert channels.widths().tolist() == [[0.0, 4.0]]


def test_spans_count_from_the_highest_to_the_lowest_bit():
    """0.75 = 11b, 0.5 = 1b, 0.625 = 101b; the gradient is one a bit, none for zeros."""
    quantizer, w = weights([[0.75, 0.5], [0.0, 0.625]])
    spans = quantizer.spans(quantizer.project(w))
    assert spans.tolist() == [[2.0, 1.0], [0.0, 3.0]]
    spans.sum().backward()
    assert quantizer.frac.grad.tolist() == [[4.0, 4.0], [0.0, 4.0]]


def test_the_lowest_set_bit_goes():
    """Wherever it is: 0.5 = 1b is 0 then, 0.75 = 11b and 0.9375 = 1111b round down."""
    quantizer, w = weights([[0.75, 0.5], [-0.0625, 0.9375]])
    y = quantizer.project(w).detach()
    places = quantizer.lowest(y) - 1
    assert places.tolist() == [[1.0, 0.0], [3.0, 3.0]]
    assert quantizer.shortened(y, places).tolist() == [[0.5, 0.0], [0.0, 0.875]]
    quantizer.shorten(torch.tensor([[False, False], [True, True]]), places)
    assert quantizer.places()[0].tolist() == [[4.0, 4.0], [3.0, 3.0]]
    assert quantizer.spans(quantizer.project(w)).tolist() == [[2.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("granularity", ["tensor", "channel", "element"])
def test_fewer_places_end_at_nothing(granularity):
    """Each turn takes a set bit from every width that has one."""
    values = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    quantizer, w = weights(values.tolist(), 6, granularity)
    everywhere = torch.ones_like(quantizer.frac, dtype=torch.bool)
    for _ in range(quantizer.bits + 1):
        y = quantizer.project(w).detach()
        before, places = quantizer.lowest(y), quantizer.lowest(y) - 1
        quantizer.shorten(everywhere, places)
        after = quantizer.project(w).detach()
        assert (quantizer.lowest(after) < before)[before > -quantizer.front].all()
    assert not after.any()


def test_two_places_fewer_take_one_signed_digit():
    """7 = 8 - 1 becomes 8, 5 = 4 + 1 becomes 4, and 3, which is below its step then, 0."""
    quantizer, w = weights([[0.875, 0.625], [0.375, 1.0]])
    y = quantizer.project(w).detach()
    less = quantizer.shortened(y, quantizer.lowest(y) - 2)
    assert less.tolist() == [[1.0, 0.5], [0.0, 0.0]]
    found = quantizer.digits(y)
    assert found.tolist() == [[2.0, 2.0], [2.0, 1.0]]
    found.sum().backward()
    assert quantizer.frac.grad.ravel().tolist() == pytest.approx([8 / 3, 8 / 3, 4, 4])


def test_the_range_of_an_activation_moves_by_a_part():
    x = torch.tensor([[1.0, 2.0]])
    quantizer = activations(x, pace=0.25)
    quantizer.observe(torch.tensor([[2.0, 2.0]]))
    assert quantizer.bound.tolist() == [[1.25, 2.0]]
    assert quantizer.front.tolist() == [[1.0, 1.0]]


def test_the_grid_holds_every_value():
    quantizer, w = weights([[0.9, -0.3], [0.05, 1.0]])
    set_frac(quantizer, [[1.0, 3.0], [4.0, 0.0]])
    y = quantizer.project(w).detach()
    grid = quantizer.grid()
    assert grid.holds(y.double().numpy())
    assert grid.scale.ravel().tolist() == [2.0**-3, 2.0**-4]


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"bits": 1}, "bits must be in 2..32, got 1: a symmetric bit holds only zero"),
        ({"bits": 4, "granularity": "row"}, "granularity must be one of 'tensor', 'channel', 'element', got 'row'"),
        ({"bits": 4, "rounding": "up"}, "rounding must be one of 'half_up', 'floor', got 'up'"),
        ({"bits": 4, "window": -1}, "window must be 0 steps or more, got -1"),
        ({"bits": 4, "refresh": 0}, "refresh must be 1 step or more, got 0"),
        ({"bits": 4, "pace": 0.0}, "pace must be in (0, 1], got 0.0"),
        ({"bits": 4, "speed": 0.0}, "speed must be a positive number, got 0.0"),
    ],
)  # fmt: skip
def test_what_has_no_meaning(fields, fact):
    with pytest.raises(pq.PareqError) as error:
        pq.LearnedBits(**fields)
    assert str(error.value) == fact


def test_what_it_must_know_first():
    x = torch.randn(2, 3)
    with pytest.raises(pq.PareqError, match="granularity 'element' is for weights and biases"):
        pq.LearnedBits(4, "element").prepare(x, -1)
    with pytest.raises(pq.PareqError, match="needs the shape of the activation"):
        pq.LearnedBits(4).prepare(None)
    quantizer = pq.LearnedBits(4, "tensor")
    quantizer.prepare(x, -1)
    with pytest.raises(pq.PareqError, match="the range is not known yet"):
        quantizer.project(x)
    assert quantizer.width == 4
    with pytest.raises(pq.PareqError, match="not finite"):
        quantizer.observe(x / 0)


def test_channels_beside_weights():
    """Flattened channels repeat; groups read their own; a transposed weight has them first."""
    channels = torch.tensor([1.0, 2.0])
    flat = Surroundings(None, None).beside(channels, torch.Size([3, 4]))
    assert flat.tolist() == [[1, 1, 2, 2]] * 3
    groups = Surroundings(None, None, groups=2).beside(channels, torch.Size([4, 1, 3, 3]))
    assert groups.flatten().tolist() == [1, 1, 2, 2]
    turned = Surroundings(None, None, transposed=True).beside(channels, torch.Size([2, 5, 3, 3]))
    assert turned.shape == (2, 1, 1, 1)
    with pytest.raises(pq.PareqError, match="reads 5 channels, what feeds it has 2"):
        Surroundings(None, None).beside(channels, torch.Size([3, 5]))

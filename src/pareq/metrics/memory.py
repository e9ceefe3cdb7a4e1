"""How many bits a network takes to store: weights in four encodings, biases, activations.

| encoding | bits of a layer with w weights, z of them nonzero, b bits each |
|---|---|
| dense | w b |
| values | z b: without any index; what the values alone take, no decoder can read it |
| bitmap | z b + w: one bit a weight says whether it is stored |
| csr | z (b + ceil log2 inputs) + (outputs + 1) ceil log2(z + 1): column indices, row starts |
| relative | (z + f) (b + g): each stored weight after a gap of g bits (Han et al. 2016) |

In `relative` a run of zeros longer than a gap can say costs a filler of b + g bits. How many there
are depends on where the zeros lie; f = (w - z) // 2^g bounds them for every pattern, and g is the
one in 1..16 that makes the bound smallest. Weights that an earlier row holds are stored once,
and so are the biases of a module that runs again.

Activations that are pruned for every sample take no bits; their masks are free here, as published.
`metrics.footprint` counts outputs in both published conventions, with the masks or without.
"""

from collections.abc import Callable, Sequence

from pareq.metrics.layer import FLOAT_BITS, Layer
from pareq.registry import Registry

__all__ = [
    "ENCODINGS",
    "activation_bits",
    "bias_bits",
    "compression",
    "largest_activation_bits",
    "stored_bits",
    "weight_bits",
]

ENCODINGS: Registry[Callable[[Layer], int]] = Registry("encoding")

_LONGEST_GAP = 16


def weight_bits(rows: Sequence[Layer], encoding: str = "dense") -> int:
    """Bits of all weights.

    Raises UnknownName for an encoding that is not in the table above.
    """
    size = ENCODINGS[encoding]
    return sum(size(row) for row in rows if not row.shares)


def bias_bits(rows: Sequence[Layer]) -> int:
    """Bits of all biases, zeros stored too."""
    return sum(row.biases * row.bias_bits for row in rows if not row.again)


def stored_bits(rows: Sequence[Layer], encoding: str = "dense") -> int:
    """Bits of all weights and biases; Raises as `weight_bits`."""
    return weight_bits(rows, encoding) + bias_bits(rows)


def compression(rows: Sequence[Layer], encoding: str = "dense") -> float:
    """How many times smaller than 32-bit dense weights and biases; Raises as `weight_bits`."""
    weights = sum(row.weights for row in rows if not row.shares)
    biases = sum(row.biases for row in rows if not row.again)
    return FLOAT_BITS * (weights + biases) / max(stored_bits(rows, encoding), 1)


def activation_bits(rows: Sequence[Layer]) -> int:
    """Bits of the inputs of all layers, for one sample, without those that are pruned."""
    return sum((row.reads - row.dead) * row.input_bits for row in rows)


def largest_activation_bits(rows: Sequence[Layer]) -> int:
    """Bits of the largest input of a layer, for one sample, without what is pruned of it."""
    return max(((row.reads - row.dead) * row.input_bits for row in rows), default=0)


def _dense(row: Layer) -> int:
    return row.weights * row.weight_bits


def _values(row: Layer) -> int:
    return row.nonzero * row.weight_bits


def _bitmap(row: Layer) -> int:
    return row.nonzero * row.weight_bits + row.weights


def _csr(row: Layer) -> int:
    column = (row.inputs - 1).bit_length()
    start = row.nonzero.bit_length()
    return row.nonzero * (row.weight_bits + column) + (row.outputs + 1) * start


def _relative(row: Layer) -> int:
    zeros = row.weights - row.nonzero
    return min(
        (row.nonzero + (zeros >> gap)) * (row.weight_bits + gap)
        for gap in range(1, _LONGEST_GAP + 1)
    )


ENCODINGS.add("dense", _dense)
ENCODINGS.add("values", _values)
ENCODINGS.add("bitmap", _bitmap)
ENCODINGS.add("csr", _csr)
ENCODINGS.add("relative", _relative)

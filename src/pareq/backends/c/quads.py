"""Dense layers and convolutions of bytes: four products at a time, for sixteen outputs at a time.

Inputs are shifted into 0..255, weights lie in -128..127. A convolution reads channels that lie next
to one another, so that a row of a window is one run of bytes; a dense layer has one row. Weights
are stored as `(block, row, quad of inputs, vector of 16 outputs, output, input)`, with zeros where
outputs or inputs are missing.
"""

from dataclasses import dataclass

import numpy as np

from pareq.backends.c.scene import Integers

__all__ = ["VECTOR", "Cut"]

VECTOR = 16  # outputs in a vector of sums
_SUMS = 8  # vectors of sums that are added to in turn, which hides the latency of one


@dataclass(frozen=True)
class Cut:
    """How the products of a layer are cut.

    rows: runs of input bytes for one output; quads: in each of them; places: outputs of one channel
    that lie in a line. A block is `vectors` of outputs; `chains` quads, or `tile` places, are
    summed at once.
    """

    outputs: int
    rows: int
    quads: int
    places: int = 1

    @property
    def vectors(self) -> int:
        """Vectors in a block: up to 4, with as little padding as possible."""
        whole = -(-self.outputs // VECTOR)
        return min((4, 3, 2, 1), key=lambda r: (-(-whole // r)) * (r + 1))

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-self.outputs // (VECTOR * self.vectors))

    @property
    def padded(self) -> int:
        """Outputs with padding."""
        return self.count * self.vectors * VECTOR

    @property
    def tile(self) -> int:
        """Places at once."""
        return min(max(2 * _SUMS // self.vectors, 1), self.places, 8)

    @property
    def chains(self) -> int:
        """Quads that are added to sums of their own, where one place has too few sums."""
        most = max(_SUMS // (self.vectors * self.tile), 1)
        return max(c for c in range(1, most + 1) if self.quads % c == 0)

    def packed(self, weight: Integers) -> Integers:
        """Weights `(out, row, input)` in the order of their use."""
        outputs, rows, inputs = weight.shape
        full = np.zeros((self.padded, rows, self.quads * 4), dtype=np.int64)
        full[:outputs, :, :inputs] = weight
        blocks = full.reshape(self.count, self.vectors, VECTOR, rows, self.quads, 4)
        return np.ascontiguousarray(blocks.transpose(0, 3, 4, 1, 2, 5))

"""The price of adders: the look-up tables that the weights of a layer take in firmware."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pareq.quantizers.learned_bits import LearnedBits
from pareq.quantizers.price import Price, width

__all__ = ["Luts"]


@dataclass(eq=False, repr=False)
class Luts(Price, name="luts"):
    """Add price * look-up tables to the loss, or hold a budget of them.

    A weight that is wired in is a sum of its input, shifted, one adder a canonical signed digit;
    an adder takes a table a bit of its input. So the tables of a layer are the sum over all
    multiplications of the digits of the weight times the bits of the input that it meets;
    `benchmarks/lut_model.py` holds that beside what synthesis counts. The fields are those of
    `Price`.
    """

    unit: ClassVar[str] = "look-up tables"
    depths: ClassVar[tuple[int, ...]] = (1, 2)  # two take one digit: 7 = 8 - 1 becomes 8

    def costs(self, y: Tensor) -> Tensor:
        """The tables of each weight; a third of fixed bits are signed digits (Reitwiesner 1960)."""
        weight = self.surroundings.weight
        if isinstance(weight, LearnedBits) and weight.engaged:
            return weight.digits(y) * self.reads(y)
        return (y.detach() != 0).to(y.dtype) * ((width(weight) + 1) / 3) * self.reads(y)

"""The price of bits: what the multiplications of a layer cost in hardware, added to the loss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pareq.quantizers.learned_bits import LearnedBits
from pareq.quantizers.price import Price, width

__all__ = ["Ebops"]


@dataclass(eq=False, repr=False)
class Ebops(Price, name="ebops"):
    """Add price * EBOPs to the loss, or hold a budget of EBOPs (Sun et al. 2024, HGQ, eq. 5).

    EBOPs: the sum over all multiplications of the effective bits of the weight times the bits of
    the input that it meets. The fields are those of `Price`.
    """

    unit: ClassVar[str] = "EBOPs"

    def costs(self, y: Tensor) -> Tensor:
        """The EBOPs of each weight."""
        weight = self.surroundings.weight
        if isinstance(weight, LearnedBits) and weight.engaged:
            return weight.spans(y) * self.reads(y)
        return (y.detach() != 0).to(y.dtype) * width(weight) * self.reads(y)

"""Operators that put a tensor on a grid of integers."""

from pareq.quantizers.ebops import Ebops
from pareq.quantizers.fixed_point import FixedPoint
from pareq.quantizers.learned_bits import LearnedBits
from pareq.quantizers.learned_scale import LearnedScale
from pareq.quantizers.luts import Luts
from pareq.quantizers.max_abs import MaxAbs
from pareq.quantizers.price import Price
from pareq.quantizers.ranges import RANGES
from pareq.quantizers.uniform import Uniform

__all__ = [
    "RANGES",
    "Ebops",
    "FixedPoint",
    "LearnedBits",
    "LearnedScale",
    "Luts",
    "MaxAbs",
    "Price",
    "Uniform",
]

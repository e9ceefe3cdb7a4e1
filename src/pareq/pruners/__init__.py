"""Operators that drive weights and activations to zero."""

from pareq.pruners.activation import PruneActivation
from pareq.pruners.digits import digits, per_digit, per_table
from pareq.pruners.fan_in import FanIn
from pareq.pruners.penalty import L1
from pareq.pruners.prune import PATTERNS, SCORES, LayerScore, Prune

__all__ = [
    "L1",
    "PATTERNS",
    "SCORES",
    "FanIn",
    "LayerScore",
    "Prune",
    "PruneActivation",
    "digits",
    "per_digit",
    "per_table",
]

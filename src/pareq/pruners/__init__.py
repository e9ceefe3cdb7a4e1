"""Operators that drive weights and activations to zero."""

from pareq.pruners.activation import PruneActivation
from pareq.pruners.digits import digits, per_digit
from pareq.pruners.penalty import L1
from pareq.pruners.prune import PATTERNS, SCORES, Prune

__all__ = ["L1", "PATTERNS", "SCORES", "Prune", "PruneActivation", "digits", "per_digit"]

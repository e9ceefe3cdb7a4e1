"""Studies: published experiments as matrices of trials, each ending in one report."""

from pareq.studies import area, order, qap  # noqa: F401 - each registers its study
from pareq.studies.base import STUDIES

__all__ = ["STUDIES"]

"""Studies: published experiments as matrices of trials, each ending in one report."""

from pareq.studies import qap  # noqa: F401 - registers its study
from pareq.studies.base import STUDIES

__all__ = ["STUDIES"]

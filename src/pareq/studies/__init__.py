"""Studies: published experiments as matrices of trials, each ending in one report."""

from pareq.studies import order, qap  # noqa: F401 - both register their study
from pareq.studies.base import STUDIES

__all__ = ["STUDIES"]

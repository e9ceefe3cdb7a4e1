"""Reports: run folders -> tables -> SVG -> one HTML file."""

from pareq.report.page import report

__all__ = ["report"]

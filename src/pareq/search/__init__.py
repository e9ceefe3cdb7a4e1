"""Search: which recipe fields vary, what to try next, and where trials run."""

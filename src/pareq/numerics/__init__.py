"""Numbers: which integers a tensor may hold, and how a real number becomes one."""

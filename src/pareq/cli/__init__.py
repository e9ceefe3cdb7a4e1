"""The command line: `pareq COMMAND`."""

from pareq.cli.app import main

__all__ = ["main"]

"""Graphs as programs: build, run and verify, one back end a folder or file."""

from pareq.backends.base import BACKENDS, Artefact, Backend, build, load
from pareq.backends.c import C
from pareq.backends.timing import measure
from pareq.backends.verify import verify

__all__ = ["BACKENDS", "Artefact", "Backend", "C", "build", "load", "measure", "verify"]

"""Graphs as Verilog: unrolled, pipelined, simulated integer by integer."""

from pareq.backends.base import BACKENDS
from pareq.backends.verilog.backend import Verilog

__all__ = ["Verilog"]

BACKENDS.add(Verilog.name, Verilog())

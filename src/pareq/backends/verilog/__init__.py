"""Graphs as Verilog: unrolled, pipelined, simulated integer by integer."""

from pareq.backends.base import BACKENDS
from pareq.backends.verilog.alkaid.backend import Alkaid
from pareq.backends.verilog.backend import Verilog

__all__ = ["Alkaid", "Verilog"]

for _each in (Verilog(), Alkaid()):
    BACKENDS.add(_each.name, _each)

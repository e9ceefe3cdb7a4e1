"""Graphs as designs of alkaid (extra fpga), the second way to Verilog, and the one to VHDL."""

"""Marks of tests that need a program of the system."""

import shutil

import pytest


def needs(program):
    """Skip, and say so, where a program is missing."""
    reason = f"{program} IS NOT INSTALLED: apt install {program}"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


icarus, verilator, yosys = needs("iverilog"), needs("verilator"), needs("yosys")
BOTH = [pytest.param("icarus", marks=icarus), pytest.param("verilator", marks=verilator)]

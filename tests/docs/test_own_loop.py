"""examples/own_loop.py does what it says."""

import runpy
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "examples" / "own_loop.py"


def test_a_model_in_a_loop_of_its_own():
    """It learns, three quarters of the weights are zero, and 4 bits have at most 16 levels."""
    found = runpy.run_path(str(PROGRAM))["main"]()
    assert found["accuracy"] > 0.9
    assert 0.75 <= found["zeros"] < 0.85
    assert 2 < found["levels"] <= 16

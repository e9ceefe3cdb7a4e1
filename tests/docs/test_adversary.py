"""examples/adversary.py does what it says."""

import runpy
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "adversary.py"


@pytest.mark.slow
@pytest.mark.parametrize("order", ["pq", "qp"])
def test_two_networks_that_compete(order):
    """Only the generator has operators; its integers are those of float64."""
    main = runpy.run_path(str(PROGRAM))["main"]
    found = main(["--width", "2", "--epochs", "1", "--order", order])
    assert found["differ"] == 0
    assert found["integers"] == 4 * 3 * 32 * 32
    assert 0 < found["l1"] < 0.5

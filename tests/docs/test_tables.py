"""The measured tables in README and docs are those of benchmarks/results."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_hold_what_was_measured():
    command = [sys.executable, str(ROOT / "scripts" / "tables.py"), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

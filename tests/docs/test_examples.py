"""The Python in README and docs runs, page by page, as a reader would type it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"docs/tutorial/first-network.md"}  # it trains two networks


def _blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def _pages() -> list[object]:
    written = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    pages = [page for page in written if _blocks(page)]
    names = [page.relative_to(ROOT).as_posix() for page in pages]
    marks = [[pytest.mark.slow] if name in SLOW else [] for name in names]
    return [
        pytest.param(page, id=name, marks=mark)
        for page, name, mark in zip(pages, names, marks, strict=True)
    ]


@pytest.mark.parametrize("page", _pages())
def test_examples_run(page, tmp_path):
    """In a process of its own, in an empty folder, with warnings as errors."""
    script = tmp_path / "example.py"
    script.write_text("\n".join(_blocks(page)))
    command = [sys.executable, "-W", "error", script.name]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

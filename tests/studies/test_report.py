"""The page of a whole small study."""

import re

import pytest

from pareq.errors import StudyError
from pareq.search.executor import InProcess
from pareq.studies.base import drive
from tests.studies.small import study


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """A study with every kind of figure in it, two repeats of some."""
    folder = tmp_path_factory.mktemp("report")
    made = study(folder, repeats=2, fractions=(0.8,))
    for only in ("32b-*/1", "6b-*/1", "6b-ft/2"):
        assert drive(made, folder / "out", InProcess(), only=only) == {}
    return made.report(folder / "out").read_text()


@pytest.mark.slow
def test_the_page_says_all(page):
    """Claims, tables, figures, commands."""
    for claim in ("Claim 1", "Claim 2", "Claim 3", "6 bits, 80 % pruned", "And generalisation"):
        assert page.count(f"<strong>{claim}") == 1, claim
    figures = re.findall(r'<figure id="([^"]+)"', page)
    assert figures == [
        *("quality", "classes", "information", "methods-32", "methods-6", "traces", "search"),
        *("ablations-6", "noise", "t1-roc", "points"),
    ]
    assert "trainings of 56 are missing; what is shown is preliminary." in page
    assert "pareq study qap --matrix quick" in page
    for row in ("nominal", "pruned", "quantized", "pruned and quantized", "Bayesian optimisation"):
        assert f'<th scope="row">{row}</th>' in page
    assert "core-days" in page
    table = page[page.index("<caption><span>Comparative confusion") :]
    cells = re.findall(r"<td>([\d.]+)\u202f%</td>", table[: table.index("</table>")])
    assert len(cells) == 25
    assert sum(map(float, cells)) == pytest.approx(100, abs=0.2)


@pytest.mark.slow
def test_every_point_is_in_a_table(page):
    """Also those that are drawn nowhere."""
    table = page[page.index("Every setting in every state") :]
    rows = re.findall(r'<th scope="row">([\w.-]+)</th>', table[: table.index("</table>")])
    assert rows.count("6b-ft") == 2
    assert rows.count("6b-ft-norm.off-l1.off") == 2
    assert len(rows) == 2 * 11


def test_a_report_of_nothing(tmp_path):
    made = study(tmp_path)
    with pytest.raises(StudyError) as caught:
        made.report(tmp_path)
    assert str(caught.value) == (
        f"study qap: report: {tmp_path}: no training has ended yet; run the study first"
    )

"""The page in a real browser: nothing overflows, nothing complains, nothing is fetched."""

from dataclasses import replace

import pytest

from pareq.report import report
from tests.report import browser
from tests.report.integers import deploy
from tests.report.runs import VARIANTS, make, study

pytestmark = pytest.mark.slow

WIDTHS = (320, 390, 768, 1280)
TOO_WIDE = """
[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, svg, .quiet"))
  .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(e => e.tagName + "." + e.className).join(" ")
"""
OPEN_ALL = 'document.querySelectorAll("details").forEach(d => d.open = true)'
UNLABELLED = """
[...document.querySelectorAll("figure")].filter(f =>
  !f.querySelector("figcaption").innerText || !f.querySelector("details.data table tbody td")
  || [...f.querySelectorAll(".panel svg")].some(s => s.getAttribute("role") !== "img"
     || !s.getAttribute("aria-label") || s.getBoundingClientRect().height < 60)).length
"""
TINY = """
Math.min(...[...document.querySelectorAll(".panel svg text")].map(t =>
  t.getBoundingClientRect().height))
"""


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    if program is None:
        pytest.skip("NO CHROMIUM: the report is not looked at; install the package chromium")
    with browser.Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study(folder, seeds=2, variants=tuple(replace(v, epochs=12, samples=800) for v in VARIANTS))
    long = "a-variant-with-a-very-long-name-that-has-no-space-in-it-and-goes-on-and-on"
    deploy(folder / "2-seed1", family="mixed", built=False)
    deploy(folder / "3-seed1", seed=5)
    names = tuple((f"stages.{i}.a_rather_long_block_name.convolution", 8, 8) for i in range(5))
    make(folder / "long", replace(VARIANTS[3], label=long, bits=4, layers=names))
    make(folder / "open", replace(VARIANTS[2], seed=7), finished=False)
    (folder / ("damaged-" * 12)).mkdir()
    (folder / ("damaged-" * 12) / "run.json").touch()
    return report([folder], folder / "page.html")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_and_nothing_complains(chromium, page, width, dark):
    chromium.show(page, width, dark=dark)
    for state in ("as it comes", "with all details open"):
        assert chromium.value("document.documentElement.scrollWidth") == width, state
        assert chromium.value(TOO_WIDE) == "", state
        chromium.value(OPEN_ALL)
    assert chromium.value(UNLABELLED) == 0
    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]


def test_complaints_and_overflow_would_be_noticed(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!DOCTYPE html><meta name="viewport" content="width=device-width">'
        '<p style="width: 900px">x</p><script>console.error("seen")</script>',
        "utf-8",
    )
    chromium.show(bad, 390)
    assert chromium.value("document.documentElement.scrollWidth") > 900
    assert "P." in chromium.value(TOO_WIDE)
    assert any("seen" in entry for entry in chromium.complaints())


@pytest.mark.parametrize(
    ("dark", "paper"), [(False, "rgb(255, 255, 255)"), (True, "rgb(20, 23, 28)")]
)
def test_drawings_follow_the_colours_of_the_reader(chromium, page, dark, paper):
    chromium.show(page, 390, dark=dark)
    assert chromium.value("getComputedStyle(document.body).backgroundColor") == paper
    first = 'getComputedStyle(document.querySelector(".panel .series-1 > path")).stroke'
    expected = "rgb(91, 143, 255)" if dark else "rgb(45, 83, 217)"
    assert chromium.value(first) == expected


def test_text_of_drawings_is_text_and_can_be_read_on_a_phone(chromium, page):
    chromium.show(page, 390)
    assert chromium.value(TINY) >= 9
    assert "signal efficiency" in chromium.value("document.querySelector('.panel').textContent")


def test_every_clip_and_marker_is_found(chromium, page):
    chromium.show(page, 1280)
    dangling = """
    [...document.querySelectorAll("[clip-path], use")].filter(e => {
      const id = (e.getAttribute("clip-path") || "").slice(5, -1);
      const used = (e.getAttribute("href") || "#").slice(1);
      return (id && !document.getElementById(id)) || (used && !document.getElementById(used));
    }).length
    """
    assert chromium.value(dangling) == 0
    assert chromium.value("document.querySelectorAll('use').length") > 0

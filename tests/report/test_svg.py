import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pareq.report import page, svg
from pareq.report.svg import SERIES, Tone, embed

STYLE = (Path(page.__file__).parent / "templates" / "style.css").read_text("utf-8")

DRAWING = """<?xml version="1.0"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="10pt" viewBox="0 0 10 20" version="1.1">
 <metadata><x>date</x></metadata>
 <defs><style type="text/css">*{stroke: red}</style></defs>
 <g id="series-2"><path id="m1" d="M 1.23456 2
L 3 4 " style="stroke: %s; fill: %s"/></g>
 <g id="patch_1"><use xlink:href="#m1" clip-path="url(#p1)"/></g>
 <clipPath id="p1"/>
 <text style="font: 12px 'DejaVu Sans', sans-serif; fill: %s">a &lt; id="m1" 1.23456</text>
</svg>
""" % (Tone.SERIES[3], Tone.PAPER, Tone.INK)  # noqa: UP031 - the drawing holds braces


def test_embedded_drawing_takes_the_colours_and_the_font_of_the_page():
    found = embed(DRAWING, "k", 'says "a" & <b>')
    assert "stroke: var(--s3); fill: var(--paper)" in found
    assert 'style="font-size: 12px; fill: var(--ink)"' in found
    assert found.startswith(
        '<svg viewBox="0 0 10 20" role="img" aria-label="says &quot;a&quot; &amp; &lt;b&gt;">'
    )
    assert "DejaVu" not in found
    assert "#01f0" not in found


def test_embedded_drawing_has_ids_of_its_own_and_nothing_else_of_the_file():
    found = embed(DRAWING, "k", "")
    assert re.findall(r' id="([^"]+)"', re.sub(r">[^<]*<", "><", found)) == ["k-m1", "k-p1"]
    assert 'href="#k-m1"' in found
    assert "url(#k-p1)" in found
    assert 'class="series series-2"' in found
    for gone in ("metadata", "<style", "xlink", "patch_1", "xmlns"):
        assert gone not in found


def test_embedding_shortens_numbers_of_paths_but_no_text():
    found = embed(DRAWING, "k", "")
    assert 'd="M 1.23 2 L 3 4"' in found
    assert '>a &lt; id="m1" 1.23456</text>' in found


@pytest.mark.parametrize("series", range(SERIES))
def test_every_series_has_dashes_a_marker_and_a_swatch(series):
    assert f"var(--s{series})" in svg.swatch(series)
    assert f"var(--s{series})" in svg.box(series)
    assert len({svg.MARKERS[k] for k in range(SERIES)}) == SERIES
    assert len(svg.DASHES) == SERIES


# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}


def themes():
    """The variables of the light theme, of the dark one, and of print."""
    light, rest = STYLE.split("@media (prefers-color-scheme: dark)")
    dark = rest[: rest.index("*, ::before")]
    paper = STYLE[STYLE.index("@media print") :]
    return [dict(re.findall(r"--([\w]+): (#\w{6})", part)) for part in (light, dark, paper)]


def linear(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Perceptual coordinates (Ottosson 2020)."""
    lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(np.clip(rgb, 0, 1) @ lms.T) @ lab.T


def contrast(first, second):
    """The contrast ratio of WCAG 2."""
    low, high = sorted(float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark", "print"])
def test_colours_stand_out_from_the_page(theme):
    for series in range(SERIES):
        assert contrast(theme[f"s{series}"], theme["paper"]) >= 3.0, series
    for name in ("ink", "muted"):
        assert contrast(theme[name], theme["paper"]) >= 4.5
        assert contrast(theme[name], theme["raised"]) >= 4.5


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", themes(), ids=["light", "dark", "print"])
def test_colours_are_told_apart_without_full_colour_sight(theme, sight):
    seen = [oklab(linear(theme[f"s{k}"]) @ SIGHT[sight].T) for k in range(SERIES)]
    distances = [float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)]
    assert min(distances) > 0.07


def test_one_theme_names_what_the_other_does():
    light, dark, paper = themes()
    assert light.keys() == dark.keys() == paper.keys() | {"accent"}

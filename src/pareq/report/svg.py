"""A drawing becomes part of the page: the page's colours and font, ids of its own, no metadata.

| class | drawn as | on the page |
|---|---|---|
| `Tone.INK`, `MUTED`, `GRID`, `PAPER` | a colour nothing else has | `var(--ink)`, ... |
| `Tone.SERIES[k]` | the same | `var(--s0)` (the reference) to `var(--s8)` |

So one drawing serves light, dark and print: the style sheet sets the variables.
"""

import re
from html import escape
from typing import Final

__all__ = ["DASHES", "MARKERS", "SERIES", "Tone", "box", "embed", "swatch"]

SERIES: Final = 9  # series 0 is the reference, 1..8 have a colour each


class Tone:
    """The colours a drawing may use; each stands for a variable of the style sheet."""

    INK: Final = "#01f0a0"
    MUTED: Final = "#01f0a1"
    GRID: Final = "#01f0a2"
    PAPER: Final = "#01f0a3"
    SERIES: Final = tuple(f"#01f0c{k}" for k in range(SERIES))


_VARIABLES: Final = {
    Tone.INK: "var(--ink)",
    Tone.MUTED: "var(--muted)",
    Tone.GRID: "var(--grid)",
    Tone.PAPER: "var(--paper)",
    **{tone: f"var(--s{k})" for k, tone in enumerate(Tone.SERIES)},
}

# A series is told by its dashes and marker too, not by colour alone.
DASHES: Final[tuple[tuple[float, ...], ...]] = (
    (),
    (),
    (7, 2.5),
    (2.5, 2),
    (8, 2, 2, 2),
    (4, 2),
    (1.2, 2),
    (10, 2),
    (8, 2, 2, 2, 2, 2),
)
MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X", "p", "*")
_MARKER_PATHS: Final = (
    "M18 6a4 4 0 1 1 -8 0a4 4 0 1 1 8 0z",
    "M10.5 2.5h7v7h-7z",
    "M14 1.4L18.6 6L14 10.6L9.4 6z",
    "M14 1.8L18.2 9.6H9.8z",
    "M14 10.2L18.2 2.4H9.8z",
    "M12.4 2h3.2v2.4h2.4v3.2h-2.4v2.4h-3.2v-2.4h-2.4v-3.2h2.4z",
    "M12 2l2 2l2 -2l2 2l-2 2l2 2l-2 2l-2 -2l-2 2l-2 -2l2 -2l-2 -2z",
    "M14 1.6L18.4 4.8L16.7 10H11.3L9.6 4.8z",
    "M14 1.2L15.3 4.4L18.8 4.6L16.1 6.8L17 10.2L14 8.3L11 10.2L11.9 6.8L9.2 4.6L12.7 4.4z",
)


def embed(drawing: str, key: str, label: str) -> str:
    """The `<svg>` element of a whole SVG file, fit for a page with many of them.

    key: unique on the page, put in front of every id. label: the text of `aria-label`.
    """
    body = drawing[drawing.index("<svg") : drawing.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*</defs>\s*", "", body)
    head, body = body[: body.index(">")], body[body.index(">") + 1 :]
    used = frozenset(re.findall(r'(?:url\(#|href="#)([\w.-]+)', body))
    body = re.sub(r"<[^>]+>", lambda tag: _tag(tag[0], key, used), body)
    box = re.search(r'viewBox="[\d. ]+"', head)
    view = f" {box[0]}" if box else ""
    return f'<svg{view} role="img" aria-label="{escape(label)}">{_compact(body)}</svg>'


def _tag(tag: str, key: str, used: frozenset[str]) -> str:
    """One tag with the page's colours, font and ids."""

    def named(match: re.Match[str]) -> str:
        name = match[1]
        if name in used:
            return f' id="{key}-{name}"'
        return f' class="series {name}"' if re.fullmatch(r"series-\d", name) else ""

    tag = re.sub(r' id="([^"]*)"', named, tag)
    tag = re.sub(r'(?:xlink:)?href="#', f'href="#{key}-', tag)
    tag = tag.replace("url(#", f"url(#{key}-")
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", tag)
    return re.sub(r"#01f0[ac]\d", lambda tone: _VARIABLES[tone[0]], tag)


def _compact(body: str) -> str:
    """The same picture in fewer bytes: nothing invisible, no indentation, two decimals."""
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r'<path d="[^"]*" style="fill: none"/>| transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r">\s+<", "><", body.strip())
    body = re.sub(r' d="[^"]* "', lambda path: f'{path[0][:-2]}"', body)
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"-?\d+\.\d{3,}", _short, tag[0]), body)
    while "<g></g>" in body or "<g/>" in body:
        body = body.replace("<g/>", "").replace("<g></g>", "")
    return body


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def swatch(series: int) -> str:
    """A little picture of a series' line and marker, for a legend; silent to screen readers."""
    dashes = " ".join(f"{length:g}" for length in DASHES[series])
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    colour = f"color:var(--s{series})"
    return (
        f'<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true" style="{colour}">'
        f'<path d="M0 6H28" fill="none" stroke="currentColor" stroke-width="2"{dash}/>'
        f'<path d="{_MARKER_PATHS[series]}" fill="currentColor"/></svg>'
    )


def box(series: int | None) -> str:
    """A filled square of a series, or an outlined grey one, for a legend."""
    colour = "var(--muted)" if series is None else f"var(--s{series})"
    fill = "none" if series is None else "currentColor"
    return (
        f'<svg class="swatch" viewBox="0 0 14 12" aria-hidden="true" style="color:{colour}">'
        f'<path d="M2 1.5h9v9h-9z" fill="{fill}" stroke="currentColor" stroke-width="1.5"/></svg>'
    )

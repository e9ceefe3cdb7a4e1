"""A figure: caption, legend, panels that say what they show, and a table of the same."""

from dataclasses import dataclass

from pareq.report.svg import swatch
from pareq.report.variants import Section
from pareq.report.words import plural

__all__ = ["Figure", "Key", "Panel", "Table", "left_out", "legend"]


@dataclass(frozen=True)
class Key:
    """One entry of a legend; picture: an `<svg>` element. series: what it stands for, if one."""

    label: str
    picture: str
    series: int | None


@dataclass(frozen=True)
class Panel:
    """One drawing of a figure; svg: its element, with role and label."""

    title: str
    svg: str


@dataclass(frozen=True)
class Table:
    """Rows of texts under a head; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """Panels side by side with one caption, one legend and one table; key: unique on the page.

    small: panels of less width. folded: shown on demand.
    """

    key: str
    title: str
    caption: str
    keys: tuple[Key, ...]
    panels: tuple[Panel, ...]
    table: Table
    small: bool = False
    folded: bool = False


def legend(section: Section) -> tuple[Key, ...]:
    """An entry for each variant that has a colour."""
    return tuple(Key(v.label, swatch(series), series) for series, v in section.drawn)


def left_out(section: Section) -> str:
    """A sentence for a caption when there are more variants than colours."""
    others = len(section.variants) - len(list(section.drawn))
    return f" {plural(others, 'further variant')} of the table are not drawn." if others else ""

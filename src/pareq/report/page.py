"""Run folders in, one HTML file out: it needs no network, no script and no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from pareq.errors import MissingExtra, ReportError, RunError, at
from pareq.report.collect import Refused, Trained, collect
from pareq.report.curves import learning, roc, shrinking
from pareq.report.figure import Figure, Table
from pareq.report.gallery import gallery
from pareq.report.integers import integers, programs
from pareq.report.origins import Origin, origins
from pareq.report.sizes import cost, layers, weights
from pareq.report.summary import Sentence, Tile, cost_table, summary, tables, tiles
from pareq.report.timeline import timelines
from pareq.report.variants import Section, sections
from pareq.report.words import join
from pareq.train import durable

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Chapter", "report", "write_page"]


@dataclass(frozen=True)
class Chapter:
    """All that the page shows of one task, as plain texts, tables and figures.

    small_print: what the numbers of the tables are, where that is not the usual. paragraphs: each
    sentence with a label begins one.
    """

    key: str
    task: str
    sentences: tuple[Sentence, ...]
    smallest: str
    tiles: tuple[Tile, ...]
    warning: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    cost: Table | None
    origins: tuple[Origin, ...]
    small_print: str = ""
    paragraphs: bool = False


def report(runs: Sequence[Path], out: Path, title: str | None = None) -> Path:
    """Write a report on `runs` to the HTML file `out` and return its path.

    runs: run folders, or folders that hold some. Runs that differ by their seed only are one
    variant. Damaged runs are listed with the reason. The same runs give the same bytes.

    Raises ReportError for a path that is no folder, no readable run at all, an `out` that cannot be
    written; MissingExtra without matplotlib or jinja2.
    """
    with at("report"):
        target = _checked(out)
        if title is not None and not title.strip():
            raise ReportError("title: is empty; leave it out for one made from the tasks")
        if not runs:
            raise ReportError("no run was given; give the folder of a run, or one that holds runs")
        _template()
        found, refused = collect(runs)
        if not found:
            raise ReportError(_nothing(refused))
        parts = [_chapter(section) for section in sections(found)]
        chapters = [chapter for chapter, _ in parts]
        write_page(
            target,
            title or f"Pruning and quantization of {join(c.task for c in chapters)}",
            chapters,
            version=_version(found),
            refused=refused,
            notes=[
                *((run.folder, note) for run in found for note in run.notes),
                *chain.from_iterable(notes for _, notes in parts),
            ],
        )
        return target


def write_page(
    target: Path,
    title: str,
    chapters: Sequence[Chapter],
    *,
    version: str,
    refused: Sequence[Refused] = (),
    notes: Sequence[tuple[Path, str]] = (),
) -> None:
    """Write chapters as one HTML file, in one piece; notes: what is incomplete, by folder.

    Raises ReportError when it cannot be written, MissingExtra without jinja2.
    """
    page = _template().render(
        title=title, chapters=chapters, refused=refused, notes=notes, version=version
    )
    _write(target, page)


def _checked(out: Path) -> Path:
    """`out` if it may be written, before anything is drawn."""
    if out.is_dir():
        raise ReportError(f"{out} is a folder; give a file in it, such as {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ReportError(f"out: a file name that ends in .html was expected, got {out.name!r}")
    return out


def _nothing(refused: Sequence[Refused]) -> str:
    first = refused[0]
    more = f", and {len(refused) - 1} more like it" if len(refused) > 1 else ""
    return f"no run can be read: {first.folder}: {first.reason}{more}"


_SCORED = (
    "± is the standard deviation over the seeds. Two variants are said to differ when their mean"
    " scores do at 95 % confidence by a t-test over the seeds; with a single seed nothing is said"
    " about noise. Bit operations: (1 \u2212 pruned) · weight bits · input bits + weight bits +"
    " input bits + log₂ inputs for each weight; positions of the input that are pruned for every"
    " sample cost nothing. Memory: the weights in their smallest encoding, its index included, and"
    " all biases and statistics; with activations: and the inputs of all layers without what is"
    " pruned of them."
)


def _chapter(section: Section) -> tuple[Chapter, list[tuple[Path, str]]]:
    """What is shown, and what is incomplete about it."""
    begin = (roc(section) if section.classes else None, cost(section), learning(section))
    end = (shrinking(section), layers(section))
    made, notes = gallery(section)
    figures = (*begin, *made, *timelines(section), *end)
    smallest, found = tiles(section)
    chapter = Chapter(
        key=section.key,
        task=section.task,
        sentences=summary(section),
        smallest=smallest,
        tiles=found,
        warning=_warning(section),
        tables=(*tables(section), *programs(section)),
        figures=tuple(
            chain((figure for figure in figures if figure), integers(section), weights(section))
        ),
        cost=cost_table(section),
        origins=origins(section),
        small_print="" if section.classes else _SCORED,
    )
    return chapter, notes


def _warning(section: Section) -> str:
    """What makes the variants hard to compare."""
    data = {run.run.about.data for variant in section.variants for run in variant.runs}
    tested = {
        run.quality.samples
        for variant in section.variants
        for run in variant.runs
        if run.quality is not None
    }
    if len(data) > 1:
        return (
            "These runs do not share one data set, so their differences are not only the recipe's."
        )
    if len(tested) > 1:
        return "These runs were tested on different numbers of samples; compare them with care."
    return ""


def _version(runs: Sequence[Trained]) -> str:
    return join(sorted({run.run.about.pareq for run in runs}))


def _template() -> "Template":
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise MissingExtra("jinja2", "report") from None
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("page.html")


def _write(target: Path, page: str) -> None:
    """In one piece: a reader sees the old page or the new one."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        durable.write(target, page.encode())
    except RunError as error:
        raise ReportError(error.fact, where=error.where) from None
    except OSError as error:
        raise ReportError(f"{target} cannot be written ({error.strerror})") from None

"""What an area study measured: a point a network, its figures over the seeds, and the fronts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pareq.errors import PareqError, StudyError, at
from pareq.report.variants import pareto
from pareq.report.words import Measure, measure
from pareq.studies.area import CARD, Member
from pareq.studies.points import standard
from pareq.train.run import Run, open_run

if TYPE_CHECKING:
    from pareq.studies.area import AreaStudy

__all__ = ["COSTS", "Point", "fronts", "gather"]

COSTS = ("luts", "ebops", "bops", "stages")  # of which a front is drawn; less is better

_OWN = ("score", "ebops", "bops", "stages", "lut_estimate")
_COUNTED = ("luts", "packed", "flip_flops", "depth")


@dataclass(frozen=True)
class Point:
    """One network of the family over its seeds. figures: of each, by name; tools: what counted."""

    member: Member
    runs: Mapping[int, Run]
    figures: Mapping[int, Mapping[str, float]]
    emitters: tuple[str, ...]
    tools: tuple[str, ...]

    def measure(self, name: str) -> Measure | None:
        """Mean and standard error of a figure; None where not every seed has it."""
        values = [each[name] for each in self.figures.values() if name in each]
        found = measure(values) if len(values) == len(self.figures) else None
        return None if found is None else standard(found)


def gather(study: "AreaStudy", out: Path) -> tuple[list[Point], list[tuple[Path, str]]]:
    """The points that have a seed, and the folders that cannot be read with the reason."""
    skipped: list[tuple[Path, str]] = []
    points = []
    for name, member in study.protocol.members.items():
        runs: dict[int, Run] = {}
        figures: dict[int, Mapping[str, float]] = {}
        seen: dict[str, set[str]] = {"emitter": set(), "tool": set()}
        for seed in range(study.protocol.seeds):
            folder = out / name / f"seed-{seed}"
            if not (folder / CARD).exists():
                continue
            try:
                found, words = _read(folder / CARD)
                runs[seed], figures[seed] = open_run(folder), found
            except PareqError as error:
                skipped.append((folder, str(error)))
                continue
            for key, word in words.items():
                seen[key].add(word)
        if runs:
            words_of = (tuple(sorted(each)) for each in seen.values())
            points.append(Point(member, runs, figures, *words_of))
    return points, skipped


def fronts(points: Sequence[Point]) -> dict[str, list[Point]]:
    """For each cost the points that no other beats in both cost and score, by rising cost."""
    found = {}
    for name in COSTS:
        places = [
            (point, (cost.mean, score.mean))
            for point in points
            if (cost := point.measure(name)) and (score := point.measure("score"))
        ]
        found[name] = [places[i][0] for i in pareto([place for _, place in places])]
    return found


def _read(path: Path) -> tuple[dict[str, float], dict[str, str]]:
    """The figures of a card, and its words: the emitter, and by what it was counted."""
    with at(str(path)):
        try:
            card = json.loads(path.read_bytes())
            found = {name: float(card[name]) for name in _OWN}
            words = {"emitter": str(card["emitter"])}
            counted = card["area"]
            if counted is not None:
                known = {name: counted[name] for name in _COUNTED if counted[name] is not None}
                found |= {name: float(value) for name, value in known.items()}
                keys = ("tool", "version", "options")
                words["tool"] = "{} {}: {}".format(*(counted[key] for key in keys))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"cannot be read ({error}); run the study again") from None
    return found, words

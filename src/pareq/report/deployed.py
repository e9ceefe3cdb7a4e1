"""What a run's folder holds beside the training: its network in integers, programs, their times."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pareq.backends import Artefact
from pareq.errors import at
from pareq.report.words import Measure
from pareq.train.deploy import Lowered, artefacts, load_artefact, open_lowered
from pareq.train.latency import Latency, kept_latencies

__all__ = ["Deployed", "deployed"]


@dataclass(frozen=True)
class Deployed:
    """A run in integers.

    lowered: graph and agreement. score: of the integers on the test split, with its error.
    programs: artefacts. times: the latency of each program that was timed, by the name of its back
    end.
    """

    lowered: Lowered
    score: Measure
    programs: tuple[Artefact, ...]
    times: Mapping[str, Latency]


def deployed(folder: Path, measured: Callable[[Mapping[str, object]], Measure]) -> Deployed | None:
    """What there is; None for a run that was not lowered. measured: how its score is read.

    Raises RunError, GraphError, BackendError or ReportError for what is damaged, or older than the
    run's network.
    """
    if not (folder / "graph").exists():
        return None
    found = open_lowered(folder)
    with at("integers.json"), at("test"):
        score = measured(found.test)
    return Deployed(
        lowered=found,
        score=score,
        programs=tuple(load_artefact(each) for each in artefacts(folder)),
        times={each.program: each for each in kept_latencies(folder)},
    )

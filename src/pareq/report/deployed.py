"""What a run's folder holds beside the training: its network in integers, programs, their times."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pareq.backends import Artefact
from pareq.errors import at
from pareq.metrics.quality import Quality
from pareq.report.record import read_quality
from pareq.train.deploy import Lowered, artefacts, load_artefact, open_lowered
from pareq.train.latency import Latency, kept_latencies

__all__ = ["Deployed", "deployed"]


@dataclass(frozen=True)
class Deployed:
    """A run in integers.

    lowered: graph and agreement. quality: of the integers on the test split. programs: artefacts.
    times: the latency of each program that was timed, by the name of its back end.
    """

    lowered: Lowered
    quality: Quality
    programs: tuple[Artefact, ...]
    times: Mapping[str, Latency]


def deployed(folder: Path) -> Deployed | None:
    """What there is; None for a run that was not lowered.

    Raises RunError, GraphError, BackendError or ReportError for what is damaged, or older than the
    run's network.
    """
    if not (folder / "graph").exists():
        return None
    found = open_lowered(folder)
    with at("integers.json"), at("test"):
        quality = read_quality(found.test)
    return Deployed(
        lowered=found,
        quality=quality,
        programs=tuple(load_artefact(each) for each in artefacts(folder)),
        times={each.program: each for each in kept_latencies(folder)},
    )

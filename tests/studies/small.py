"""A study small enough for tests: few jets, one epoch a training."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pareq.studies.matrix import PROTOCOLS, Protocol
from pareq.studies.qap import Qap
from pareq.tasks.jets.sample import load_sample

FRACTIONS = (0.5, 0.5)


def few_jets(folder: Path, count: int = 3000) -> str:
    """A file with some jets of the sample."""
    table = load_sample()
    np.savez(folder / "few.npz", X=table.x[:count], y=table.y[:count])
    return str(folder / "few.npz")


def protocol(**changes: object) -> Protocol:
    return replace(
        PROTOCOLS["quick"],
        **{
            "epochs": 1,
            "batch_size": 256,
            "repeats": 1,
            "rewind": 1,
            "shapes": 2,
            "fractions": FRACTIONS,
            **changes,
        },
    )


def study(folder: Path, **changes: object) -> Qap:
    return Qap("quick", few_jets(folder), protocol(**changes))

"""Proton collisions at 13 TeV from Pythia, one hard process per class of jet.

The parton's transverse momentum is 995..1005 GeV (gluons: above 995 GeV without upper bound, as the
published spectrum shows). W, Z and t decay to quarks. The W and Z of the pair samples are on shell.
Pythia is free software under the GPL, version 2 or later; it is used, never shipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pareq.errors import DataError, MissingExtra
from pareq.tasks.jets.detector import Particles
from pareq.tasks.jets.momenta import Floats, Indices, Momenta

__all__ = ["Collisions", "collisions", "pythia_version"]

SOFTEST = 1e-4  # GeV; Pythia makes a few photons of almost no energy

_QUARKS = "onIfAny = 1 2 3 4 5"
_W = ("24:onMode = off", f"24:{_QUARKS}")
_Z = ("23:onMode = off", f"23:{_QUARKS}")
_PROCESSES = {
    "g": ("HardQCD:gg2gg = on", "HardQCD:qqbar2gg = on"),
    "q": ("HardQCD:qq2qq = on", "HardQCD:gg2qqbar = on", "HardQCD:qqbar2qqbarNew = on"),
    "t": ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *_W),
    "w": ("WeakDoubleBoson:ffbar2WW = on", *_W, "24:doForceWidth = on", "24:mWidth = 0.01"),
    "z": (
        "WeakDoubleBoson:ffbar2gmZgmZ = on",
        "WeakZ0:gmZmode = 2",
        *_Z,
        "23:doForceWidth = on",
        "23:mWidth = 0.01",
    ),
}


@dataclass(frozen=True)
class Collisions:
    """A batch of collisions: the final particles and the decay quarks of its W and Z bosons.

    Per decay quark: its event, the boson's transverse direction (x, y) of length 1, and cosine,
    the cosine of the decay angle in the boson's rest frame.
    """

    count: int
    particles: Particles
    event: Indices
    x: Floats
    y: Floats
    cosine: Floats

    def decay_cosine(self, event: int, px: float, py: float) -> float:
        """The cosine of the boson nearest in azimuth to a direction; 0 when there is none."""
        mine = np.flatnonzero(self.event == event)
        if len(mine) == 0:
            return 0.0
        nearest = mine[np.argmax(self.x[mine] * px + self.y[mine] * py)]
        return float(self.cosine[nearest])


def pythia_version() -> str:
    """Such as 8.317."""
    return f"{_pythia().settings.parm('Pythia:versionNumber'):.3f}"


def collisions(process: str, seed: int, batch: int) -> Iterator[Collisions]:
    """Collisions without end, `batch` at a time; seed: 1..900,000,000.

    process: g, q, t, w or z. The same seed gives the same collisions.

    Raises MissingExtra, and DataError when Pythia refuses.
    """
    highest = -1 if process == "g" else 1005
    settings = (
        "Print:quiet = on",
        "Beams:eCM = 13000.",
        "PhaseSpace:pTHatMin = 995",
        f"PhaseSpace:pTHatMax = {highest}",
        "Random:setSeed = on",
        f"Random:seed = {seed}",
        *_PROCESSES[process],
    )
    pythia = _pythia()
    for setting in settings:
        if not pythia.readString(setting):
            raise DataError(f"Pythia refused the setting {setting!r}")
    if not pythia.init():
        raise DataError(f"Pythia could not start the process {process!r}")
    while True:
        yield _collisions(pythia.nextBatch(batch).prt)


def _pythia() -> Any:
    """A new Pythia, silent."""
    try:
        import pythia8mc
    except ImportError:
        raise MissingExtra("pythia8mc", "jets") from None
    return pythia8mc.Pythia("", False)


def _collisions(table: Any) -> Collisions:
    """From Pythia's ragged table of particles: one list per event."""
    try:
        import awkward as ak
    except ImportError:
        raise MissingExtra("awkward", "jets") from None
    flat = ak.flatten(table)
    sizes = ak.to_numpy(ak.num(table.id))
    event = np.repeat(np.arange(len(sizes)), sizes)
    kind = ak.to_numpy(flat.id).astype(np.int64)
    status = ak.to_numpy(flat.status)
    px, py, pz, e = (ak.to_numpy(getattr(flat.p, name)) for name in ("px", "py", "pz", "e"))
    momentum = Momenta(px, py, pz, e)
    final = (status > 0) & (e > SOFTEST)

    mother = ak.to_numpy(flat.mother1) + np.repeat(np.cumsum(sizes) - sizes, sizes)
    decay = (np.abs(status) == 23) & (np.abs(kind) <= 5) & np.isin(np.abs(kind[mother]), (23, 24))
    boson = momentum[mother[decay]]
    velocity = np.sqrt(boson.px**2 + boson.py**2 + boson.pz**2) / boson.e
    return Collisions(
        count=len(sizes),
        particles=Particles(event[final], kind[final], momentum[final]),
        event=event[decay],
        x=boson.px / boson.pt,
        y=boson.py / boson.pt,
        cosine=np.clip((2 * e[decay] / boson.e - 1) / velocity, -1, 1),
    )

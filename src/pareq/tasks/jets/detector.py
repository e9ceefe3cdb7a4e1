"""A simple model of a detector at a hadron collider, in numpy only.

Charged hadrons up to 220 GeV and leptons are tracks. Photons fall into the cells of an
electromagnetic grid, neutral hadrons and harder charged ones into those of a hadronic grid, where
each cell becomes one massless particle. Neutrinos are lost. Momenta are smeared by the resolutions

    track  sqrt((0.00025 pT)^2 + 0.015^2)
    hadronic cell  sqrt(1.2^2 / (E/7) + 0.05^2)
    electromagnetic cell  sqrt(0.027^2 / (E/1.6) + (0.15 * 1.6/E)^2 + 0.005^2)

times a common factor; GeV throughout. `openml` reproduces the distributions of OpenML 42468,
`cernbox` the coarser cells named in the file r1_h022_e0175_t220.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pareq.tasks.jets.momenta import Floats, Indices, Momenta

__all__ = ["DETECTORS", "Detector", "Particles"]

TRACKS = (211, 321, 2212, 3112, 3222, 3312)
LEPTONS = (11, 13, 15)
NEUTRAL = (130, 310, 2112, 3122, 3322)
PHOTONS = (22, 111)
HARDEST_TRACK = 220.0
ETA_MAX = 3.0


@dataclass(frozen=True)
class Particles:
    """Particles of many collisions: event (N,) says of which, in rising order; kind: PDG code."""

    event: Indices
    kind: Indices
    momentum: Momenta


@dataclass(frozen=True)
class Detector:
    """Resolution factor and the cell sizes in rapidity and azimuth."""

    resolution: float
    hadronic_cell: float
    electromagnetic_cell: float

    def measure(self, particles: Particles, random: np.random.Generator) -> tuple[Indices, Momenta]:
        """What is seen: the event of each object, in rising order, and its momentum."""
        kind, pt = np.abs(particles.kind), particles.momentum.pt
        charged, soft = np.isin(kind, TRACKS), pt <= HARDEST_TRACK
        track = (charged & soft) | np.isin(kind, LEPTONS)
        hadron = np.isin(kind, NEUTRAL) | (charged & ~soft)
        seen = [
            (particles.event[track], particles.momentum[track]),
            _cells(particles, hadron, self.hadronic_cell),
            _cells(particles, np.isin(kind, PHOTONS), self.electromagnetic_cell),
        ]
        event = np.concatenate([which for which, _ in seen])
        (_, tracks), (_, hadronic), (_, electromagnetic) = seen
        width = np.concatenate(
            [
                np.sqrt((0.00025 * tracks.pt) ** 2 + 0.015**2),
                np.sqrt(1.2**2 * 7 / hadronic.e + 0.05**2),
                np.sqrt(
                    0.027**2 * 1.6 / electromagnetic.e
                    + (0.15 * 1.6 / electromagnetic.e) ** 2
                    + 0.005**2
                ),
            ]
        )
        factor = np.maximum(1e-10, random.normal(1.0, self.resolution * width))
        order = np.argsort(event, kind="stable")
        momentum = Momenta.joined([tracks, hadronic, electromagnetic]) * factor
        return event[order], momentum[order]


DETECTORS = {
    "openml": Detector(resolution=0.5, hadronic_cell=0.010, electromagnetic_cell=0.005),
    "cernbox": Detector(resolution=1.0, hadronic_cell=0.022, electromagnetic_cell=0.0175),
}


def _cells(particles: Particles, which: NDArray[np.bool_], size: float) -> tuple[Indices, Momenta]:
    """The cells hit in |eta| < 3, each as a massless particle at its centre."""
    which = which & (np.abs(particles.momentum.eta) < ETA_MAX)
    event, momentum = particles.event[which], particles.momentum[which]
    rows, columns = int(2 * ETA_MAX / size), int(2 * np.pi / size)
    height, width = 2 * ETA_MAX / rows, 2 * np.pi / columns
    row = np.minimum(((momentum.eta + ETA_MAX) / height).astype(np.int64), rows - 1)
    turn = np.mod(momentum.phi, 2 * np.pi)
    column = np.minimum((turn / width).astype(np.int64), columns - 1)
    cell, member = np.unique((event * rows + row) * columns + column, return_inverse=True)
    energy: Floats = np.zeros(len(cell))
    np.add.at(energy, member, momentum.e)
    eta = (cell // columns % rows + 0.5) * height - ETA_MAX
    phi = (cell % columns + 0.5) * width
    pt = energy / np.cosh(eta)
    return cell // columns // rows, Momenta(
        pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy
    )

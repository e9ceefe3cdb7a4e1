"""Jets found and groomed by FastJet: anti-kT with R = 0.4, then modified mass drop.

Anti-kT: Cacciari, Salam, Soyez 2008. Grooming: Dasgupta, Fregoso, Marzani, Salam 2013, which is
soft drop (Larkoski, Marzani, Soyez, Thaler 2014) with beta = 0; zcut = 0.1, no limit on the radius.
FastJet is free software under the GPL, version 2 or later; it is used, never shipped.
"""

from typing import Any

import numpy as np

from pareq.errors import MissingExtra
from pareq.tasks.jets.momenta import Indices, Momenta

__all__ = ["fastjet_version", "groom", "leading_jets"]

RADIUS = 0.4
SOFTEST_JET = 100.0  # GeV
ZCUT = 0.1


def fastjet_version() -> str:
    """Such as 3.5.2.0."""
    return str(_fastjet().__version__)


def leading_jets(event: Indices, momenta: Momenta, count: int) -> list[Indices | None]:
    """The particles of the hardest jet of each of `count` events; None where there is no jet.

    event: (N,) in rising order, of which event each momentum is.
    """
    fastjet = _fastjet()
    try:
        import awkward as ak
    except ImportError:
        raise MissingExtra("awkward", "jets") from None
    sizes = np.bincount(event, minlength=count)
    fields = {"px": momenta.px, "py": momenta.py, "pz": momenta.pz, "E": momenta.e}
    ragged = ak.unflatten(ak.zip(fields, with_name="Momentum4D"), sizes)
    found = fastjet.ClusterSequence(ragged, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    jets = found.inclusive_jets(SOFTEST_JET)
    hardest = ak.argmax(jets.px**2 + jets.py**2, axis=1, keepdims=True)
    members = ak.firsts(found.constituent_index(SOFTEST_JET)[hardest])
    starts = np.cumsum(sizes) - sizes
    return [
        None if mine is None else np.asarray(mine, np.int64) + start
        for mine, start in zip(members, starts, strict=True)
    ]


def groom(jet: Momenta) -> tuple[Indices, float]:
    """Which particles of a jet the grooming keeps, and the mass of these in GeV."""
    fastjet = _fastjet()
    particles = []
    for index, values in enumerate(zip(jet.px, jet.py, jet.pz, jet.e, strict=True)):
        particles.append(fastjet.PseudoJet(*map(float, values)))
        particles[-1].set_user_index(index)
    # the radius only has to be larger than any jet, so that all merges into one
    everything = fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0)
    sequence = fastjet.ClusterSequence(particles, everything)
    kept = sequence.exclusive_jets(1)[0]
    harder, softer = fastjet.PseudoJet(), fastjet.PseudoJet()
    while kept.has_parents(harder, softer):  # FastJet gives the one of more pt first
        if softer.pt() > ZCUT * (harder.pt() + softer.pt()):
            break
        kept, harder, softer = harder, fastjet.PseudoJet(), fastjet.PseudoJet()
    return np.array([c.user_index() for c in kept.constituents()], np.int64), float(kept.m())


def _fastjet() -> Any:
    """The module, its banner off."""
    try:
        import fastjet
    except ImportError:
        raise MissingExtra("fastjet", "jets") from None
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)  # the only way to that switch
    return fastjet

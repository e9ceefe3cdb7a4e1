"""The 16 high-level features of a jet, in numpy only.

| feature | of | is |
|---|---|---|
| zlogz | the jet as found | sum of x ln x, x the energy shares |
| c1_b0 c1_b1 c1_b2 | the groomed jet | e2(0), e2(1), e2(2) |
| c2_b1 c2_b2 | | e3(b) / e2(b)^2 |
| d2_b1 d2_b2 | | e3(b) / e2(b)^3 |
| d2_a1_b1 d2_a1_b2 | | e3(1) / e2(b)^(3/b); the first equals d2_b1 |
| m2_b1 m2_b2 | | 1e3(b) / e2(b) |
| n2_b1 n2_b2 | | 2e3(b) / e2(b)^2 |
| mass | | invariant mass in GeV |
| multiplicity | the jet as found | number of particles |

e2, e3: energy correlation functions in the measure pT_R of fastjet-contrib: shares of transverse
momentum times distances in the rapidity-azimuth plane to the power b, over all pairs and triples;
1e3 takes the smallest distance of a triple, 2e3 the product of the two smallest. C: Larkoski,
Salam, Thaler 2013; D: Larkoski, Moult, Neill 2014 and 2015; M, N: Moult, Necib, Thaler 2016.
"""

import numpy as np

from pareq.tasks.jets.momenta import Floats, Momenta

__all__ = ["CLASSES", "FEATURES", "correlators", "jet_features"]

CLASSES = ("g", "q", "t", "w", "z")
FEATURES = (
    "zlogz",
    "c1_b0_mmdt",
    "c1_b1_mmdt",
    "c1_b2_mmdt",
    "c2_b1_mmdt",
    "c2_b2_mmdt",
    "d2_b1_mmdt",
    "d2_b2_mmdt",
    "d2_a1_b1_mmdt",
    "d2_a1_b2_mmdt",
    "m2_b1_mmdt",
    "m2_b2_mmdt",
    "n2_b1_mmdt",
    "n2_b2_mmdt",
    "mass_mmdt",
    "multiplicity",
)


def jet_features(jet: Momenta, groomed: Momenta, mass: float) -> Floats | None:
    """The features of one jet in the order of FEATURES, or None when they are not defined.

    jet: its particles; groomed: those that grooming kept; mass: of the groomed jet in GeV. A
    groomed jet of fewer than three particles has no N2, and the public tables drop such jets.
    """
    if len(groomed) < 3:
        return None
    share = jet.e / jet.e.sum()
    share = share[share > 0]
    zlogz = (share * np.log(share)).sum()
    values: Floats = np.array([zlogz, *correlators(groomed), mass, len(jet)])
    return values if np.isfinite(values).all() and values[12] != 0 else None


def correlators(groomed: Momenta) -> Floats:
    """The 13 ratios c1_b0 .. n2_b2 of three or more particles."""
    weight = groomed.pt / groomed.pt.sum()
    distance = _distances(groomed)
    pairs = np.triu(np.outer(weight, weight), 1)
    flat, one, two = (float((pairs * distance**beta).sum()) for beta in (0, 1, 2))
    all_1, all_2, low_1, low_2, mid_1, mid_2 = _triples(weight, distance)
    return np.array(
        [
            *(flat, one, two),
            *(all_1 / one**2, all_2 / two**2),
            *(all_1 / one**3, all_2 / two**3),
            *(all_1 / one**3, all_1 / two**1.5),
            *(low_1 / one, low_2 / two),
            *(mid_1 / one**2, mid_2 / two**2),
        ]
    )


def _distances(particles: Momenta) -> Floats:
    """Distances in the rapidity-azimuth plane, (N, N)."""
    rapidity, phi = particles.rapidity, particles.phi
    turn = np.abs(phi[:, None] - phi)
    turn = np.minimum(turn, 2 * np.pi - turn)
    distances: Floats = np.sqrt((rapidity[:, None] - rapidity) ** 2 + turn**2)
    return distances


def _triples(weight: Floats, distance: Floats) -> Floats:
    """Sums over triples of the weights times a power of (all three, smallest, two smallest).

    Returns (6,): each of the three with powers 1 and 2. One particle at a time against all pairs
    of later ones, so that memory grows with the square of their number.
    """
    count = len(weight)
    second, third = np.triu_indices(count, 1)
    far, product = distance[second, third], weight[second] * weight[third]
    total, start = np.zeros(6), 0
    for first in range(count - 2):
        start += count - 1 - first  # where the pairs of later particles begin
        one, two, three = (
            distance[first, second[start:]],
            distance[first, third[start:]],
            far[start:],
        )
        low, high = np.minimum(one, two), np.maximum(one, two)
        smallest = np.minimum(low, three)
        middle = np.maximum(low, np.minimum(high, three))
        factor = product[start:] * weight[first]
        for place, angle in enumerate((one * two * three, smallest, smallest * middle)):
            once = factor * angle
            total[2 * place] += once.sum()
            total[2 * place + 1] += (once * angle).sum()
    return total

"""Four-momenta of many particles as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Indices", "Momenta"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Momenta:
    """Four-momenta in GeV, each array (N,); the z axis is the beam."""

    px: Floats
    py: Floats
    pz: Floats
    e: Floats

    def __len__(self) -> int:
        return len(self.px)

    def __getitem__(self, which: NDArray[np.bool_] | Indices | slice) -> "Momenta":
        """The particles at these indices."""
        return Momenta(self.px[which], self.py[which], self.pz[which], self.e[which])

    def __mul__(self, factor: Floats) -> "Momenta":
        """Each four-momentum times its own factor, (N,)."""
        return Momenta(self.px * factor, self.py * factor, self.pz * factor, self.e * factor)

    @property
    def pt(self) -> Floats:
        """Transverse momentum in GeV."""
        return np.hypot(self.px, self.py)

    @property
    def phi(self) -> Floats:
        """Azimuth, -pi..pi."""
        return np.arctan2(self.py, self.px)

    @property
    def eta(self) -> Floats:
        """Pseudorapidity."""
        return np.arcsinh(self.pz / np.maximum(self.pt, 1e-12))

    @property
    def rapidity(self) -> Floats:
        """Rapidity, written so that it keeps its digits along the beam."""
        transverse = np.sqrt(np.maximum(self.e**2 - self.pz**2, 1e-20))
        return np.sign(self.pz) * np.log((self.e + np.abs(self.pz)) / transverse)

    @classmethod
    def joined(cls, parts: Sequence["Momenta"]) -> "Momenta":
        """One after the other."""
        px, py, pz, e = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("px", "py", "pz", "e")
        )
        return cls(px, py, pz, e)

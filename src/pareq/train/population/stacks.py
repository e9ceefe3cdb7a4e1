"""The tensors of K members as stacks whose rows are the members' own parameters and buffers.

What a member's operators, checkpoints and optimizer read and write in place is therefore what the
batched step reads and writes; nothing is copied between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pareq.errors import RunError

__all__ = ["Owner", "Stacks", "alone"]


def alone(fact: str) -> RunError:
    """The error for what a population cannot train."""
    return RunError(f"{fact}; train such trials alone, with Trial.run")


@dataclass(frozen=True, eq=False)
class Owner:
    """A parameter or buffer of a member: the module that holds it, and its name there."""

    module: nn.Module
    name: str

    @property
    def parameter(self) -> nn.Parameter | None:
        """The parameter; None for a buffer."""
        return self.module._parameters.get(self.name)

    @property
    def tensor(self) -> Tensor:
        """The values as they are now."""
        parameter = self.parameter
        held = self.module._buffers[self.name] if parameter is None else parameter.detach()
        if held is None:
            raise TypeError(f"{self.name} is no tensor")
        return held

    def become(self, row: Tensor) -> None:
        """Live in `row` from now on."""
        parameter = self.parameter
        if parameter is None:
            self.module._buffers[self.name] = row
        else:
            parameter.data = row


Owners = Sequence[Owner | None]


@dataclass(eq=False)
class _Part:
    """Columns of the trained tensors: who owns them, and the shape of one member's."""

    owners: list[Owner | None]
    shape: torch.Size


class Stacks:
    """The stacks of a population.

    flat: (members, numbers) all that is trained, a leaf that takes the gradient. held: buffers by
    key, (members, *shape). A member without a tensor has a row that nobody reads.
    """

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._owners: dict[str, list[Owner | None]] = {}
        self.flat = torch.zeros(0, 0)
        self.held: dict[str, Tensor] = {}

    def train(self, key: str, owners: Owners) -> None:
        """Take in parameters, one of each member."""
        first = next(owner.tensor for owner in owners if owner is not None)
        self._parts[key] = _Part(list(owners), first.shape)

    def hold(self, key: str, owners: Owners, fill: float = 0.0) -> None:
        """Take in buffers, one of each member; fill: the row of one that has none."""
        first = next(owner.tensor for owner in owners if owner is not None)
        rows = [torch.full_like(first, fill) if o is None else o.tensor for o in owners]
        self._owners[key] = list(owners)
        self.held[key] = torch.stack(rows)

    def stack(self) -> None:
        """Make the stack of all that is trained, and let the members live in the stacks.

        Raises RunError when the parameters are not all of one type.
        """
        kinds = {o.tensor.dtype for p in self._parts.values() for o in p.owners if o is not None}
        if len(kinds) > 1:
            names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
            raise alone(f"the parameters are of several types ({names})")
        columns = []
        for part in self._parts.values():
            like = next(o.tensor for o in part.owners if o is not None)
            rows = [torch.zeros_like(like) if o is None else o.tensor for o in part.owners]
            columns.append(torch.stack(rows).reshape(len(rows), -1))
        self.flat = torch.cat(columns, 1)
        self._bind()

    @property
    def keys(self) -> list[str]:
        """What the trained tensors are called."""
        return list(self._parts)

    @property
    def sizes(self) -> list[int]:
        """How many numbers a member has of each trained tensor."""
        return [part.shape.numel() for part in self._parts.values()]

    def parts(self) -> dict[str, Tensor]:
        """The trained tensors by key, (members, *shape), as functions of `flat`."""
        pieces = torch.split(self.flat, self.sizes, 1)
        return {
            key: piece.reshape(-1, *part.shape)
            for (key, part), piece in zip(self._parts.items(), pieces, strict=True)
        }

    def owners(self) -> list[list[Owner | None]]:
        """The owners of each trained tensor, in the order of `sizes`."""
        return [part.owners for part in self._parts.values()]

    def rows_of(self, flat: Tensor) -> list[list[Tensor]]:
        """A stack like `flat` as the tensors of each member, in the order of `sizes`."""
        shapes = [part.shape for part in self._parts.values()]
        split = [torch.split(row, self.sizes) for row in flat]
        return [[p.view(s) for p, s in zip(row, shapes, strict=True)] for row in split]

    def take(self, kept: Sequence[int]) -> None:
        """Go on with these members only, in fresh stacks; the others keep the old ones."""
        rows = torch.tensor(kept, dtype=torch.int64, device=self.flat.device)
        self.flat = self.flat.detach()[rows]
        for part in self._parts.values():
            part.owners = [part.owners[k] for k in kept]
        for key, owners in self._owners.items():
            self._owners[key] = [owners[k] for k in kept]
            self.held[key] = self.held[key][rows]
        self._bind()

    def _bind(self) -> None:
        for pieces, owners in zip(
            zip(*self.rows_of(self.flat), strict=True), self.owners(), strict=True
        ):
            _live(owners, pieces)
        for key, held in self.held.items():
            _live(self._owners[key], held.unbind())
        self.flat.requires_grad_()


def _live(owners: Owners, rows: Sequence[Tensor]) -> None:
    for owner, row in zip(owners, rows, strict=True):
        if owner is not None:
            owner.become(row)

"""An operator: a transformation of one tensor whose strength a schedule moves.

Strength 0 is the identity. Buffers exist from `prepare` on, so the keys of a state dict never
change while training goes on. Python attributes (`value`, `observing`) say what the forward pass
needs; `advance` sets them from the step, they are never read from a tensor.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from pareq.errors import OperatorError
from pareq.numerics.grid import Grid
from pareq.operators.schedule import Schedule
from pareq.registry import Registry

__all__ = ["OPERATORS", "Field", "Member", "Operator", "Quantizer", "Surroundings"]

Field = str | int | float | bool | None


@dataclass(eq=False, repr=False)
class Operator(nn.Module):
    """The base of all operators; a subclass is a dataclass of its recipe fields.

    `class X(Operator, name="x")`, decorated with `@dataclass(eq=False, repr=False)`, registers it.
    The life of an operator: `fresh` copies the recipe's template for one site, `prepare` makes the
    buffers, `advance` moves it to a step, `forward` transforms. Equality is identity, as for any
    module; compare `config()` for the meaning.
    """

    name: ClassVar[str] = ""

    def __init_subclass__(cls, name: str = "") -> None:
        super().__init_subclass__()
        if name:
            cls.name = name
            OPERATORS.add(name, cls)

    def __post_init__(self) -> None:
        super().__init__()
        self.register_buffer("strength", torch.zeros(()))
        self.strength: Tensor
        self.value = 0.0  # the strength as a Python number
        self.observing = False  # whether `observe` wants to see the next training tensor
        self.check()

    @property
    def engaged(self) -> bool:
        """Whether the strength is not 0."""
        return self.value != 0.0

    def check(self) -> None:
        """Raise OperatorError when a recipe field has no meaning."""

    def config(self) -> dict[str, Field]:
        """The recipe fields that differ from their defaults."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }

    def fresh(self) -> Self:
        """A new operator with the same recipe fields and no state."""
        return type(self)(**self.config())

    def prepare(self, like: Tensor | None, axis: int = 0) -> None:
        """Make the buffers for a tensor such as `like`, whose channel axis is `axis`.

        `like` is None for an activation whose shape is not known.
        """

    def forward(self, x: Tensor) -> Tensor:
        """The transformed tensor; called only while engaged."""
        return x

    def observe(self, x: Tensor) -> None:
        """Look at a training tensor; called without gradient while `observing`."""

    def meet(self, layer: "Surroundings") -> None:
        """Know the layer whose weight this operator is on; `attach` calls it once for each."""

    def mask_changed(self, step: int, source: Callable[[], Tensor] | None) -> None:
        """A pruner that may reach this operator's input chose another mask at this step.

        source: gives the present input of an operator on a weight or bias.
        """

    def penalty(self, x: Tensor) -> Tensor | None:
        """What this operator adds to the loss, given its input; None for nothing."""
        return None

    @classmethod
    def advance(cls, members: "Sequence[Member]", schedule: Schedule, step: int) -> None:
        """Move the operators of one rule to a step; calling it again changes nothing.

        members: the operators and, for weights and biases, a function that gives their input.
        """
        value = schedule(step)
        for operator, _ in members:
            operator.set_strength(value)

    @classmethod
    def settle(cls, members: "Sequence[Member]") -> None:
        """What is left to do where all schedules have ended; called again after training steps."""

    def next_change(self, schedule: Schedule, step: int) -> int:
        """The first later step at which `advance` has something to do."""
        return schedule.next_change(step)

    def set_strength(self, value: float) -> None:
        """Set the strength, from 0 (identity) to 1 (whole)."""
        if value != self.value:
            self.strength.fill_(value)
            self.value = value

    def reload(self) -> None:
        """Derive again what is kept outside the buffers; called after a state was loaded."""
        self.value = float(self.strength)

    def _load_from_state_dict(self, *args: object) -> None:
        super()._load_from_state_dict(*args)
        self.reload()

    def extra_repr(self) -> str:
        """The recipe fields, for print(model)."""
        return ", ".join(f"{key}={value!r}" for key, value in self.config().items())


Member = tuple[Operator, Callable[[], Tensor] | None]

OPERATORS: Registry[type[Operator]] = Registry("operator")


@dataclass(eq=False, repr=False)
class Quantizer(Operator):
    """An operator that puts a tensor on a grid.

    `project` is the whole effect; a strength between 0 and 1 blends it in: x + strength * (q - x).
    """

    bits: int

    def check(self) -> None:
        """Bits must be in 1..32."""
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise OperatorError(f"bits must be a whole number in 1..32, got {self.bits!r}")
        if not 1 <= self.bits <= 32:
            raise OperatorError(f"bits must be in 1..32, got {self.bits}")

    @property
    def width(self) -> int:
        """The bits of its widest word as it is now."""
        return self.bits

    def project(self, x: Tensor) -> Tensor:
        """The tensor on its grid, with this quantizer's gradient."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def grid(self) -> Grid:
        """The grid as it is now."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def forward(self, x: Tensor) -> Tensor:
        """The projected tensor, blended with the input while the strength is below 1."""
        if self.value == 1.0:
            return self.project(x)
        return torch.lerp(x, self.project(x), self.strength.to(x.dtype))


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A layer as an operator on its weight sees it.

    weight, feed: the quantizers of the weight, and of the tensor that the layer reads. positions:
    how often the whole weight is applied to one sample. groups, transposed: of a convolution.
    """

    weight: Quantizer | None
    feed: Quantizer | None
    positions: int = 1
    groups: int = 1
    transposed: bool = False

    def beside(self, channels: Tensor, weight: torch.Size) -> Tensor:
        """One number a channel of the input, or one in all, shaped to multiply the weight.

        Features that were flattened from channels have the number of their channel. Raises
        OperatorError when the layer cannot read so many channels.
        """
        inputs = weight[0] if self.transposed else weight[1] * self.groups
        if channels.numel() == 1:
            return channels.reshape(())
        if inputs % channels.numel():
            raise OperatorError(
                f"the layer reads {inputs} channels, what feeds it has {channels.numel()}; use "
                "granularity 'tensor' there"
            )
        each = channels.repeat_interleave(inputs // channels.numel())
        ones = (1,) * (len(weight) - 2)
        if self.transposed:
            return each.reshape(-1, 1, *ones)
        rows = each.reshape(self.groups, -1).repeat_interleave(weight[0] // self.groups, dim=0)
        return rows.reshape(rows.shape[0], -1, *ones)

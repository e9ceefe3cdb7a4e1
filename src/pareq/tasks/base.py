"""`Task`: a reference problem as data (name and options): its samples, model, loss and metrics."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import ClassVar, Self, get_args, get_origin, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pareq.errors import DataError, at
from pareq.metrics.quality import quality, roc
from pareq.registry import Registry, suggest

__all__ = [
    "TASKS",
    "Data",
    "Judged",
    "Picture",
    "Split",
    "Task",
    "data_source",
    "make_task",
    "outputs",
]

_BATCH = 8192  # rows at once while evaluating, and input values, of which a layer makes many
_VALUES = 2**21
_POINTS = 200  # of a thinned ROC curve


@dataclass(frozen=True)
class Split:
    """Samples and labels: x (N, *features) float32, y (N,) int64, or what the task's loss takes."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Data:
    """The three splits of a task.

    name: where the rows come from. duplicates: rows removed because another split holds the same.
    dropped: rows removed because they were not finite. center, scale: what was subtracted from and
    divided out of the raw inputs, one number per feature.
    """

    train: Split
    val: Split
    test: Split
    name: str
    duplicates: int = 0
    dropped: int = 0
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


TASKS: "Registry[type[Task]]" = Registry("task")


@dataclass(frozen=True)
class Judged:
    """What a task is judged by, in a reader's words; more is better.

    figure: its name in what `Task.evaluate` gives. label, unit: how a person calls it; factor: how
    many of the unit a figure of 1 is. validated: what `Task.score` means, where that is another
    figure.
    """

    figure: str = "accuracy"
    label: str = "accuracy"
    unit: str = "%"
    factor: float = 100.0
    validated: str = ""


@dataclass(frozen=True)
class Picture:
    """What a network makes of a picture, beside what it was given and should have made.

    given, made, truth: (H, W) or (H, W, 3) bytes. score: in words, such as 31.2 dB.
    """

    given: NDArray[np.uint8]
    made: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    score: str


class Task(ABC):
    """A problem to solve; `class X(Task, name="x")` registers it.

    A subclass is a frozen dataclass whose fields, all with defaults, are the options: text,
    numbers, truth values and tuples of these, so that a task crosses processes as plain data.
    """

    name: ClassVar[str]
    judged: ClassVar[Judged] = Judged()

    def __init_subclass__(cls, *, name: str = "") -> None:
        super().__init_subclass__()
        if name:
            cls.name = name
            TASKS.add(name, cls)

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the labels 0, 1, ...; none where a row has no label."""

    @property
    @abstractmethod
    def example(self) -> Tensor:
        """Two inputs of the model, of the right shape and range."""

    @abstractmethod
    def model(self, batch_norm: bool | None = None) -> nn.Module:
        """A new model, of scores (N, classes); batch_norm overrides the option of that name."""

    @abstractmethod
    def load(self) -> Data:
        """The data; raises DataError."""

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Cross entropy over the class axis; output (N, classes), y (N,)."""
        return functional.cross_entropy(output, y)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """The sum over the rows of what is validated: how many labels are right, 0-dim."""
        return (output.argmax(1) == y).sum()

    def score_text(self, score: float) -> str:
        """The mean score as a person reads it, such as 75.3%."""
        return f"{score:6.1%}"

    def vary(self, x: Tensor) -> Tensor:
        """A training batch as the network shall see it; random numbers come from torch."""
        return x

    def pictures(self, model: nn.Module, split: Split) -> tuple[Picture, ...]:
        """A few rows as a person sees them; none for a task that makes no pictures."""
        del model, split
        return ()

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, object]:
        """Loss, the figures of `metrics.quality` and `roc`, in evaluation mode, as JSON holds them.

        roc: the curve of each class, thinned.

        The samples move to the model's device batch by batch; the model's mode is put back.

        Raises DataError for an empty split and for scores that are not finite.
        """
        with at(f"{self.name}: evaluate"):
            if len(split) == 0:
                raise DataError("the split is empty")
            scores = outputs(model, split.x)
            loss = float(self.loss(scores, split.y.to(scores.device)))
            values, labels = scores.cpu().numpy(), split.y.cpu().numpy()
            figures = quality(values, labels, self.classes)
            curves = [
                roc(values, labels, c, points=_POINTS).as_dict() for c in range(len(self.classes))
            ]
        return {"loss": loss, **figures.as_dict(), "roc": curves}

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """The task with these options; raises DataError for one unknown or of another type."""
        types = get_type_hints(cls)
        known = {option.name for option in fields(cls)}  # type: ignore[arg-type]
        values = {}
        for key, value in options.items():
            if key not in known:
                raise DataError(f"unknown option {key!r}{suggest(key, known)}")
            values[key] = _converted(key, value, types[key])
        return cls(**values)

    def options(self) -> dict[str, object]:
        """The options that are not at their default; `from_options` makes the same task of them."""
        return {
            option.name: getattr(self, option.name)
            for option in fields(self)  # type: ignore[arg-type]
            if option.default is MISSING or getattr(self, option.name) != option.default
        }


def data_source(data: str) -> str:
    """What the option `data` says, else the variable PAREQ_DATA, else "sample"."""
    return data or os.environ.get("PAREQ_DATA", "") or "sample"


def make_task(name: str, options: Mapping[str, object] | None = None) -> Task:
    """The task called `name` with these options, lists for tuples as in JSON.

    Raises UnknownName, and DataError for an option that is unknown, of another type or out of
    range.
    """
    with at(f"task {name}"):
        return TASKS[name].from_options(options or {})


def _converted(key: str, value: object, wanted: object) -> object:
    """The value as its field holds it, or a DataError."""
    found, expected = _fitting(value, wanted)
    if expected:
        raise DataError(f"{key} must be {expected}, got {value!r}")
    return found


def _fitting(value: object, wanted: object) -> tuple[object, str]:
    """The value as the type `wanted`, and what was expected when it does not fit."""
    if get_origin(wanted) is UnionType:
        if value is None and NoneType in get_args(wanted):
            return None, ""
        (wanted,) = (kind for kind in get_args(wanted) if kind is not NoneType)
    if get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple):
            return None, "a list"
        parts = [_fitting(part, get_args(wanted)[0]) for part in value]
        wrong = next((expected for _, expected in parts if expected), "")
        return tuple(part for part, _ in parts), wrong and f"a list, each of it {wrong}"
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value), ""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    for kind, expected in names.items():
        if wanted is kind:
            right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            return value, "" if right else expected
    raise TypeError(f"an option of type {wanted} cannot be plain data")


@torch.no_grad()
def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """The model's outputs for all rows, in evaluation mode; its own mode comes back."""
    first = next(model.parameters(), None)
    device = x.device if first is None else first.device
    training = [module for module in model.modules() if module.training]
    size = max(min(_BATCH, _VALUES // max(x[:1].numel(), 1)), 1)
    model.eval()
    try:
        return torch.cat([model(part.to(device)) for part in torch.split(x, size)])
    finally:
        for module in training:
            module.training = True

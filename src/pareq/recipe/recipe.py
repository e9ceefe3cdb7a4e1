"""A recipe: which operators act where and when, and how the network is trained.

The order of pruning and quantization is in the times of the rules, never in code.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

from pareq.errors import RecipeError
from pareq.operators.base import Operator
from pareq.operators.schedule import After, Schedule
from pareq.registry import suggest

__all__ = ["KINDS", "Recipe", "Rule", "Training", "Where"]

KINDS = ("weight", "bias", "input", "output")
_FORM = "'PATH:TENSOR' or 'PATH@TYPE:TENSOR', such as '*:weight' or 'block1.*@ReLU:output'"


@dataclass(frozen=True)
class Where:
    """A pattern of sites, parsed: globs of the module's path, its type and the tensor.

    types is empty when the pattern names none. path "" is the whole model.
    """

    path: str
    types: tuple[str, ...]
    tensor: str

    @classmethod
    def parse(cls, text: str) -> "Where":
        """Read `PATH[@TYPE|TYPE]:TENSOR`; raises RecipeError with the form that was expected."""
        match = re.fullmatch(r"([^:@\s]*)(?:@([^:@\s]+))?:([^:@\s]+)", text)
        if not match:
            raise RecipeError(f"cannot read {text!r}; expected {_FORM}")
        path, types, tensor = match.groups()
        return cls(path, tuple(types.split("|")) if types else (), tensor)


@dataclass(frozen=True, eq=False)
class Rule:
    """One operator, the tensors it acts on, and its schedule.

    where: `PATH[@TYPE]:TENSOR` with globs; TENSOR is weight, bias, input, output, or a parameter's
    own name. A glob path without a type means what one would expect: weights of layers (not the
    scales of norms), outputs of activation functions, inputs of layers with weights; name a type
    or the exact path for others. exclude: patterns of sites to leave out.
    """

    where: str
    op: Operator
    when: Schedule = field(default_factory=After)
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.exclude, str):
            raise RecipeError(f"exclude must be a list of patterns, got the text {self.exclude!r}")
        object.__setattr__(self, "exclude", tuple(self.exclude))
        if not isinstance(self.op, Operator):
            raise RecipeError(
                f"op must be an operator such as Prune() or FixedPoint(6), got {self.op!r}"
            )
        if not isinstance(self.when, Schedule):
            raise RecipeError(f"when must be a schedule such as After(0.6), got {self.when!r}")
        for pattern in (self.where, *self.exclude):
            Where.parse(pattern)
        if self.op.name in ("prune", "prune_activation") and self.when.largest >= 1:
            raise RecipeError(
                f"sparsity must be in [0, 1), got {self.when.largest}; give the schedule to=..."
            )

    def _key(self) -> tuple[object, ...]:
        config = tuple(sorted(self.op.config().items()))
        return (self.where, type(self.op), config, repr(self.when), self.exclude)  # 1 is not 1.0

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Rule) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


Optimizer = Literal["adam", "adamw", "sgd"]
Decay = Literal["constant", "cosine", "step", "plateau", "tail"]
_CHOICES = {
    "optimizer": ("adam", "adamw", "sgd"),
    "decay": ("constant", "cosine", "step", "plateau", "tail"),
}


@dataclass(frozen=True)
class Training:
    """How the network is trained.

    patience: epochs without a better validation loss before the run stops early, counted once all
    schedules have settled; None never stops. decay: of the learning rate; "step" multiplies by
    decay_factor every decay_every epochs, "plateau" after decay_every epochs without improvement,
    "cosine" falls to 0, "tail" does so over the last `tail` share of the run, so that recipes whose
    events come before it end alike. warmup: epochs of linear rise. threads: 0 leaves torch's
    setting.
    """

    epochs: int = 100
    batch_size: int = 1024
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    decay: Decay = "constant"
    decay_factor: float = 0.1
    decay_every: int = 30
    tail: float = 0.25
    warmup: int = 0
    patience: int | None = None
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise RecipeError(
                    f"training.{name}: unknown name {value!r}{suggest(str(value), known)}"
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise RecipeError(f"training.{name} must be {least} or more, got {value}")
        if not self.learning_rate > 0:
            raise RecipeError(f"training.learning_rate must be positive, got {self.learning_rate}")
        if not 0 < self.tail <= 1:
            raise RecipeError(f"training.tail must be in (0, 1], got {self.tail}")
        for name in ("momentum", "decay_factor"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"training.{name} must be in [0, 1), got {getattr(self, name)}")


_LEAST = {
    "epochs": 1,
    "batch_size": 1,
    "weight_decay": 0,
    "decay_every": 1,
    "warmup": 0,
    "patience": 1,
    "seed": 0,
    "threads": 0,
}


@dataclass(frozen=True, init=False)
class Recipe:
    """Rules in the order in which their operators are applied to a tensor, and the training."""

    rules: tuple[Rule, ...]
    training: Training

    def __init__(self, *rules: Rule, training: Training | None = None) -> None:
        for number, rule in enumerate(rules, 1):
            if not isinstance(rule, Rule):
                raise RecipeError(f"rule {number} must be a Rule, got {rule!r}")
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "training", training or Training())


def differences(old: Recipe, new: Recipe) -> Sequence[str]:
    """What changed between two recipes, one line each; empty when nothing did."""
    found = [
        f"training.{f.name}: {before!r} became {after!r}"
        for f in fields(Training)
        if (before := getattr(old.training, f.name)) != (after := getattr(new.training, f.name))
    ]
    if len(old.rules) != len(new.rules):
        found.append(f"rules: {len(old.rules)} became {len(new.rules)}")
    pairs = zip(old.rules, new.rules, strict=False)
    found += [f"rule {n} ({a.where}) changed" for n, (a, b) in enumerate(pairs, 1) if a != b]
    return found

"""A descent: one network pruned state by state, a whole training at each (iterative pruning).

    FOLDER/state-00/              the run of the dense network
    FOLDER/state-01/ ...          of each further state, from what the one before it left
    FOLDER/state-NN/study.json    what its run does not measure: information, predictions

Every state is a run folder like any other, so a descent that was killed goes on where it was.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pareq.attach.attach import Attached
from pareq.errors import StudyError, at
from pareq.metrics.information import Information, information
from pareq.operators.schedule import Stairs
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.recipe.recipe import Recipe
from pareq.search.claim import claimed
from pareq.tasks.base import make_task
from pareq.train import durable
from pareq.train.batches import Batches
from pareq.train.loop import Keep
from pareq.train.start import Start
from pareq.train.trial import Trial, reopen

__all__ = ["Descent", "State", "is_measured", "measure_state", "read_state"]

_FILE = "study.json"
_ROWS = 8192


@dataclass(frozen=True)
class Descent:
    """The trainings of one network on its way down.

    folder: of the descent. task, options: as for `make_task`. recipe: its TOML text; its prune
    rules say where and how, `fractions` how much: each a share of what is left, a state each after
    the dense one. rewind: None, 0 or a number of epochs of the first training, as in `Start`.
    command: how it was started.
    """

    folder: str
    task: str
    recipe: str
    fractions: tuple[float, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    rewind: int | None = None
    label: str = ""
    command: tuple[str, ...] | None = None

    @property
    def states(self) -> int:
        """How many trainings there are."""
        return len(self.fractions) + 1

    @property
    def done(self) -> int:
        """How many of them have ended."""
        for number in reversed(range(self.states)):
            if is_measured(self.state(number)):
                return number + 1
        return 0

    def state(self, number: int) -> Path:
        """The folder of a state."""
        return Path(self.folder) / f"state-{number:02d}"

    def run(self) -> int:
        """Train what is missing and measure it; the number of states.

        Raises what `Trial.run` raises, StudyError for a recipe without a prune rule, SearchError
        while another process trains it.
        """
        with at(self.label or self.folder):
            recipe = parse_recipe(self.recipe)
            if not any(rule.op.name == "prune" for rule in recipe.rules):
                raise StudyError("the recipe has no rule with the operator prune; add one")
            with claimed(Path(self.folder)) as claim:
                for number in range(self.done, self.states):
                    trial, keep = self.training(number)
                    trial.run(self.state(number), on_epoch=claim.check, keep=keep)
                    measure_state(self.state(number))
        return self.states

    def training(self, number: int) -> tuple[Trial, Keep]:
        """The training of a state, and how its run is kept."""
        recipe = parse_recipe(self.recipe)
        trial = Trial(
            self.task,
            dump_recipe(_pruned(recipe, self.fractions[:number])),
            self.options,
            self._start(recipe, number),
        )
        share = sparsity(self.fractions[:number])
        label = f"{self.label} {share:.1%} pruned".strip()
        step = self._steps(recipe) if number == 0 and self.rewind else None
        return trial, Keep(epochs=5, step=step, label=label, command=self.command)

    def _start(self, recipe: Recipe, number: int) -> Start | None:
        if number == 0:
            return None
        steps = self._steps(recipe) if self.rewind else self.rewind
        return Start(str(self.state(number - 1)), steps, str(self.state(0)) if steps else "")

    def _steps(self, recipe: Recipe) -> int:
        """The steps of the epochs to rewind to."""
        training = recipe.training
        rows = len(make_task(self.task, self.options).load().train)
        return (self.rewind or 0) * Batches(rows, training.batch_size, training.seed).steps


@dataclass(frozen=True)
class State:
    """What was measured of a state besides its run: predicted, (test rows,) the predicted class."""

    information: Information
    predicted: npt.NDArray[np.uint8]


def sparsity(fractions: tuple[float, ...]) -> float:
    """The share that has fallen after so many stairs."""
    return 1 - float(np.prod([1 - fraction for fraction in fractions]))


def read_state(folder: Path) -> State:
    """What `Descent` measured in the folder of a state; raises StudyError for a damaged file."""
    path = folder / _FILE
    with at(str(path)):
        try:
            content = json.loads(path.read_bytes())
            predicted = np.frombuffer(bytes.fromhex(content["predicted"]), np.uint8)
            return State(Information.from_dict(content["information"]), predicted)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"cannot be read ({error}); remove it and run the study again"
            ) from None


def is_measured(folder: Path) -> bool:
    """Whether a training has ended and was measured."""
    return (folder / _FILE).exists()


def measure_state(folder: Path) -> None:
    """Write what a run does not hold: the states of its layers, its predictions."""
    _, task, net = reopen(folder)
    test = task.load().test
    content = {
        "information": information(net, test.x).as_dict(),
        "predicted": _predicted(net, test.x).tobytes().hex(),
    }
    durable.write(folder / _FILE, (json.dumps(content) + "\n").encode())


def _pruned(recipe: Recipe, fractions: tuple[float, ...]) -> Recipe:
    """The recipe whose prune rules take these stairs before the first step."""
    when = Stairs(0, 0, fractions or (0.0,))
    rules = [replace(rule, when=when) if rule.op.name == "prune" else rule for rule in recipe.rules]
    return Recipe(*rules, training=recipe.training)


@torch.no_grad()
def _predicted(net: Attached, x: Tensor) -> npt.NDArray[np.uint8]:
    """The class of each row, (N,)."""
    found = [net.model(part).argmax(1) for part in torch.split(x, _ROWS)]
    return torch.cat(found).to(torch.uint8).numpy()

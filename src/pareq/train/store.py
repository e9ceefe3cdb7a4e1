"""Where a run goes while it trains: into memory, or into a locked folder that survives a kill.

The order of writing: run.json before all; the line of an epoch, then the checkpoint that counts on
it; the result after all. Whatever is newer than the newest checkpoint is cut when the run goes on.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from pareq.errors import CheckpointError, RunError, at
from pareq.train import checkpoint, durable, journal
from pareq.train.checkpoint import Checkpoint, Json
from pareq.train.journal import Epoch
from pareq.train.run import (
    About,
    Result,
    Run,
    check_same,
    read_about,
    read_recipe,
    read_result,
    sha256,
    write_json,
)

__all__ = ["Folder", "Memory", "best_of", "kept_path", "opened"]

_KEPT = 2  # checkpoints: the newest, and one before it in case the disk damages that


class Memory:
    """Keeps the journal and nothing else; the folder is the same with files."""

    folder: Path | None = None

    def __init__(self, about: About, recipe: str) -> None:
        self.about = about
        self.recipe = recipe
        self.epochs: tuple[Epoch, ...] = ()
        self.result: Result | None = None

    def newest(self) -> Checkpoint | None:
        """The checkpoint to go on from; the journal is then as it was at that moment."""
        return None

    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """Note the weights before the first step."""

    def append(self, epoch: Epoch) -> None:
        """Note an epoch."""
        self.epochs += (epoch,)

    def save(self, content: Checkpoint) -> None:
        """Note all state of a step."""

    def keep(self, content: Checkpoint) -> None:
        """Note the network of a step for good."""

    def mark(self, state: str) -> None:
        """Note how the run stands: running, stopped, failed or finished."""
        self.about = replace(self.about, state=state)

    def finish(self, best: Checkpoint, weights: Mapping[str, Tensor], result: Result) -> None:
        """Note the end: the best network, its weights, the result."""
        del best, weights  # the model holds them
        self.result = result
        self.mark("finished")

    def best(self) -> Checkpoint:
        """The best network of a finished run."""
        raise RunError("keeps no network")

    def farewell(self) -> str:
        """What a person who stops the run is told."""
        return "stopped; the run was kept in memory only and is lost, out=FOLDER keeps it"

    def run(self) -> Run:
        """What there is now, as plain data."""
        return Run(self.folder, self.about, self.recipe, self.epochs, self.result)


class Folder(Memory):
    """A run in the folder `path`, new or continued; `opened` checks and locks it."""

    def __init__(self, path: Path, about: About, recipe: str) -> None:
        super().__init__(about, recipe)
        self.folder = self.path = path
        self.checkpoints = path / "checkpoints"
        self.journal = path / "metrics.jsonl"
        self._best: Json = None
        durable.sweep(path)
        durable.sweep(self.checkpoints)
        if (path / "run.json").exists():
            self._continue()
        else:
            self._create()
        self.checkpoints.mkdir(exist_ok=True)

    def _create(self) -> None:
        found = sorted(entry.name for entry in self.path.iterdir())
        if found:
            raise RunError(
                f"holds {found[0]!r} and no run.json, so it is no run; use a new or empty folder",
                where=str(self.path),
            )
        write_json(self.path / "run.json", self.about)
        self._write_recipe()

    def _continue(self) -> None:
        begun = read_about(self.path)
        if not (self.path / "recipe.toml").exists() and begun.recipe_sha256 == sha256(self.recipe):
            self._write_recipe()  # it was killed right after run.json
        recipe = read_recipe(self.path, begun)
        with at(str(self.path)):
            check_same(begun, self.about, recipe, self.recipe)
        self.about = begun
        self.result = read_result(self.path)
        if self.result is not None:
            self.epochs = journal.read(self.journal)
        self.mark("running" if self.result is None else "finished")

    def _write_recipe(self) -> None:
        durable.write(self.path / "recipe.toml", self.recipe.encode())

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint; the journal is cut to the epochs before it."""
        path = checkpoint.newest(self.checkpoints)
        content = None if path is None else checkpoint.read(path, recipe=self.about.recipe_sha256)
        step, epochs = _cursor(content)
        self.epochs = journal.rewind(self.journal, epochs)
        if len(self.epochs) != epochs:
            raise RunError(
                f"has {len(self.epochs)} of the {epochs} epochs before the checkpoint of step"
                f" {step}; restore the file, or start anew in another folder",
                where=str(self.journal),
            )
        return content

    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """Write the weights before the first step."""
        self._write_weights("weights-start.safetensors", "start", weights)

    def append(self, epoch: Epoch) -> None:
        """Add a line to the journal."""
        journal.append(self.journal, epoch)
        super().append(epoch)

    def save(self, content: Checkpoint) -> None:
        """Write a checkpoint, and before it the best network if that is another now."""
        best = content.facts["best"]
        if best != self._best:
            checkpoint.write(self.checkpoints / "best.safetensors", best_of(content))
            self._best = best
        step, _ = _cursor(content)
        checkpoint.write(checkpoint.path_of(self.checkpoints, step), content)
        checkpoint.thin(self.checkpoints, _KEPT)

    def keep(self, content: Checkpoint) -> None:
        """Write the network of a step where later checkpoints leave it alone."""
        step, _ = _cursor(content)
        network = {name: t for name, t in content.tensors.items() if name.startswith("model/")}
        facts = {name: content.facts[name] for name in ("recipe", "run", "epoch", "step")}
        checkpoint.write(kept_path(self.checkpoints, step), Checkpoint(network, facts))

    def best(self) -> Checkpoint:
        """The best network; if its file was moved away, from the last step."""
        path = self.checkpoints / "best.safetensors"
        step = checkpoint.newest(self.checkpoints)
        if path.exists() or step is None:
            return checkpoint.read(path, recipe=self.about.recipe_sha256)
        return best_of(checkpoint.read(step, recipe=self.about.recipe_sha256))

    def farewell(self) -> str:
        """What a person who stops the run is told."""
        kept = checkpoint.newest(self.checkpoints)
        step = 0 if kept is None else int(kept.stem.removeprefix("step-"))
        return f"stopped; {self.path} is kept, the same call goes on from step {step}"

    def mark(self, state: str) -> None:
        """Note how the run stands in run.json."""
        if state != self.about.state:
            super().mark(state)
            write_json(self.path / "run.json", self.about)

    def finish(self, best: Checkpoint, weights: Mapping[str, Tensor], result: Result) -> None:
        """Write the best network, its weights and the result."""
        checkpoint.write(self.checkpoints / "best.safetensors", best)
        self._write_weights("weights.safetensors", "value", weights)
        write_json(self.path / "result.json", result)
        super().finish(best, weights, result)

    def _write_weights(self, name: str, prefix: str, weights: Mapping[str, Tensor]) -> None:
        named = {f"{prefix}/{site}": tensor.contiguous() for site, tensor in weights.items()}
        durable.write(self.path / name, safetensors.torch.save(named))


def _cursor(content: Checkpoint | None) -> tuple[int, int]:
    """Steps and epochs that are done."""
    facts = {"step": 0, "epoch": 0} if content is None else content.facts
    step, epoch = facts["step"], facts["epoch"]
    if not isinstance(step, int) or not isinstance(epoch, int):
        raise CheckpointError("has no cursor")
    return step, epoch


def kept_path(folder: Path, step: int) -> Path:
    """Where the network that was kept after `step` steps lies in a folder of checkpoints."""
    return folder / f"kept-{step:08d}.safetensors"


def best_of(content: Checkpoint) -> Checkpoint:
    """The best network within the state of a step, as a checkpoint of its own."""
    best = content.facts["best"]
    if not isinstance(best, list):
        raise CheckpointError("holds no best network")
    part = {name: t for name, t in content.tensors.items() if name.startswith("best/")}
    return Checkpoint(
        {"model/" + name.removeprefix("best/"): tensor for name, tensor in part.items()},
        {
            "recipe": content.facts["recipe"],
            "run": content.facts["run"],
            "epoch": best[0],
            "step": best[1],
            "val_loss": best[2],
        },
        content.source,
    )


@contextmanager
def opened(out: str | Path | None, about: About, recipe: str) -> Iterator[Memory]:
    """The place of a run: the folder `out`, locked against a second process, or memory.

    Raises RunError when `out` is no folder that this run can use.
    """
    if out is None:
        yield Memory(about, recipe)
        return
    path = Path(out)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from None
    with _locked(path):
        yield Folder(path, about, recipe)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a killed process lets go of it."""
    if sys.platform == "win32":  # no locks on folders there: a second process is not noticed
        yield
        return
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unusable(folder, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                "is being trained by another process; wait for it, or use another folder",
                where=str(folder),
            ) from None
        except OSError:
            pass  # this file system knows no locks
        yield
    finally:
        os.close(descriptor)


def _unusable(folder: Path, error: OSError) -> RunError:
    fact = f"cannot be a run folder ({error.strerror}); choose another"
    return RunError(fact, where=str(folder))

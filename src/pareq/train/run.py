"""A run is a folder.

| file | content |
|---|---|
| run.json | what was trained, with what, and whether it has finished |
| recipe.toml | the recipe in its canonical form |
| metrics.jsonl | one line an epoch |
| checkpoints/step-*.safetensors | all state after a step; the last two |
| checkpoints/best.safetensors | the network of the best epoch |
| weights-start.safetensors | the weights before the first step |
| weights.safetensors | those that the best network computes with |
| result.json | at the end: quality on the test split, cost, why it stopped |
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from pareq.errors import RunError, at
from pareq.train import durable, journal
from pareq.train.checkpoint import Json
from pareq.train.journal import Epoch

__all__ = ["About", "Result", "Run", "open_run", "runs"]

T = TypeVar("T", bound="About | Result")


@dataclass(frozen=True)
class About:
    """What a run is: the content of run.json.

    data: where the data come from. threads: of torch, kept when it resumes. state: "running",
    "stopped" (by a person), "failed" or "finished"; a killed run says "running".
    """

    pareq: str
    torch: str
    python: str
    task: str
    task_options: dict[str, Json]
    classes: tuple[str, ...]
    data: str
    seed: int
    recipe_sha256: str
    threads: int
    device: str
    label: str = ""
    command: tuple[str, ...] | None = None
    state: str = "running"


@dataclass(frozen=True)
class Result:
    """How a run ended: the content of result.json.

    epochs: how many were trained. stopped: "early" or "complete". test: the quality of the best
    checkpoint on the test split. cost: totals, and a row per layer. seconds: of training, over all
    sittings.
    """

    epochs: int
    stopped: str
    best_epoch: int
    test: dict[str, Json]
    cost: dict[str, Json]
    seconds: float


@dataclass(frozen=True)
class Run:
    """A run as plain data. folder: None when it was trained in memory only."""

    folder: Path | None
    about: About
    recipe: str
    epochs: tuple[Epoch, ...]
    result: Result | None

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.result is not None


def open_run(folder: str | Path) -> Run:
    """Read the run in `folder`, finished or not.

    Raises RunError when it is not a run or a file of it is damaged.
    """
    path = Path(folder)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise RunError(f"{what}, expected the folder of a run; give its path", where=str(path))
    about = read_about(path)
    return Run(
        folder=path,
        about=about,
        recipe=read_recipe(path, about),
        epochs=journal.read(path / "metrics.jsonl"),
        result=read_result(path),
    )


def runs(folder: str | Path) -> tuple[Path, ...]:
    """The run folders in `folder` and below, sorted; not opened, so that none can hide the others.

    Raises RunError when `folder` is not a folder.
    """
    path = Path(folder)
    if not path.is_dir():
        raise RunError("is not a folder; give one that holds runs", where=str(path))
    return tuple(sorted(found.parent for found in path.rglob("run.json")))


def read_about(folder: Path) -> About:
    """The content of run.json; raises RunError when it is missing or damaged."""
    if not (folder / "run.json").exists():
        fact = "holds no run.json, so it is no run; give the folder of one"
        raise RunError(fact, where=str(folder))
    about = _from_json(folder / "run.json", About)
    command = None if about.command is None else tuple(about.command)
    return replace(about, classes=tuple(about.classes), command=command)


def read_result(folder: Path) -> Result | None:
    """The content of result.json, or None as long as the run has not finished."""
    path = folder / "result.json"
    return _from_json(path, Result) if path.exists() else None


def read_recipe(folder: Path, about: About) -> str:
    """The text of recipe.toml, which must be the one that run.json names by its hash."""
    path = folder / "recipe.toml"
    with at(str(path)):
        try:
            text = path.read_bytes().decode()
        except OSError as error:
            fact = f"cannot be read ({error.strerror}); restore it, or use another folder"
            raise RunError(fact) from None
        except UnicodeDecodeError:
            raise RunError("is not text; restore it, or use another folder") from None
        if sha256(text) != about.recipe_sha256:
            raise RunError(
                "was edited after the run had begun; restore it, or train the new recipe in"
                " another folder"
            )
    return text


def write_json(path: Path, content: About | Result) -> None:
    """Store a dataclass as JSON, in one piece."""
    text = json.dumps(asdict(content), indent=2, allow_nan=False)
    durable.write(path, (text + "\n").encode())


def sha256(text: str) -> str:
    """The hash by which a run knows its recipe."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_same(old: About, new: About, old_recipe: str, new_recipe: str) -> None:
    """Raise RunError, with the first field that differs, unless both mean the same training."""
    was, now = plain(asdict(old)), plain(asdict(new))
    for name in ("task", "task_options", "data"):
        _check_field(name, was[name], now[name])
    was, now = (dict(_flat(tomllib.loads(text))) for text in (old_recipe, new_recipe))
    for name in was | now:
        _check_field(name, was.get(name), now.get(name))


def _check_field(name: str, old: Json, new: Json) -> None:
    if old == new:
        return
    was, now = ("absent" if value is None else json.dumps(value) for value in (old, new))
    raise RunError(
        f"the run began with {name} = {was}, now it is {now};"
        " go back to the former value, or use another folder"
    )


def plain(content: Mapping[str, object]) -> dict[str, Json]:
    """As it comes back from JSON: tuples are lists, NaN and infinity null, the rest text."""
    found = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
    return dict(found)


def _flat(value: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Each leaf of nested tables with its path, such as rules[0].op.bits."""
    for key, entry in value.items():
        yield from _flat_entry(f"{prefix}{key}", entry)


def _flat_entry(path: str, entry: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(entry, dict):
        yield from _flat(entry, f"{path}.")
    elif isinstance(entry, list) and any(isinstance(e, dict) for e in entry):
        for number, item in enumerate(entry):
            yield from _flat_entry(f"{path}[{number}]", item)
    else:
        yield path, entry


def _from_json(path: Path, kind: type[T]) -> T:
    with at(str(path)):
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise RunError(f"cannot be read ({error.strerror}); check its permissions") from None
        except ValueError:
            raise RunError("is not JSON; restore it, or use another folder") from None
        if not isinstance(content, dict):
            raise RunError("holds no JSON object; restore it, or use another folder")
        expected = {f.name for f in fields(kind)}
        for name in sorted(expected ^ content.keys()):
            what = "lacks the field" if name in expected else "has the unknown field"
            raise RunError(f"{what} {name!r}; it was written by another pareq, or edited")
        return kind(**content)

"""`generate`: jets of five classes from Pythia, a detector model and FastJet, into one npz file.

The work is cut into shards of one class. A shard depends on (seed, class, number) alone and its
jets come in a fixed order, so the result is the same for any number of processes and after any
interruption, and a sample of one seed only grows with n. Finished shards wait in `OUT.parts/`.

    collisions (physics) -> objects (detector) -> jets (clustering) -> 16 numbers (features)
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pareq.errors import DataError, at
from pareq.registry import suggest
from pareq.tasks.atomic import write_whole
from pareq.tasks.download import Progress
from pareq.tasks.jets.clustering import fastjet_version, groom, leading_jets
from pareq.tasks.jets.detector import DETECTORS
from pareq.tasks.jets.features import CLASSES, FEATURES, jet_features
from pareq.tasks.jets.momenta import Floats
from pareq.tasks.jets.physics import collisions, pythia_version

__all__ = ["generate"]

SHARD = 1000  # jets
BATCH = 50  # events made together
RECIPE = 1  # raise when a change of the code changes the jets

_PARAMETERS = "parameters.json"


def generate(
    n: int,
    seed: int,
    out: str | os.PathLike[str],
    *,
    config: str = "openml",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make `n` jets, equally many of each class, and return the path of the npz file `out`.

    The file holds X (n, 16) float32, y (n,) uint8, features, classes and origin (JSON: seed,
    config, versions). config: "openml" or "cernbox" (see `detector`). workers: processes, by
    default one per usable core; with more than one, a script needs the usual
    `if __name__ == "__main__"`. progress: called as (jets done, n).

    A call that was interrupted continues when repeated; a file that is already there and holds
    the same sample is left alone. About 10 ms of one core per jet.

    Raises DataError for other parameters than those of `OUT.parts/` or of an existing `out`, and
    MissingExtra.
    """
    out = Path(out)
    with at("generate"):
        workers = _usable_cores() if workers is None else workers
        _check_arguments(n, seed, config, workers)
        if out.suffix != ".npz":
            raise DataError(f"out must end in .npz, got {out.name!r}")
        origin = {
            "recipe": RECIPE,
            "seed": seed,
            "config": config,
            "pythia": pythia_version(),
            "fastjet": fastjet_version(),
        }
        if out.exists():
            _check_finished(out, origin, n)
            return out
        parts = out.with_name(out.name + ".parts")
        shards = list(_shards(n, seed, config, _open_parts(parts, origin)))
        _make(shards, min(workers, len(shards)), progress or _silent)
        _assemble(shards, out, origin, n)
        shutil.rmtree(parts)
    return out


@dataclass(frozen=True)
class _Shard:
    """The first `count` jets of shard `number` of one class; plain data that crosses processes."""

    folder: str
    jet_class: str
    number: int
    count: int
    seed: int
    config: str

    @property
    def path(self) -> Path:
        return Path(self.folder) / f"{self.jet_class}-{self.number:05d}.npy"

    def finished(self) -> NDArray[np.float32] | None:
        """Its jets (count, 16), or None when they are not all there yet."""
        try:
            jets = np.load(self.path)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        whole = jets.dtype == np.float32 and jets.ndim == 2 and jets.shape[1] == len(FEATURES)
        return jets[: self.count] if whole and len(jets) >= self.count else None


def _check_arguments(n: int, seed: int, config: str, workers: int) -> None:
    if n < len(CLASSES):
        raise DataError(f"n must be at least {len(CLASSES)}, one jet per class, got {n}")
    if not 0 <= seed < 2**32:
        raise DataError(f"seed must be in 0..{2**32 - 1}, got {seed}")
    if workers < 1:
        raise DataError(f"workers must be at least 1, got {workers}")
    if config not in DETECTORS:
        raise DataError(f"unknown config {config!r}{suggest(config, DETECTORS)}")


def _check_finished(out: Path, origin: dict[str, Any], n: int) -> None:
    """Refuse an existing file that is not exactly the sample asked for."""
    try:
        with out.open("rb") as opened, np.load(opened) as file:
            same = json.loads(str(file["origin"])) == origin and len(file["y"]) == n
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        same = False
    if not same:
        raise DataError(f"{out} exists and is another sample; move it away or choose another name")


def _open_parts(parts: Path, origin: dict[str, Any]) -> Path:
    """The folder of the finished shards; one of other parameters is refused."""
    parts.mkdir(parents=True, exist_ok=True)
    note = parts / _PARAMETERS
    if not note.exists():
        if any(parts.iterdir()):
            raise DataError(f"{parts} is not a folder of parts (no {_PARAMETERS}); move it away")
        write_whole(note, lambda file: file.write(json.dumps(origin).encode()))
    try:
        found = json.loads(note.read_text())
    except ValueError:
        raise DataError(f"{note} is damaged; remove {parts} and start again") from None
    if found != origin:
        differ = [key for key in origin if found.get(key) != origin[key]]
        told = ", ".join(f"{key} {found.get(key)!r} there, {origin[key]!r} now" for key in differ)
        raise DataError(f"{parts} was begun with other parameters ({told}); remove it first")
    return parts


def _shards(n: int, seed: int, config: str, folder: Path) -> Iterator[_Shard]:
    """All shards of n jets; a class more than another by one jet at most."""
    for place, jet_class in enumerate(CLASSES):
        wanted = n // len(CLASSES) + (place < n % len(CLASSES))
        for number, start in enumerate(range(0, wanted, SHARD)):
            count = min(SHARD, wanted - start)
            yield _Shard(str(folder), jet_class, number, count, seed, config)


def _make(shards: list[_Shard], workers: int, progress: Progress) -> None:
    """Make the shards that are not there yet, in this process when one is enough."""
    total = sum(shard.count for shard in shards)
    missing = [shard for shard in shards if shard.finished() is None]
    done = total - sum(shard.count for shard in missing)
    progress(done, total)
    for count in map(_fill, missing) if workers == 1 else _in_pool(missing, workers):
        done += count
        progress(done, total)


def _in_pool(shards: list[_Shard], workers: int) -> Iterator[int]:
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        # an interrupt from the keyboard reaches the workers, too: they end at once and silently
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for future in as_completed([pool.submit(_fill, shard) for shard in shards]):
            yield future.result()
    except BrokenProcessPool:
        raise DataError("a worker process died; repeat the call to continue") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _fill(shard: _Shard) -> int:
    """Make one shard, write it and return how many jets it holds."""
    jets = np.array(list(islice(_jets(shard), shard.count)), np.float32)
    write_whole(shard.path, lambda file: np.save(file, jets))
    return shard.count


def _jets(shard: _Shard) -> Iterator[Floats]:
    """The jets of a shard without end, (16,) each."""
    name = (shard.seed, CLASSES.index(shard.jet_class), shard.number)
    physics, detector = np.random.SeedSequence(name).spawn(2)
    random = np.random.default_rng(detector)
    pythia_seed = 1 + int(physics.generate_state(1)[0]) % 900_000_000
    for batch in collisions(shard.jet_class, pythia_seed, BATCH):
        event, momenta = DETECTORS[shard.config].measure(batch.particles, random)
        chance = random.random(batch.count)
        for number, members in enumerate(leading_jets(event, momenta, batch.count)):
            if members is None:
                continue
            jet = momenta[members]
            if shard.jet_class in "wz":
                # Pythia's bosons are transverse, 1 + c^2; the public samples' decay isotropically
                cosine = batch.decay_cosine(number, jet.px.sum(), jet.py.sum())
                if chance[number] > 1 / (1 + cosine**2):
                    continue
            kept, mass = groom(jet)
            features = jet_features(jet, jet[kept], mass)
            if features is not None:
                yield features


def _assemble(shards: list[_Shard], out: Path, origin: dict[str, Any], n: int) -> None:
    """All shards, shuffled, into the final file."""
    parts = [shard.finished() for shard in shards]
    x = np.concatenate([part for part in parts if part is not None])
    y = np.concatenate(
        [np.full(shard.count, CLASSES.index(shard.jet_class), np.uint8) for shard in shards]
    )
    order = np.random.default_rng(origin["seed"]).permutation(n)
    write_whole(
        out,
        lambda file: np.savez_compressed(
            file,
            X=x[order],
            y=y[order],
            features=np.array(FEATURES),
            classes=np.array(CLASSES),
            origin=np.array(json.dumps(origin)),
        ),
    )


def _usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _silent(done: int, total: int) -> None:
    """No progress."""

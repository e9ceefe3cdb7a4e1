"""Run folders as `train` writes them, made in milliseconds: the jets tagger in four variants."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pareq.metrics.cost import Cost, Rest
from pareq.metrics.layer import Layer
from pareq.metrics.quality import quality, roc
from pareq.train.journal import Epoch
from pareq.train.run import About, Result, sha256, write_json

CLASSES = ("g", "q", "t", "w", "z")
LAYERS = (("fc1", 16, 64), ("fc2", 64, 32), ("fc3", 32, 32), ("fc4", 32, 5))


@dataclass(frozen=True)
class Spec:
    """What a fake run is like; skill: how far apart its classes are."""

    label: str = "float"
    bits: int = 32
    sparsity: float = 0.0
    skill: float = 2.6
    seed: int = 1
    epochs: int = 24
    samples: int = 4000
    classes: tuple[str, ...] = CLASSES
    layers: tuple[tuple[str, int, int], ...] = LAYERS
    task: str = "jets"
    data: str = "generated jets, 110,000, sha256 3fa2c1"


FLOAT = Spec()
VARIANTS = (
    FLOAT,
    Spec("pruned 80 %", 32, 0.8, 2.58),
    Spec("6 bits", 6, 0.0, 2.57),
    Spec("QAP, 6 bits and 80 %", 6, 0.8, 2.48),
)


def study(folder: Path, seeds: int = 3, variants: tuple[Spec, ...] = VARIANTS) -> list[Path]:
    """A run for each variant and seed, in folders named after both."""
    return [
        make(folder / f"{number}-seed{seed}", replace(variant, seed=seed))
        for number, variant in enumerate(variants)
        for seed in range(1, seeds + 1)
    ]


def make(folder: Path, spec: Spec = FLOAT, *, finished: bool = True) -> Path:
    """One run folder; unfinished ones have no result yet."""
    folder.mkdir(parents=True)
    recipe = _recipe(spec)
    about = About(
        pareq="0.1.0",
        torch="2.13.0",
        python="3.12.3",
        task=spec.task,
        task_options={},
        classes=spec.classes,
        data=spec.data,
        seed=spec.seed,
        recipe_sha256=sha256(recipe),
        threads=1,
        device="cpu",
        label=spec.label,
        command=("pareq", "train", spec.task, "recipe.toml", "--out", folder.name),
        state="finished" if finished else "running",
    )
    write_json(folder / "run.json", about)
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    rng = np.random.default_rng([spec.seed, spec.bits, int(100 * spec.sparsity)])
    lines = [json.dumps(asdict(epoch)) + "\n" for epoch in _epochs(spec, rng)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    if finished:
        weights = _weights(spec, rng)
        save_file(
            {f"start/{site}": start for site, (start, _) in weights.items()},
            folder / "weights-start.safetensors",
        )
        save_file(
            {f"value/{site}": value for site, (_, value) in weights.items()},
            folder / "weights.safetensors",
        )
        values = {site: value for site, (_, value) in weights.items()}
        write_json(folder / "result.json", _result(spec, rng, values))
    return folder


def edit(folder: Path, file: str, **changes: object) -> Path:
    """Change top-level entries of a JSON file of a run; the folder."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")
    return folder


def _recipe(spec: Spec) -> str:
    rules = []
    if spec.sparsity:
        prune = f'op = "prune"\nscore = "magnitude"\nramp = [0.1, 0.6]\nto = {spec.sparsity}\n'
        rules.append(f'[[rules]]\nwhere = "*:weight"\n{prune}')
    if spec.bits < 32:
        fixed = f'op = "fixed_point"\nbits = {spec.bits}\nafter = 0.6\n'
        rules.append(f'[[rules]]\nwhere = "*:weight"\n{fixed}')
    training = f"[training]\nepochs = {spec.epochs}\nbatch_size = 1024\nseed = {spec.seed}\n"
    return "\n".join([training, *rules])


def _epochs(spec: Spec, rng: np.random.Generator) -> list[Epoch]:
    made = []
    for epoch in range(1, spec.epochs + 1):
        part = epoch / spec.epochs
        ramp = min(max((part - 0.1) / 0.5, 0.0), 1.0)
        pruned = spec.sparsity * (1 - (1 - ramp) ** 3)
        quantized = part > 0.6 and spec.bits < 32
        loss = 0.62 + 0.9 * np.exp(-epoch / 3) + 0.05 * pruned + 0.02 * quantized
        made.append(
            Epoch(
                epoch=epoch,
                step=63 * epoch,
                train_loss=float(loss + rng.normal(0, 0.004)),
                val_loss=float(loss + 0.01 + rng.normal(0, 0.008)),
                val_accuracy=float(0.77 - 0.25 * (loss - 0.62) + rng.normal(0, 0.002)),
                sparsity=float(pruned),
                bits=float(spec.bits if quantized else 32),
                learning_rate=0.001,
                penalty=0.0,
                settled=part > 0.6,
            )
        )
    return made


def _weights(spec: Spec, rng: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    made = {}
    for path, inputs, outputs in spec.layers:
        start = rng.uniform(-1, 1, (outputs, inputs)) / np.sqrt(inputs)
        value = start * 0.8 + rng.normal(0, 0.5 / np.sqrt(inputs), start.shape)
        if spec.sparsity:
            value[np.abs(value) < np.quantile(np.abs(value), spec.sparsity)] = 0
        if spec.bits < 32:
            step = 2.0 ** -(spec.bits - 1)
            value = np.clip(np.round(value / step) * step, -1, 1 - step)
        made[f"{path}:weight"] = (start.astype(np.float32), value.astype(np.float32))
    return made


def _result(spec: Spec, rng: np.random.Generator, weights: dict[str, np.ndarray]) -> Result:
    number = len(spec.classes)
    labels = np.arange(spec.samples) % number
    hard = np.linspace(0.8, 1.1, number)
    scores = rng.normal(0, 1.15, (spec.samples, number))
    scores[np.arange(spec.samples), labels] += spec.skill * hard[labels]
    test = quality(scores, labels, spec.classes).as_dict()
    test["loss"] = 0.7
    test["roc"] = [roc(scores, labels, c, points=200).as_dict() for c in range(number)]
    rows = tuple(
        replace(
            Layer.dense(path, inputs, outputs, bits=spec.bits),
            input_bits=32 if number_of_layer == 0 else spec.bits,
            alive=int(np.count_nonzero(weights[f"{path}:weight"])),
            nonzero=int(np.count_nonzero(weights[f"{path}:weight"])),
        )
        for number_of_layer, (path, inputs, outputs) in enumerate(spec.layers)
    )
    cost = Cost(rows, (Rest("bn1", "BatchNorm1d", 256, norm=True),))
    return Result(
        epochs=spec.epochs,
        stopped="complete",
        best_epoch=spec.epochs - 2,
        test=json.loads(json.dumps(test)),
        cost=json.loads(json.dumps(cost.as_dict())),
        seconds=41.5 + spec.seed,
    )

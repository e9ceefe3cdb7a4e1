"""A population that is killed at any moment goes on from the checkpoints of its members."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pareq.operators.schedule import After, Ramp
from pareq.pruners import Prune
from pareq.quantizers import LearnedScale, MaxAbs
from pareq.recipe.config import dump_recipe
from pareq.recipe.recipe import Recipe, Rule, Training
from pareq.train.journal import read
from pareq.train.population import train_population
from pareq.train.trial import Trial

VICTIM = """
import sys
import torch
from tests.train.test_population_killed import digits
from pareq.train.population import train_population
torch.set_num_threads(1)
train_population(digits(), sys.argv[1])
"""


def digits() -> list[Trial]:
    rules = (
        Rule("*:weight", Prune(), Ramp(0.1, 0.5, to=0.7)),
        Rule("*:weight", MaxAbs(5), After(0.2)),
        Rule("*:output", LearnedScale(5), After(0.2)),
    )
    trainings = [Training(epochs=40, batch_size=128, seed=seed) for seed in (1, 2)]
    options = {"widths": [12]}
    return [Trial("digits", dump_recipe(Recipe(*rules, training=t)), options) for t in trainings]


@pytest.mark.slow
def test_a_killed_population_ends_as_one_that_never_was(tmp_path):
    """It loses at most the running epoch; what it then writes is what a straight one writes."""
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's (extra tasks)")
    straight = train_population(digits(), tmp_path / "straight")
    command = [sys.executable, "-c", VICTIM, str(tmp_path / "killed")]
    victim = subprocess.Popen(command)
    journal = tmp_path / "killed" / "001" / "metrics.jsonl"
    patience = time.monotonic() + 120
    while not (journal.exists() and len(read(journal)) > 3) and victim.poll() is None:
        assert time.monotonic() < patience
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    seen = len(read(journal))
    told: list[tuple[int, int]] = []
    runs = train_population(
        digits(),
        tmp_path / "killed",
        on_epoch=lambda number, epoch: told.append((number, epoch.epoch)),
    )
    assert [run.epochs for run in runs] == [run.epochs for run in straight]
    first = min(epoch for number, epoch in told if number == 1)
    assert seen <= first <= seen + 1
    for name in ("000", "001"):
        for file in ("metrics.jsonl", "weights.safetensors", "checkpoints/best.safetensors"):
            killed, whole = (tmp_path / home / name / file for home in ("killed", "straight"))
            assert killed.read_bytes() == whole.read_bytes(), file

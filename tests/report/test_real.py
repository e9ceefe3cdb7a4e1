"""What `train` really writes is what the report reads."""

import re

import pytest

from pareq.report import report
from pareq.report.collect import collect
from pareq.train.loop import Keep
from pareq.train.trial import Trial

RECIPE = """
[training]
epochs = 3
batch_size = 256
seed = {seed}
{rules}
"""
QAP = """
[[rule]]
where = "*:weight"
op = {{ name = "prune", scope = "global" }}
when = {{ name = "ramp", start = 0.1, stop = 0.5, to = {to} }}

[[rule]]
where = "*:weight"
op = {{ name = "max_abs", bits = 6 }}
when = {{ name = "after", at = 0.5 }}
"""


@pytest.mark.slow
def test_trained_runs_become_a_report(tmp_path):
    rules = {"float": "", "QAP": QAP.format(to=0.75)}
    for seed in (1, 2):
        for label, text in rules.items():
            recipe = RECIPE.format(seed=seed, rules=text)
            Trial("digits", recipe).run(tmp_path / f"{label}{seed}", keep=Keep(label=label))
    runs, refused = collect([tmp_path])
    assert not refused
    assert [run.notes for run in runs] == [()] * 4
    page = report([tmp_path], tmp_path / "report.html").read_text("utf-8")
    plain = page.replace("\u202f", " ")
    titles = re.findall(r"<h3[^>]*>([^<]+)</h3>", page)
    assert titles == [
        "QAP",
        "Results",
        "ROC curves",
        "Quality against cost",
        "Training",
        "Timeline of QAP",
        "Pruning and quantization over time",
        "Layer by layer",
        "Weights of QAP",
        "Where this comes from",
    ]
    assert "2 variants were trained with 2 seeds each on " in plain
    assert "keeps 25 % of its weights" in plain

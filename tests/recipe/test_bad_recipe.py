"""Recipes that cannot be meant: the whole line that `pareq check` says, for each fault."""

from pathlib import Path

import pytest

from tests.refusal import refused

RULE = '[[rule]]\nwhere = "*:weight"\n'
SIX = 'op = { name = "max_abs", bits = 6 }\n'
PRUNE = 'op = { name = "prune" }\n'

# What `pareq check recipe.toml` says of a recipe; "recipe.toml: " comes first.
RECIPES = {
    "no value": (
        "[training]\nepochs = \n",
        "line 2, column 10: is not TOML: invalid value; texts stand in quotes",
    ),
    "text without end": (
        '[[rule]]\nwhere = "*:weight\n',
        "line 2, column 18: is not TOML: illegal character '\\n'",
    ),
    "key twice": (
        "[training]\nepochs = 3\nepochs = 4\n",
        "line 3, column 11: is not TOML: cannot overwrite a value",
    ),
    "misspelt table": (
        "[trainning]\nepochs = 3\n",
        "unknown key 'trainning'; did you mean 'training'?",
    ),
    "key outside its table": (
        "epochs = 3\n",
        "'epochs' belongs into [training]; write it below that line",
    ),
    "table as a value": ("training = 3\n", "training: must be a table [training], got 3"),
    "rule as a value": ("rule = 3\n", "rule: must be tables [[rule]], got 3"),
    "misspelt key": (
        "[training]\nepoch = 3\n",
        "training: unknown key 'epoch'; did you mean 'epochs'?",
    ),
    "text for a number": (
        '[training]\nepochs = "three"\n',
        'training.epochs: must be a whole number, got "three"',
    ),
    "truth for a number": (
        "[training]\nepochs = true\n",
        "training.epochs: must be a whole number, got true",
    ),
    "no epochs": ("[training]\nepochs = 0\n", "training.epochs: must be 1 or more, got 0"),
    "rate not a number": (
        "[training]\nlearning_rate = nan\n",
        "training.learning_rate: must be a finite number, got nan",
    ),
    "negative rate": (
        "[training]\nlearning_rate = -1\n",
        "training.learning_rate: must be positive, got -1.0",
    ),
    "unknown optimizer": (
        '[training]\noptimizer = "adams"\n',
        "training.optimizer: unknown name 'adams'; did you mean 'adam'?",
    ),
    "unknown decay": (
        '[training]\ndecay = "cosin"\n',
        "training.decay: unknown name 'cosin'; did you mean 'cosine'?",
    ),
    "momentum of one": (
        "[training]\nmomentum = 1.0\n",
        "training.momentum: must be in [0, 1), got 1.0",
    ),
    "no where": (
        "[[rule]]\n" + PRUNE,
        "rule 1: 'where' is missing, such as where = \"*:weight\"",
    ),
    "no op": (RULE, "rule 1: 'op' is missing, such as op = { name = \"prune\" }"),
    "op as text": (
        RULE + 'op = "prune"\n',
        'rule 1.op: must be a table { name = "..." }, got "prune"',
    ),
    "op without a name": (
        RULE + "op = { bits = 6 }\n",
        "rule 1.op: 'name' is missing; expected one of ebops, fan_in, fixed_point, l1,"
        " learned_bits, learned_scale, luts, max_abs, prune, prune_activation, uniform",
    ),
    "unknown operator": (
        RULE + 'op = { name = "fixedpoint", bits = 6 }\n',
        "rule 1.op: unknown operator 'fixedpoint'; did you mean 'fixed_point'?",
    ),
    "no bits": (
        RULE + 'op = { name = "fixed_point" }\n',
        "rule 1.op (fixed_point): 'bits' is missing, expected a whole number",
    ),
    "99 bits": (
        RULE + SIX + RULE + 'op = { name = "fixed_point", bits = 99 }\n',
        "rule 2.op.bits: must be in 1..32, got 99",
    ),
    "bits with a point": (
        RULE + 'op = { name = "fixed_point", bits = 6.0 }\n',
        "rule 1.op.bits: must be a whole number, got 6.0",
    ),
    "one symmetric bit": (
        RULE + 'op = { name = "max_abs", bits = 1 }\n',
        "rule 1.op.bits: must be in 2..32, got 1: a symmetric bit holds only zero",
    ),
    "field of another operator": (
        RULE + 'op = { name = "prune", bits = 6 }\n',
        "rule 1.op: unknown key 'bits' of prune; expected one of pattern, regrow, scope, score",
    ),
    "unknown score": (
        RULE + 'op = { name = "prune", score = "magnitud" }\n',
        "rule 1.op: unknown score 'magnitud'; did you mean 'magnitude'?",
    ),
    "unknown pattern": (
        RULE + 'op = { name = "prune", pattern = "structured" }\n',
        "rule 1.op: unknown pattern 'structured'; did you mean 'unstructured'?",
    ),
    "unknown range": (
        RULE + 'op = { name = "fixed_point", bits = 6, range = "mxa" }\n',
        "rule 1.op: unknown range estimator 'mxa'; did you mean 'max'?",
    ),
    "unknown rounding": (
        RULE + 'op = { name = "fixed_point", bits = 6, rounding = "half_evn" }\n',
        "rule 1.op.rounding: unknown name 'half_evn'; did you mean 'half_even'?",
    ),
    "point too far": (
        RULE + 'op = { name = "fixed_point", bits = 6, frac = 300 }\n',
        "rule 1.op.frac: must be in -126..126, got 300",
    ),
    "all weights pruned": (
        RULE + PRUNE,
        "rule 1: sparsity must be in [0, 1), got 1.0; give the schedule to=...",
    ),
    "strength above one": (
        RULE + PRUNE + 'when = { name = "after", to = 2.0 }\n',
        "rule 1.when.to: must be in 0..1, got 2.0",
    ),
    "unknown schedule": (
        RULE + SIX + 'when = { name = "rampe", start = 0.1, stop = 0.5 }\n',
        "rule 1.when: unknown schedule 'rampe'; did you mean 'ramp'?",
    ),
    "ramp without an end": (
        RULE + SIX + 'when = { name = "ramp", start = 0.1 }\n',
        "rule 1.when (ramp): 'stop' is missing, expected a step, a fraction of the run or a text"
        ' such as "3 epochs"',
    ),
    "ramp backwards": (
        RULE + SIX + 'when = { name = "ramp", start = 0.5, stop = 0.1 }\n',
        "rule 1.when: ramp stops at 0.1, before it starts at 0.5",
    ),
    "after the end": (
        RULE + SIX + 'when = { name = "after", at = 1.5 }\n',
        "rule 1.when.at: 1.5 is not a fraction of the run (0.0 to 1.0); steps are whole numbers,"
        ' epochs are written "12 epochs"',
    ),
    "unknown unit": (
        RULE + SIX + 'when = { name = "after", at = "3 epoks" }\n',
        'rule 1.when: position \'3 epoks\' is not of the form "12 epochs", "300 steps" or "60 %"',
    ),
    "no stairs": (
        RULE + PRUNE + 'when = { name = "stairs", start = 0, stop = 9, fractions = [] }\n',
        "rule 1.when.fractions: is empty, expected at least one fraction",
    ),
    "stair that takes all": (
        RULE + PRUNE + 'when = { name = "stairs", start = 0, stop = 9, fractions = [0.1, 1.0] }\n',
        "rule 1.when.fractions: must be in [0, 1), got 1.0",
    ),
    "where without a tensor": (
        '[[rule]]\nwhere = "fc1"\n' + SIX,
        "rule 1: cannot read 'fc1'; expected 'PATH:TENSOR' or 'PATH@TYPE:TENSOR', such as"
        " '*:weight' or 'block1.*@ReLU:output'",
    ),
    "exclude as text": (
        RULE + SIX + 'exclude = "fc4:weight"\n',
        'rule 1.exclude: must be a list, each a text, got "fc4:weight"',
    ),
    "no such module": (
        '[[rule]]\nwhere = "fc9:weight"\n' + SIX,
        "rule 1: 'fc9:weight' matches nothing in the model; the nearest site is 'fc4:weight'",
    ),
    "no such tensor": (
        '[[rule]]\nwhere = "*:wait"\n' + SIX,
        "rule 1: '*:wait' matches nothing in the model; did you mean the tensor 'weight'?",
    ),
    "no such type": (
        '[[rule]]\nwhere = "*@Linaer:weight"\n' + SIX,
        "rule 1: '*@Linaer:weight' matches nothing in the model; did you mean the type 'Linear'?",
    ),
    "exclude that excludes nothing": (
        RULE + SIX + 'exclude = ["fc5:weight"]\n',
        "rule 1: exclude 'fc5:weight' matches nothing; the nearest site is 'fc4:weight'",
    ),
    "exclude that excludes all": (
        RULE + SIX + 'exclude = ["fc*:weight"]\n',
        "rule 1: '*:weight' matches 4 sites, and exclude leaves out all of them",
    ),
    "activations pruned": (
        '[[rule]]\nwhere = "*:output"\n' + PRUNE + 'when = { name = "after", to = 0.5 }\n',
        "rule 1: act1:output is an activation, prune works on weights and biases; name those, such"
        " as '*:weight', or use prune_activation",
    ),
    "a site quantized twice": (
        RULE + SIX + RULE + SIX,
        "fc1:weight would be quantized twice, by rule 1 (*:weight) and rule 2 (*:weight); exclude"
        " it from one",
    ),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_recipe_is_refused(capsys, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    text, line = RECIPES[case]
    Path("recipe.toml").write_text(text)
    refused(capsys, "check recipe.toml", f"recipe.toml: {line}")


def test_no_line_stands_for_two_faults():
    assert len({line for _, line in RECIPES.values()}) == len(RECIPES) >= 40

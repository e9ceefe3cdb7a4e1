"""The matrix as data: counts, names, and the published stairs."""

import pytest

from pareq.errors import StudyError
from pareq.operators.schedule import Stairs
from pareq.pruners import L1
from pareq.recipe.config import dump_recipe, parse_recipe
from pareq.studies.matrix import (
    ALIVE,
    FRACTIONS,
    MATRICES,
    PROTOCOLS,
    QUICK_FRACTIONS,
    Setting,
    full,
    published,
    quick,
)
from pareq.studies.qap import Qap, recipe


@pytest.mark.parametrize("name", MATRICES)
def test_every_setting_has_a_name_of_its_own(name):
    settings = list(MATRICES[name]())
    assert len({s.name for s in settings}) == len(set(settings)) == len(settings)


def test_the_sizes_of_the_matrices():
    """Everything crossed; what the authors ran (16 main and 5 special ones a width); a small one."""
    assert len(list(full())) == 5 * 3 * 4 * 2 * 4 + 5 * 2
    assert len(list(published())) == 4 * (16 + 5) + 4 * 2
    assert len(list(quick())) == 14
    assert {s.bits for s in quick()} == {32, 6, 4}


@pytest.mark.parametrize("name", MATRICES)
def test_other_widths(name, tmp_path):
    """Those that a protocol names are those of its matrix; a study may have more of them later."""
    usual = Qap(name)
    assert list(MATRICES[name](usual.used.bits)) == list(MATRICES[name]())
    made = usual.on("", {}, ["bits=[32,5,3,2]"])
    assert made.settings() == usual.settings()
    assert {setting.bits for setting, _ in made.planned().values()} - {6} == {32, 5, 3, 2}
    assert {"5b-ft/1", "2b-lt/1"} <= set(made.trials(tmp_path))
    with pytest.raises(StudyError, match=r"bits must be in 2\.\.32, got 1"):
        usual.on("", {}, ["bits=[1]"]).planned()


def test_the_stairs_leave_the_published_weights():
    """In the dense network of 4,256 weights, state by state."""
    for state, alive in enumerate(ALIVE):
        stairs = Stairs(0, 0, FRACTIONS[:state] or (0.0,))
        assert 4256 - stairs.count(0, 4256) == alive


def test_the_quick_study_stops_at_five_of_the_same_states(tmp_path):
    """With label noise at three; about 150 trainings in all."""
    left = [4256 - Stairs(0, 0, QUICK_FRACTIONS[:n] or (0.0,)).count(0, 4256) for n in range(5)]
    assert left == [4256, 2129, 852, 426, 142]
    trials = Qap("quick").trials(tmp_path)
    assert trials["6b-ft/1"].states == 5
    assert trials["6b-ft-noise.50/1"].states == 3
    assert sum(trial.states for trial in trials.values()) == 2 * (11 * 5 + 2 * 3 + 12)
    assert set(left) <= set(ALIVE)


def test_names_say_what_is_not_usual():
    assert Setting().name == "6b-ft"
    assert Setting(32, "lt", "no-stats", "off", 50).name == "32b-lt-norm.no-stats-l1.off-noise.50"
    assert Setting(4, "late").usual
    assert not Setting(4, norm="off").usual


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 1}, "bits must be in 2..32, got 1"),
        ({"method": "lottery"}, "unknown method 'lottery'"),
        ({"norm": "noaffine"}, "unknown norm 'noaffine'; did you mean 'no-affine'?"),
        ({"l1": "onn"}, "unknown l1 'onn'; did you mean 'on'?"),
        ({"noise": 10}, "unknown noise 10"),
    ],
)
def test_settings_that_are_none(fields, message):
    with pytest.raises(StudyError) as caught:
        Setting(**fields)
    assert message in str(caught.value)


def operators(setting: Setting) -> list[tuple[str, str]]:
    made = recipe(setting, PROTOCOLS["full"], 7)
    assert parse_recipe(dump_recipe(made)) == made
    assert made.training.seed == 7
    return [(rule.where, rule.op.name) for rule in made.rules]


def test_recipes_of_settings():
    """Float networks have no quantizer; L1 reaches the norms that have a scale."""
    whole = [("*:weight", "prune"), ("*:weight", "l1"), ("*@BatchNorm*:weight", "l1")]
    quantizers = [("*:weight", "max_abs"), ("*:output", "learned_scale")]
    assert operators(Setting(6)) == [*whole, *quantizers]
    assert operators(Setting(32)) == whole
    assert operators(Setting(6, norm="off")) == [*whole[:2], *quantizers]
    assert operators(Setting(6, norm="no-affine")) == [*whole[:2], *quantizers]
    assert operators(Setting(6, l1="weights")) == [*whole[:2], *quantizers]
    assert operators(Setting(6, l1="off")) == [whole[0], *quantizers]


def test_the_published_penalty_stops_also_where_it_does_not_train():
    """With normalisation scales, as it trains; ours counts in training alone."""

    def counts(l1: str, protocol: str) -> list[str]:
        rules = recipe(Setting(6, l1=l1), PROTOCOLS[protocol], 1).rules
        return [rule.op.counts_in for rule in rules if isinstance(rule.op, L1)]

    assert [counts(l1, "published") for l1 in ("on", "off")] == [["both"] * 2, ["stopping"] * 2]
    assert [counts(l1, "full") for l1 in ("on", "off")] == [["training"] * 2, []]


def test_the_published_protocol(tmp_path):
    """Adam, 1e-4, 250 epochs, patience 10; folds; labels random in the first rows of files."""
    training = recipe(Setting(), PROTOCOLS["published"], 1).training
    assert (training.epochs, training.patience, training.learning_rate) == (250, 10, 1e-4)
    assert (training.optimizer, training.batch_size, training.decay) == ("adam", 1024, "constant")
    trials = Qap("published").trials(tmp_path)
    assert trials["6b-ft/3"].options == {"split": "fold-3", "scaling": "paper"}
    assert trials["6b-ft-noise.50/2"].options == {
        "split": "fold-2",
        "scaling": "paper",
        "noise": 0.5,
        "noise_seed": 2,
        "noise_rows": "paper",
        "noise_validation": True,
    }
    first = {"split": "fold-1", "scaling": "paper"}
    assert trials["6b-lt-norm.no-stats/1"].options == {**first, "running_stats": False}
    assert trials["6b-ft-norm.off/1"].options == {**first, "batch_norm": False}
    assert [trials[f"6b-{m}/1"].rewind for m in ("ft", "lt")] == [None, 0]
    assert trials["6b-ft/1"].states == 12
    assert set(trials["6b-dense/1"].fractions) == {0.0}
    search = trials["6b-bo/2"]
    assert (search.states, search.initial, search.batch, search.seed) == (20, 5, 1, 2)
    assert search.proxy * training.epochs == 25
    assert search.options == {"split": "fold-2", "scaling": "paper"}
    assert Qap("full").trials(tmp_path)["6b-ft/3"].options == {"split": "fold-3"}


def test_each_trial_has_a_command_of_its_own(tmp_path):
    """With what was changed."""
    made = Qap.made("quick", "", 3, None)
    command = made.trials(tmp_path)["4b-lt/2"].command
    assert " ".join(command) == "pareq study qap --matrix quick --epochs 3 --only 4b-lt/2"


def test_a_command_makes_the_same_trial(tmp_path):
    """Whatever was changed; and what a setting cannot be is an error."""
    changes = ["goal=front", "fractions=[0.5,0.25]", "l1_stops=true", "noise_rows=paper"]
    made = Qap.made("quick", "", None, 3).on("", {}, changes)
    words = made.trials(tmp_path)["6b-bo/2"].command
    assert words[5:7] == ("--repeats", "3")
    given = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
    assert sorted(given) == sorted(changes)
    assert Qap.made("quick", "", None, 3).on("", {}, given) == made
    for change, message in (
        ("gaol=front", "--set gaol=front: unknown key 'gaol'; did you mean 'goal'?"),
        ("goal=fron", "unknown goal 'fron'; did you mean 'front'?"),
        ("shapes=0", "shapes must be 1 or more, got 0"),
    ):
        with pytest.raises(StudyError) as caught:
            made.on("", {}, [change])
        assert str(caught.value) == message
    with pytest.raises(StudyError, match="--task: qap is a study of its own task alone"):
        made.on("digits", {}, [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("quik", "", None, None), "unknown matrix 'quik'; did you mean 'quick'?"),
        (("quick", "", 0, None), "epochs must be 1 or more, got 0"),
        (("quick", "", None, 0), "repeats must be 1 or more, got 0"),
    ],
)
def test_studies_that_cannot_be_made(given, message):
    with pytest.raises(StudyError) as caught:
        Qap.made(*given)
    assert message in str(caught.value)

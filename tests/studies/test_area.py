"""The area study: its family, its folders, what it says with and without Yosys."""

import html
import json
import re

import pytest

from pareq.backends.verilog import area as counting
from pareq.backends.verilog.area import Area
from pareq.cli import main
from pareq.errors import PareqError, StudyError
from pareq.pruners import Prune
from pareq.quantizers import Ebops, Uniform
from pareq.recipe.config import parse_recipe
from pareq.search.executor import InProcess
from pareq.studies import area
from pareq.studies.area import CARD, YOSYS, AreaStudy, Member
from pareq.studies.area_results import COSTS, Point, fronts, gather
from pareq.studies.base import STUDIES, drive
from pareq.studies.published import PUBLISHED, SOURCES
from tests.studies.small import few_jets

SMALL = ("batch_size=256", "sparsity=[0.5,0.8]", "budgets=60", "bits=4")


def made(*changes: str, task: str = "", **options: object) -> AreaStudy:
    return AreaStudy.made("quick", "", 2, 1).on(task, options, (*SMALL, *changes))


def test_the_family(tmp_path):
    """A network for each recipe, width and share, and each budget; all first seeds come first."""
    study = made("recipes=[qap,qap-fixed]", "seeds=2")
    members = list(study.protocol.members)
    assert members == [
        *("learned-bits-e60", "qap-b4-s50", "qap-b4-s80", "qap-fixed-b4-s50", "qap-fixed-b4-s80")
    ]
    trials = study.trials(tmp_path)
    assert list(trials) == [f"{name}/seed-{seed}" for seed in range(2) for name in members]
    each = trials["qap-fixed-b4-s80/seed-1"]
    recipe = parse_recipe(each.trial.recipe)
    assert (recipe.training.seed, recipe.training.epochs, recipe.training.batch_size) == (1, 2, 256)
    (prune,) = (rule for rule in recipe.rules if isinstance(rule.op, Prune))
    assert prune.when.to == 0.8
    assert [rule.op.bits for rule in recipe.rules if isinstance(rule.op, Uniform)] == [4, 4]
    edges = [rule.op.bits for rule in recipe.rules if rule.where.startswith(":")]
    assert edges == [8, 8]
    learned = parse_recipe(trials["learned-bits-e60/seed-0"].trial.recipe)
    assert [rule.op.budget for rule in learned.rules if isinstance(rule.op, Ebops)] == [60.0]


def test_norms_are_left_out_on_jets_alone():
    assert made().options == {"batch_norm": False}
    assert made(batch_norm=True).options == {"batch_norm": True}
    assert made(task="digits").options == {}
    assert STUDIES["area"] is AreaStudy


def test_seeds_and_networks_may_be_added():
    """Nothing else: a study goes on with the settings that it began with."""
    settings = made().settings()
    assert made("bits=[4,6]", "seeds=4", "budgets=[60,90]", "recipes=qap").settings() == settings
    assert made("emitter=native").settings() != settings
    assert made("epochs=3").settings() != settings
    assert made(task="digits").settings() != settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("family=xcup2", "unknown family 'xcup2'; did you mean 'xcup'?"),
        ("emitter=nativ", "verilog: emitter is 'nativ', expected one of best, native, alkaid"),
        ("sparsity=1.0", "sparsity must be in [0, 1), got [1.0]"),
        ("bits=0", "bits must be 1 or more, got 0"),
        ("seeds=0", "seeds must be 1 or more, got 0"),
        ("recipe=qap", "--set recipe=qap: unknown key 'recipe'; did you mean 'recipes'?"),
    ],
)
def test_settings_that_are_none(change, message):
    with pytest.raises(PareqError) as caught:
        made(change)
    assert message in str(caught.value)


def test_a_recipe_must_have_what_is_changed(tmp_path):
    both = "prune and a quantizer"
    wrong = {"recipes=float": both, "recipes=quantized": both, "recipes=table-neurons": both}
    for change, what in (wrong | {"learned=qap": "ebops"}).items():
        with pytest.raises(StudyError, match=f"has no rule with {what}.*; take another one"):
            made(change).trials(tmp_path)
    with pytest.raises(StudyError, match="there is no network; give budgets, or recipes, bits"):
        made("bits=[]", "budgets=[]")


def point(name: str, score: float, luts: float) -> Point:
    figures = {"score": score, "luts": luts, "ebops": 1.0, "bops": luts, "stages": 5.0}
    return Point(Member(name, budget=1), {0: None}, {0: figures}, ("native",), ())


def test_a_front_holds_what_nothing_beats_in_both():
    cheap, beaten, best = point("a", 0.6, 100), point("b", 0.59, 200), point("c", 0.7, 300)
    found = fronts([best, beaten, cheap])
    assert found["luts"] == found["bops"] == [cheap, best]
    assert found["ebops"] == found["stages"] == [best]


def test_published_designs_name_their_source():
    """And the two data sets are apart: no design stands in both with the same figures."""
    assert list(PUBLISHED) == ["OpenML", "CERNBox"]
    assert not set(PUBLISHED["OpenML"]) & set(PUBLISHED["CERNBox"])
    for designs in PUBLISHED.values():
        assert all(each.source in SOURCES and 70 < each.accuracy < 78 for each in designs)
        accuracies = [each.accuracy for each in designs]
        assert max(accuracies) - min(accuracies) > 1


def test_a_dry_run_lists_the_trials(capsys, tmp_path):
    words = ("study", "area", "--quick", "--task", "digits", "--set", "budgets=900", "--dry-run")
    with pytest.raises(SystemExit) as ended:
        main((*words, "--out", str(tmp_path / "out")))
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "learned-bits-e900/seed-0: 0 of 1 trainings done"
    assert len(lines) == 3 * 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small study on few jets, of which one trial fails, once without Yosys and once with it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("area")
        out = folder / "out"
        study = AreaStudy.made("quick", few_jets(folder), 2, 2).on("", {"widths": (6,)}, SMALL)
        bad = out / "qap-fixed-b4-s50" / "seed-1"
        bad.mkdir(parents=True)
        (bad / "notes.txt").touch()
        patch.setattr(area, "has_yosys", lambda: False)
        first = drive(study, out, InProcess())
        without = study.report(out).read_text(), list(study.notices())
        trained = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}

        def count(source, top, *, family):
            luts = len(source.read_text())
            return Area(luts, luts - 1, 56, 78, 3, {"LUT6": luts}, "Yosys", "0.23", family)

        patch.setattr(area, "has_yosys", lambda: True)
        patch.setattr(counting, "synthesize", count)
        assert not any(trial.done for trial in study.trials(out).values())
        second = drive(study, out, InProcess())
        page = study.report(out).read_text()
        assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == trained
        yield study, out, (first, second), without, page


@pytest.mark.slow
def test_one_bad_trial_stops_nothing(whole):
    study, out, errors, _, page = whole
    for each in errors:
        assert list(each) == ["qap-fixed-b4-s50/seed-1"]
        assert "holds 'notes.txt' and no run.json" in each["qap-fixed-b4-s50/seed-1"]
    assert sum(trial.done for trial in study.trials(out).values()) == 5
    assert "1 training of 6 are missing" in page or "1 training of 6 is missing" in page


@pytest.mark.slow
def test_without_yosys_it_says_what_to_install(whole):
    """Everything else is there, and the same command adds the counts without training again."""
    _, _, _, (page, notices), _ = whole
    text = f"no look-up tables are counted: {YOSYS}; then the same command adds them"
    assert notices == [text]
    told = f"{text[0].upper()}{text[1:]}"
    assert f"Of 3 networks the look-up tables are missing. {html.escape(told)}." in page
    heads = re.findall(r'<th scope="col">([^<]+)</th>', page)
    assert "EBOPs" in heads
    assert "Bit operations" in heads
    assert "Packed" not in heads


@pytest.mark.slow
def test_the_points_are_what_the_runs_say(whole):
    """Means over the seeds; fronts of each cost; nothing but what the cards hold."""
    study, out, *_ = whole
    points, skipped = gather(study, out)
    assert skipped == []
    assert [len(each.runs) for each in points] == [2, 1, 2]
    for each in points:
        cards = [
            json.loads((out / each.member.name / f"seed-{seed}" / CARD).read_bytes())
            for seed in each.runs
        ]
        assert each.measure("ebops").mean == sum(card["ebops"] for card in cards) / len(cards)
        counts = [card["area"]["luts"] for card in cards]
        assert each.measure("luts").mean == sum(counts) / len(counts)
        assert (each.measure("luts").error is None) == (len(cards) == 1)
    found = fronts(points)
    best = max(points, key=lambda each: each.measure("score").mean)
    for name in COSTS:
        assert found[name][-1].measure("score") == best.measure("score")


@pytest.mark.slow
def test_the_page(whole):
    """Figures name their tool, published designs stand apart, and every network can be rebuilt."""
    _, out, _, _, page = whole
    assert "Counted by Yosys 0.23: xcup" in page
    captions = re.findall(r"<caption><span>([^<]+)</span>", page)
    published = [each for each in captions if each.startswith("Published designs on ")]
    assert [each.split()[3].strip(":") for each in published] == ["OpenML", "CERNBox"]
    assert all("no row compares with ours" in each and "Vivado" in each for each in published)
    assert captions[0].startswith("The family")
    assert re.findall(r'<figure id="([^"]+)"', page) == ["area-fronts"]
    for command in (
        "pareq train jets qap-fixed -o batch_norm=false -o",
        "--set rule.1.when.to=0.8 --set rule.2.op.bits=4 --set rule.3.op.bits=4",
        "pareq build runs/qap-fixed-b4-s80 verilog --emitter best",
        "pareq verify runs/qap-fixed-b4-s80/build/verilog --rows 10000",
        "pareq area runs/qap-fixed-b4-s80 --family xcup",
        f"--out {out} --only learned-bits-e60/seed-0",
    ):
        assert command in page


@pytest.mark.slow
def test_a_damaged_card_is_told(whole):
    study, out, *_ = whole
    card = out / "qap-fixed-b4-s80" / "seed-1" / CARD
    held = card.read_bytes()
    for damaged in ("{}", "{"):
        card.write_text(damaged)
        points, ((folder, reason),) = gather(study, out)
        assert folder == card.parent
        assert reason.endswith("; run the study again")
        assert len(points[2].runs) == 1
        assert not study.trials(out)["qap-fixed-b4-s80/seed-1"].done
    card.write_bytes(held)


def test_a_report_of_nothing(tmp_path):
    with pytest.raises(StudyError) as caught:
        made().report(tmp_path)
    fact = "no network is ready yet; run the study first"
    assert str(caught.value) == f"study area: report: {tmp_path}: {fact}"

"""Reports of tasks that are judged by another figure than accuracy, such as super-resolution."""

import base64
import re
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from pareq.errors import ReportError
from pareq.recipe.config import dump_recipe
from pareq.recipe.presets import find_recipe
from pareq.recipe.recipe import Recipe
from pareq.report import report
from pareq.report.collect import collect
from pareq.report.gallery import gallery
from pareq.report.png import image, png
from pareq.report.sizes import cost
from pareq.report.summary import summary, tables, tiles
from pareq.report.timeline import timelines
from pareq.report.variants import sections
from pareq.tasks.superres import SuperResolution
from pareq.train.loop import Keep
from pareq.train.trial import Trial
from tests.report.runs import FLOAT, VARIANTS, edit, make

FLAT = tuple(replace(spec, epochs=3, samples=100, task="superres", classes=()) for spec in VARIANTS)
OPTIONS = {"data": "sample", "widths": [4, 2], "stride": 60}


def scored(folder, spec, psnr, **more):
    """A run of super-resolution with this figure."""
    try:
        make(folder, replace(spec, classes=("a", "b")))
    finally:
        edit(folder, "run.json", classes=[])
    return edit(folder, "result.json", test={"loss": 0.01, "psnr": psnr} | more)


def of(folder):
    (found,) = sections(collect([folder])[0])
    return found


def told(section):
    said = " ".join(f"{s.label} {s.text}".strip() for s in summary(section))
    return said.replace("\u202f", " ")


@pytest.fixture
def section(tmp_path):
    for seed, (a, b) in enumerate(((32.84, 31.0), (32.80, 31.2), (32.88, 31.1)), 1):
        scored(tmp_path / f"a{seed}", replace(FLAT[0], seed=seed), a)
        scored(tmp_path / f"b{seed}", replace(FLAT[3], seed=seed), b)
    return of(tmp_path)


def test_the_score_has_its_name_and_unit(section):
    assert section.reference.score.mean == pytest.approx(32.84)
    text = told(section)
    assert "float reaches a PSNR of 32.840 ± 0.040 dB on the test split" in text
    assert "its PSNR of 31.100 ± 0.100 dB is 1.74 dB lower, which is more than noise" in text
    _, found = tiles(section)
    assert found[0].value == "\u22121.74"
    assert found[0].meaning.startswith("dB of PSNR, more than noise")


def test_one_seed_says_nothing_about_noise(tmp_path):
    scored(tmp_path / "a", FLAT[0], 32.8)
    scored(tmp_path / "b", FLAT[3], 31.3)
    text = told(of(tmp_path))
    assert "is 1.50 dB lower, with one seed, so that noise is unknown" in text
    assert "beyond noise" not in text


def test_tables_and_front_know_no_classes(section):
    first, second = tables(section)
    assert first.head[:3] == ("Variant", "Seeds", "PSNR")
    assert not any("AUC" in cell for cell in first.head)
    assert second.head == ("Variant", "psnr", "loss")
    figure = cost(section)
    assert [panel.title for panel in figure.panels] == [
        "PSNR and bit operations",
        "PSNR and memory",
        "PSNR and memory with activations",
    ]
    held = section.reference.total("memory_with_activations").mean
    assert held == section.reference.total("memory").mean + 4 * (16 + 64 + 32 + 32)


@pytest.mark.parametrize("wrong", [{"psnr": None}, {"psnr": float("nan")}, {"other": "text"}])
def test_a_damaged_figure_is_left_out_with_its_reason(tmp_path, wrong):
    folder = scored(tmp_path / "a", FLAT[0], 32.8)
    test = {"loss": 0.1, "psnr": 1.0} | wrong
    if "other" in wrong:
        del test["psnr"]
    edit(folder, "result.json", test=test)
    _, (refused,) = collect([folder])
    assert "psnr: a finite number was expected" in refused.reason


def test_a_task_that_is_not_registered_is_left_out_with_its_reason(tmp_path):
    folder = scored(tmp_path / "a", FLAT[0], 32.8)
    edit(folder, "run.json", task="superress")
    _, (refused,) = collect([folder])
    assert "superres" in refused.reason
    assert "\n" not in refused.reason


def unpacked(file):
    """Width, height and bytes of a PNG, read by hand; every checksum is checked."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(file):
        size, kind = struct.unpack(">I4s", file[place : place + 8])
        content = file[place + 8 : place + 8 + size]
        (check,) = struct.unpack(">I", file[place + 8 + size : place + 12 + size])
        assert check == zlib.crc32(kind + content)
        chunks[kind] = content
        place += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    raw = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not raw[:, 0].any()
    channels = {0: 1, 2: 3}[colour]
    return raw[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 4, 3)])
def test_a_png_holds_every_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(unpacked(png(picture)).reshape(shape), picture)


def test_what_is_no_picture_is_refused():
    for wrong in (np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2), np.uint8)):
        with pytest.raises(ReportError, match=r"expected uint8 \(H, W\) or \(H, W, 3\)"):
            png(wrong)


def test_an_image_needs_no_other_file():
    made = image(np.zeros((2, 2), np.uint8), 'a "quoted" label')
    assert 'alt="a &quot;quoted&quot; label"' in made
    data = re.search(r"base64,([^\"]+)", made)[1]
    assert unpacked(base64.b64decode(data)).shape == (2, 2, 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two real runs of ESPCN, in float and by the published recipe."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("float", "espcn-pq"):
        recipe = find_recipe(name)
        training = replace(recipe.training, epochs=20, batch_size=9, patience=None)
        text = dump_recipe(Recipe(*recipe.rules, training=training))
        Trial("superres", text, OPTIONS).run(folder / name, keep=Keep(label=name))
    return folder


def test_a_page_of_super_resolution(trained, tmp_path):
    page = report([trained], tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 2 * (2 + 2)  # given, truth and two variants
    for title in ("Before and after: picture 1", "Timeline of espcn-pq", "Quality against cost"):
        assert title in page
    assert "ROC" not in page


def test_the_timeline_has_the_published_epochs(trained):
    (found,) = timelines(of(trained))
    rows = {(row[0], row[1]): row[2:4] for row in found.table.rows}
    assert rows["prune", "conv2:weight"] == ("14.5", "16")  # of 20 epochs: 0.725 and 0.8
    assert rows["8 bits", "*:weight"] == ("16", "16")
    assert [panel.title for panel in found.panels] == [
        "Operators",
        "Validation loss",
        "Validation PSNR",
    ]


def test_a_recipe_of_another_kind_has_no_timeline(section):
    """The fake runs name their rules as no pareq does; the page must hold all the rest."""
    assert timelines(section) == []


def test_other_data_give_no_pictures_but_a_note(trained):
    edit(trained / "float", "run.json", data="something else")
    try:
        figures, notes = gallery(of(trained))
    finally:
        edit(trained / "float", "run.json", data="drawn scenes")
    assert len(figures) == 2
    ((folder, note),) = notes
    assert folder.name == "float"
    assert note == (
        "the data are drawn scenes now, the run was trained on something else: no pictures"
    )


def test_pictures_are_parts_of_the_test_pictures():
    task = SuperResolution(data="sample", widths=(4, 2))
    split = task.load().test
    first, second = task.pictures(task.model(), split)
    assert first.given.shape == (32, 32)
    assert first.truth.shape == first.made.shape == (96, 96)
    assert not np.array_equal(first.truth, second.truth)
    assert task.pictures(task.model(), task.load().val) == ()


def test_a_classifier_has_no_gallery(tmp_path):
    make(tmp_path / "jets", replace(FLOAT, epochs=2, samples=200))
    assert gallery(of(tmp_path)) == ((), [])

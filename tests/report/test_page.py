import builtins
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pareq.errors import MissingExtra, ReportError
from pareq.report import report
from pareq.train import durable
from tests.report.runs import FLOAT, VARIANTS, edit, make, study

SHORT = tuple(replace(spec, epochs=3, samples=400) for spec in VARIANTS[::3])
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """The elements of a page; refuses ends that fit no begin."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(set(names)) == len(names), f"attribute given twice: {tag} {names}"
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((data, tuple(self.open)))

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("study")
    study(found, seeds=2, variants=SHORT)
    make(found / "open", replace(SHORT[1], seed=9), finished=False)
    (found / "damaged").mkdir()
    (found / "damaged" / "run.json").write_text("{", "utf-8")
    return found


@pytest.fixture(scope="module")
def page(folder):
    return report([folder], folder / "page.html").read_text("utf-8")


def test_page_is_well_formed_with_unique_ids(page):
    outline = Outline(page)
    ids = [a["id"] for _, a, _ in outline.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes, _ in outline.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
        for value in attributes.values():
            for target in re.findall(r"url\(#([^)]+)\)|^#(.+)$", value or ""):
                assert "".join(target) in [*ids, *ids] or value.startswith("#01")


def test_page_needs_nothing_else(page):
    outline = Outline(page)
    assert not outline.all("script")
    assert not outline.all("img")
    assert [a["href"] for a in outline.all("link")] == ["data:,"]
    for _, attributes, _ in outline.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    assert not re.search(r"https?:|@import|@font-face", page)
    assert not re.search(r"url\((?!#)", page)


def test_every_figure_has_a_caption_a_label_and_a_table(page):
    outline = Outline(page)
    figures = outline.all("figure")
    assert len(figures) == 7  # ROC, cost, training, shrinking, layers, weights of two variants
    assert len(outline.all("figcaption")) == len(figures)
    pieces = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    for piece in pieces:
        assert 'class="data"' in piece
        assert "<table" in piece
        assert re.search(r"<td>[^<]+</td>", piece)
    pictures = [a for a in outline.all("svg") if a.get("aria-hidden") != "true"]
    assert len(pictures) > 15
    for picture in pictures:
        assert picture["role"] == "img"
        assert len(picture["aria-label"]) > 30
        assert picture["viewbox"]


def test_tables_have_captions_and_scoped_heads_and_scroll_by_themselves(page):
    outline = Outline(page)
    assert len(outline.all("caption")) == len(outline.all("table"))
    assert all(a["scope"] in ("row", "col") for a in outline.all("th"))
    for tag, _, parents in outline.elements:
        if tag == "table":
            assert parents[-1] == "div"
    assert page.count('<div class="scroll" tabindex="0" role="region"') == page.count("<table>")


def test_notes_list_what_is_left_out_and_what_is_incomplete(page, folder):
    text = re.sub(r"<[^>]+>", "", page[page.index('id="notes-title"') :])
    assert f"{folder / 'damaged'} run.json: is not JSON" in text
    assert f"{folder / 'open'} unfinished after epoch 3: its curves are drawn" in text


def test_provenance_names_recipe_command_versions_data_and_seeds(page):
    text = re.sub(r"<[^>]+>", " ", page[page.index('id="t1-origins"') :])
    for part in (
        "pareq train jets recipe.toml --out 0-seed1",
        "pareq 0.1.0, torch 2.13.0, Python 3.12.3",
        "generated jets, 110,000, sha256 3fa2c1",
        "1 and 2",
        "[[rules]]",
        "to = 0.8",
    ):
        assert part in text


def test_the_same_runs_give_the_same_bytes(page, folder):
    assert report([folder], folder / "again.html").read_text("utf-8") == page


def test_names_with_markup_stay_text(tmp_path):
    nasty = "<script>alert(\"x\")</script>&<b a='1'>"
    spec = replace(SHORT[0], label=nasty, data=nasty, classes=(nasty, "b"), task=nasty)
    folder = make(tmp_path / "a<b>&c", replace(spec, layers=(("<i>$x$</i>", 4, 4),)))
    edit(folder, "run.json", command=[nasty])
    (tmp_path / "d<i>").mkdir()
    page = report([tmp_path, tmp_path / "d<i>"], tmp_path / "out.html", nasty).read_text("utf-8")
    outline = Outline(page)
    tags = {tag for tag, _, _ in outline.elements}
    assert not tags & {"script", "b", "i"}
    titles = "".join(text for text, parents in outline.texts if parents[-1:] == ("title",))
    assert titles == nasty


def test_title_is_made_from_the_tasks_or_given(tmp_path):
    for number, task in enumerate(("jets", "digits")):
        make(tmp_path / str(number), replace(SHORT[0], task=task), finished=False)
    page = report([tmp_path], tmp_path / "a.html").read_text("utf-8")
    assert "<h1>Pruning and quantization of jets and digits</h1>" in page
    assert '<a href="#t2">digits</a>' in page
    page = report([tmp_path], tmp_path / "a.html", "My study").read_text("utf-8")
    assert "<title>My study</title>" in page


def test_runs_on_different_data_are_warned_of(tmp_path):
    make(tmp_path / "a", SHORT[0], finished=False)
    make(tmp_path / "b", replace(SHORT[1], data="other jets"), finished=False)
    page = report([tmp_path], tmp_path / "a.html").read_text("utf-8")
    assert "These runs do not share one data set" in page


def test_unfinished_run_alone_has_a_page(tmp_path):
    make(tmp_path / "a", SHORT[0], finished=False)
    outline = Outline(report([tmp_path], tmp_path / "a.html").read_text("utf-8"))
    assert len(outline.all("figure")) == 2


def test_report_makes_missing_folders_and_replaces_an_old_page(tmp_path):
    run = make(tmp_path / "a", SHORT[0], finished=False)
    out = tmp_path / "new" / "folder" / "page.html"
    assert report([run], out) == out
    out.write_text("old", "utf-8")
    report([run], out)
    assert "<h1>" in out.read_text("utf-8")
    assert [file.name for file in out.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("runs", "out", "title", "said"),
    [
        ((), "a.html", None, "report: no run was given; give the folder of a run"),
        (("none",), "a.html", None, "none: does not exist; give the folder of a run"),
        (("file",), "a.html", None, "file: is a file; give the folder of a run"),
        (("run",), "run", None, "run is a folder; give a file in it, such as"),
        (("run",), "a.pdf", None, "out: a file name that ends in .html was expected, got 'a.pdf'"),
        (("run",), "a", None, "out: a file name that ends in .html was expected, got 'a'"),
        (("run",), "a.html", "  ", "title: is empty; leave it out for one made from the tasks"),
        (("bad",), "a.html", None, "no run can be read: "),
        (("bad", "worse"), "a.html", None, "run.json: is not JSON"),
        (("bad", "worse"), "a.html", None, ", and 1 more like it"),
        (("run",), "file/a.html", None, "file/a.html cannot be written (File exists)"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, runs, out, title, said):
    make(tmp_path / "run", SHORT[0], finished=False)
    (tmp_path / "file").touch()
    for name in ("bad", "worse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{", "utf-8")
    with pytest.raises(ReportError) as caught:
        report([tmp_path / name for name in runs], tmp_path / out, title)
    assert str(caught.value).startswith("report: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_full_disk_leaves_the_old_page(tmp_path, monkeypatch):
    run = make(tmp_path / "run", SHORT[0], finished=False)
    out = tmp_path / "a.html"
    out.write_text("old", "utf-8")

    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    with pytest.raises(ReportError, match=r"report: .*a\.html"):
        report([run], out)
    assert out.read_text("utf-8") == "old"


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_extra_is_named(tmp_path, monkeypatch, package):
    run = make(tmp_path / "run", FLOAT, finished=False)
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtra, match=rf"report: {package} is not installed; run: pip"):
        report([run], tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()

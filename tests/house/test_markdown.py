"""What the written pages promise: links lead somewhere, commands exist, recipes are recipes."""

import re

from pareq.recipe.config import parse_recipe
from tests.house import reading
from tests.house.reading import ROOT, named

GENERATED = [ROOT / f"docs/reference/{name}.md" for name in ("commands", "python")]
PAGES = {named(p): p.read_text() for p in reading.files() if p.suffix == ".md"}


def test_links_lead_somewhere():
    """Relative links in every page: the file exists, and the heading in it."""
    broken = []
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)", reading.prose(text)):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (ROOT / page).parent / path if path else ROOT / page
            if target.resolve() in GENERATED:
                continue  # scripts/docs checks these
            if not target.exists():
                broken.append(f"{page}: {link}")
            elif anchor and anchor not in reading.anchors(target.read_text()):
                broken.append(f"{page}: {link} (no such heading)")
    assert broken == []


def test_make_targets_exist():
    """Every `make X` in a page is a target."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert {"demo", "test"} <= targets
    asked = {
        (page, name) for page, text in PAGES.items() for name in re.findall(r"`make ([a-z]+)", text)
    }
    assert asked
    assert {(page, name) for page, name in asked if name not in targets} == set()


def test_changelog_is_for_the_next_reader():
    """Keep a Changelog: an Unreleased section on top, with something in it."""
    text = PAGES["CHANGELOG.md"]
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert sections[0].startswith("[Unreleased]")
    assert re.findall(r"^- \S", sections[0], flags=re.MULTILINE)


def test_decisions_are_numbered_and_short():
    """docs/decisions/NNN-title.md: half a page, in the order taken, all on the index page."""
    index = PAGES["docs/decisions/index.md"]
    decisions = sorted(p for p in PAGES if re.match(r"docs/decisions/\d", p))
    assert [int(p.split("/")[-1][:3]) for p in decisions] == list(range(1, len(decisions) + 1))
    for page in decisions:
        name = page.split("/")[-1]
        assert f"({name})" in index, f"{name} is not on the index page"
        assert len(PAGES[page].split()) <= 450, f"{name} is longer than half a page"


def test_recipes_in_pages_are_recipes():
    """TOML in the documentation is read as a recipe file is."""
    texts = [
        (page, block)
        for page, text in PAGES.items()
        for block in re.findall(r"^```toml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    ]
    assert texts
    for page, block in texts:
        assert parse_recipe(block, page).rules

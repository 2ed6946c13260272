"""``docs/closers``: a page per closer, its table from ``figures.json``, its words from the same."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from isthmus.closers import METHODS

EXACT = tuple(name for name, m in METHODS.items() if m.guarantee == "exact")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "closers"
PAGES = ("README", *METHODS)
CONSTANTS = {".022", ".69"}
"""The noise level; the length of a centred query (root of 1 less the report's ``intra_cosine``)."""
every_page = pytest.mark.parametrize("name", PAGES)


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """``bench/closers_pages.py``."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "bench" / "closers_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(pages: ModuleType) -> list[dict[str, Any]]:
    """All figures."""
    return pages.rows_of(FOLDER / "figures.json")


def text(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def prose(name: str) -> str:
    """A page without its table."""
    head, _, rest = text(name).partition("<!-- figures -->")
    return head + rest.partition("<!-- end of figures -->")[2]


def test_tables_are_those_of_the_figures() -> None:
    script = [sys.executable, str(ROOT / "bench" / "closers_pages.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "behind: none\n")


def test_every_closer_has_its_page_and_its_figures(rows: Any) -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == set(PAGES)
    for name in METHODS:
        mine = [row for row in rows if row["closer"] == name]
        assert {row["direction"] for row in mine} == {"a_to_b", "b_to_a"}
        assert {row["data"] for row in mine} == {row["data"] for row in rows}
        if name in EXACT:
            for row in mine:
                if row["guarantee"] == "exact":
                    assert row["clean"] == 1, row


@pytest.mark.parametrize("name", list(METHODS))
def test_a_page_says_what_a_reader_needs(name: str) -> None:
    page = text(name)
    assert page.startswith(f"# `{name}`\n")
    assert 20 <= len(page.splitlines()) <= 50
    for part in (
        "**Guarantee.**",
        "**Use it when**",
        "**Not when**",
        "**Costs**",
        "## What it did",
    ):
        assert part in page, part
    assert f"[`{name}`]({name}.md)" in text("README")


@pytest.mark.parametrize("name", list(METHODS))
def test_numbers_in_the_words_are_figures(name: str, rows: Any, pages: ModuleType) -> None:
    """Every .123 and every 12 % of a page is a figure of its closer or of one that it names."""
    page = prose(name)
    named = {name, "none", *re.findall(r"\]\(([\w-]+)\.md", page)}
    marks = ("r1", "clean", "noise", "noise_each", "rabitq_r1", "rabitq")
    values = [row[m] for row in rows if row["closer"] in named for m in marks]
    shares = {pages.share(value) for value in values if value is not None} | CONSTANTS
    printed = re.findall(r"(?<![\w.])\.\d{2,3}\b", page)
    assert [number for number in printed if number not in shares and len(number) > 3] == []
    mine = [row["clean"] for row in rows if row["closer"] == name]
    percents = {95} | {round(100 * v) for c in mine for v in (c, 1 - c)}
    assert [p for p in re.findall(r"(\d+) %", page) if int(p) not in percents] == []


@every_page
def test_links_lead_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\(((?:\.\./)?[\w-]+\.md)?(?:#([\w-]+))?\)", text(name)):
        path = FOLDER / (target or f"{name}.md")
        assert path.is_file(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{target}#{anchor}"

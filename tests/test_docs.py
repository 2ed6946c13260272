"""The pages under ``docs/``: their examples run, and what they list is what the code has.

A runnable example is a Python block right below a line ``<!-- runnable: NAME -->``. The blocks of a
page run in order, in one namespace, in a folder with ``images.npy``, ``captions.npy`` (40 pairs in
96 dimensions, not unit norm) and the closer that the page's own command writes.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.cli.close import command as close
from isthmus.closers import METHODS
from isthmus.data.row_stats import BROKEN, NOTES
from isthmus.robustness import COLUMNS
from isthmus.search.scores import Ranking, top1
from isthmus.workflows.audits import audit

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "isthmus"
FOUND = sorted(p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md"))
PAGES = tuple(name for name in FOUND if not name.startswith("reference/"))  # these are made
BLOCK = re.compile(r"^<!-- runnable: ([\w-]+) -->\n```python\n(.*?)^```$", re.M | re.S)


def page(name: str) -> str:
    """The text of one page."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def run_blocks(name: str) -> tuple[dict[str, Any], list[str]]:
    """Run a page's examples; what they leave behind, and their names."""
    left: dict[str, Any] = {}
    names = []
    for block in BLOCK.finditer(page(name)):
        exec(compile(block[2], f"docs/{name}.md: {block[1]}", "exec"), left)
        names.append(block[1])
    return left, names


@pytest.fixture
def rows(pairs_wide, tmp_path, monkeypatch) -> tuple[np.ndarray, np.ndarray]:
    """Two files of float32 rows that are not unit norm, in the working folder; unit rows back."""
    monkeypatch.chdir(tmp_path)
    lengths = np.random.default_rng(11).uniform(0.5, 2.0, (2, len(pairs_wide[0]), 1))
    for name, side, length in zip(("images", "captions"), pairs_wide, lengths):
        np.save(f"{name}.npy", (side * length).astype(np.float32))
    return pairs_wide


@pytest.fixture
def plain(rows) -> np.ndarray:
    """Answers of plain search."""
    return top1(Ranking.of(*rows, "cosine"))


def plain_of(queries: str, candidates: str) -> np.ndarray:
    """Answers of plain cosine search between two files."""
    return top1(Ranking.of(np.load(f"{queries}.npy"), np.load(f"{candidates}.npy"), "cosine"))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """A real report, small."""
    from worlds import two_modalities

    a, b = two_modalities(60, 24, seed=3)
    return audit(a, b, trials=2).report


def test_files_examples_run(rows, plain, capsys):
    close("images.npy", "captions.npy", out=Path("closer.safetensors"))
    capsys.readouterr()
    left, names = run_blocks("files")
    assert names == ["by-hand", "header", "through-isthmus"]
    np.testing.assert_array_equal(left["answers"], plain)
    np.testing.assert_array_equal(left["through"], plain)
    np.testing.assert_allclose(
        left["scores"], left["moved"] @ left["kept"].T + left["stored"], atol=1e-6
    )
    assert capsys.readouterr().out == "center-queries dot exact\n"


def test_closing_examples_run(rows, plain, capsys):
    left, names = run_blocks("closing")
    assert names == ["fitting", "inner-product", "cosine"]
    np.testing.assert_array_equal(left["scores"].argmax(axis=1), plain)
    np.testing.assert_array_equal(left["before"], plain)
    np.testing.assert_array_equal(left["after"], plain)
    np.testing.assert_array_equal(left["by_cosine"], plain)
    added = left["stored"][:, -1]
    assert added.min() >= left["low"] - 1e-6
    assert added.max() <= left["high"] + 1e-6
    assert "0 answers changed" in (said := capsys.readouterr().out)
    assert "40 of 40 answers the same" in said


def test_without_the_evening_coordinate_cosine_answers_differ(rows, plain, capsys):
    left, _ = run_blocks("closing")
    assert (left["by_uneven"] != plain).any()


TASKS = ("gap", "close", "stress", "recommend", "compare", "calibrate")


def test_python_examples_run(rows, plain, capsys):
    pytest.importorskip("pandas")
    shutil.copy("images.npy", "new.npy")
    left, names = run_blocks("python")
    assert names == [*TASKS, "refused"]
    np.testing.assert_array_equal(left["answers"], plain_of("captions", "images"))
    assert left["low"] < left["gap"]["norm"] < left["high"]
    assert set(left["frame"]["closer"]) == {"none", "center-both"}
    assert Path("closer.safetensors").is_file()
    assert Path("match.json").is_file()
    out = capsys.readouterr().out
    for said in ("severe", "consistency", "within the limit", left["advice"].name, "no-such-file"):
        assert said in out


def test_python_tasks_are_short():
    blocks = {block[1]: block[2] for block in BLOCK.finditer(page("python"))}
    for name in TASKS:
        lines = [line for line in blocks[name].splitlines() if line and "import" not in line]
        assert 0 < len(lines) <= 6, name


def test_every_warning_has_its_line():
    codes = set(BROKEN | NOTES)
    for path in SOURCE.rglob("*.py"):
        codes |= set(re.findall(r'InputWarning\(\s*"([a-z-]+)"', path.read_text(encoding="utf-8")))
    assert len(codes) >= 9
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", page("warnings"), re.M))
    assert listed == codes


@pytest.mark.parametrize("name", ["closing", "formulas/closers"])
def test_every_closer_is_documented(name):
    assert [c for c in METHODS if f"`{c}`" not in page(name)] == []


def test_every_stress_column_is_documented(report):
    columns = set(COLUMNS) | set(report["directions"][0]["stress"][0])
    assert [c for c in sorted(columns) if f"`{c}`" not in page("files")] == []


def test_every_report_key_is_documented(report):
    direction = report["directions"][0]
    keys = set(report) | set(report["inputs"]) | set(report["inputs"]["a"])
    keys |= set(report["gap"]) | set(report["mixed"]) | set(direction) | set(direction["radius"])
    for part in ("clean", "closable", "recommendation"):
        keys |= set(direction[part])
    for part in ("closers", "closing_curve"):
        keys |= set(direction[part][0])
    text = page("files").replace("`recall@1`", "`recall@1` `recall@1_ci`")
    keys -= {"recall@5_ci", "recall@10_ci"}
    assert [k for k in sorted(keys) if f"`{k}`" not in text] == []


def test_every_gap_key_has_its_formula(report):
    text = page("formulas/gap")
    assert [k for k in report["gap"] if not re.search(rf"[`.]{k}[`.]", text)] == []


def test_every_folder_is_named():
    found = {p.name for p in SOURCE.glob("*.py")}
    found |= {f"{p.name}/" for p in SOURCE.iterdir() if (p / "__init__.py").is_file()}
    assert [f for f in sorted(found) if f"`{f}`" not in page("architecture")] == []


@pytest.mark.parametrize("name", [*PAGES, "../README", "../CONTRIBUTING", "../CHANGELOG"])
def test_links_lead_somewhere(name):
    here = DOCS / f"{name}.md"
    links = r"\]\(([\w./-]+\.(?:md|svg))?(?:#([\w-]+))?\)"
    for target, anchor in re.findall(links, page(name)):
        path = here.parent / target if target else here
        assert path.is_file(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads}
            assert anchor in slugs, f"{target}#{anchor}"

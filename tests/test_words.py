"""Words that only this project used do not come back as names in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import isthmus

PACKAGE = Path(isthmus.__file__).parent

GONE = {
    "bench": "a measured reference, a suite",
    "beside": "what is counted, such as floats_per_candidate",
    "caution": "InputWarning",
    "cell": "Perturbation",
    "census": "RowStats",
    "door": "open_rows, open_task",
    "ground": "RetrievalTask",
    "halves": "split",
    "play": "ClosedSearch",
    "played": "ClosedSearch",
    "player": "closer",
    "problem": "RetrievalTask, task",
    "room": "folder",
    "told": "what the value is",
    "truth": "Relevance, relevance",
}
"""Word -> what is said instead (docs/architecture.md)."""
MEANT = {("report", "cell"), ("data", "cell"), ("perturb", "cell")}
"""(folder, word) where it has its ordinary meaning: a cell of a table, of a quantiser's grid."""


def names_in(text: str) -> set[str]:
    """Every name that the code binds or asks for: functions, classes, arguments, attributes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        for attribute in ("id", "arg", "attr", "name", "asname"):
            value = getattr(node, attribute, None)
            if isinstance(value, str):
                found.update(value.split("."))
    return found


def gone_in(text: str, folder: str = "core") -> list[str]:
    """Names that hold such a word: ``plural_cells`` and ``CellTable`` hold "cell"."""
    found = []
    for name in sorted(names_in(text)):
        parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
        words = {part.lower().removesuffix("s") for part in parts} | {p.lower() for p in parts}
        found += [f"{name}: say {GONE[w]}" for w in words & set(GONE) if (folder, w) not in MEANT]
    return found


def test_plain_words() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE)
        names = gone_in(path.read_text(encoding="utf-8"), where.parts[0])
        names += [f"file name: say {GONE[w]}" for w in set(GONE) & set(path.stem.split("_"))]
        if names:
            found[where.as_posix()] = names
    assert found == {}


def test_no_file_says_stored_number_for_candidate_bias() -> None:
    """``stored_number`` stays the key of exported files, which others read."""
    here = Path(__file__)
    texts = [*PACKAGE.rglob("*.py"), *here.parent.rglob("*.py")]
    root = here.parent.parent
    texts += [p for name in ("bench", "docs") for p in (root / name).rglob("*.[pm][yd]")]
    said = {p.name for p in texts if p != here and "stored number" in p.read_text("utf-8").lower()}
    assert said <= {"dtypes.py"}  # numbers of a file that are decoded


@pytest.mark.parametrize(
    "code",
    [
        "def truth_of(): pass",
        "x.told",
        "f(beside=1)",
        "class Census: pass",
        "import a.door",
        "CELLS",
    ],
)
def test_the_check_can_fail(code: str) -> None:
    assert len(gone_in(code)) == 1


def test_the_check_lets_plain_words_pass() -> None:
    assert gone_in("background = stats.relevance; display(cancelled, grounded)") == []

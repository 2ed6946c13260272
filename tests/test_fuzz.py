"""Mutated inputs on a fixed seed, and the corpus of those that were faults once (``fuzz.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fuzz import CORPUS, TARGETS, judged, run

INPUTS = 30
CASES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs(name: str, tmp_path: Path) -> None:
    counts, faults = run(name, iter(range(INPUTS)), 1, tmp_path)
    assert not faults
    refusals = sum(count for said, count in counts.items() if said.startswith(("ref", "stric")))
    assert min(counts["equal"], refusals) > 0  # neither all sound nor all broken


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_corpus(path: Path, tmp_path: Path) -> None:
    case = Path(shutil.copy(path, tmp_path / f"case{path.suffix}"))
    assert not judged(path.parent.name, case).startswith("fault")


def test_the_corpus_has_something_for_every_reader() -> None:
    assert {path.parent.name for path in CASES} <= set(TARGETS)
    assert len(CASES) > 20

"""Marks of the ruler for rows after a real disturbance, against searches by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run
from isthmus.report.overview import overview_lines
from isthmus.report.table import detailed_lines
from isthmus.workflows.audits import audit
from isthmus.workflows.audits.disturbed import _size
from refusals import refused
from worlds import two_modalities, unit_rows


def by_hand(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """First answers by cosine."""
    return np.array([int(np.argmax([q @ c for c in candidates])) for q in queries])


@pytest.fixture(scope="module")
def sides() -> dict[str, Any]:
    """Two sides, and both after moves that are large along one axis."""
    a, b = (unit_rows(side) for side in two_modalities(60, 24, seed=3))
    moves = np.random.default_rng(4).normal(size=(2, 60, 24)) * 0.02
    moves[:, :, 2] *= 12
    return {"a": a, "b": b, "JPEG": 3 * unit_rows(a + moves[0]), "edit": unit_rows(b + moves[1])}


@pytest.fixture(scope="module")
def report(sides: dict[str, Any]) -> dict[str, Any]:
    """Rows of another length, as cosine search takes them."""
    given = {
        "disturbed_queries": {"JPEG": sides["JPEG"]},
        "disturbed_candidates": {"edit": sides["edit"]},
    }
    return audit(sides["a"], sides["b"], trials=1, **given).report


@pytest.mark.parametrize("direction", [0, 1])
def test_a_mark_is_what_a_search_of_the_disturbed_rows_finds(
    sides: dict[str, Any], report: dict[str, Any], direction: int
) -> None:
    ruler = report["directions"][direction]["ruler"]
    assert [m["total_variance"] for m in ruler] == sorted(m["total_variance"] for m in ruler)
    found = {m["disturbance"]: m for m in ruler}
    roles = [("a", "JPEG"), ("b", "edit")][:: -1 if direction else 1]
    (queries, asked), (candidates, stored) = ((sides[s], n) for s, n in roles)
    today = by_hand(queries, candidates)
    for name, target, answers, clean in (
        (asked, "queries", by_hand(unit_rows(sides[asked]), candidates), queries),
        (stored, "candidates", by_hand(queries, unit_rows(sides[stored])), candidates),
    ):
        moves = unit_rows(sides[name]) - clean
        mark = found[name]
        assert mark["target"] == target
        assert mark["flips"] == pytest.approx(np.mean(answers != today))
        assert mark["flips"] > 0
        size = np.mean([move @ move for move in moves])
        assert mark["total_variance"] == pytest.approx(size)
        assert mark["relative"] == pytest.approx(size)
        assert mark["shared"] == pytest.approx(np.sum(moves.mean(axis=0) ** 2) / size)
        assert mark["directions"] < 3
    assert {m["target"] for name, m in found.items() if name not in ("JPEG", "edit")} == {
        "candidates"
    }


@pytest.mark.parametrize("rows", [40, 400])
def test_directions_are_those_of_the_covariance_with_few_rows_too(rows: int) -> None:
    """(tr S)² / tr S² of the covariance that the moves were drawn with, over 200 draws."""
    variances = np.geomspace(1, 1e-3, 60)
    expected = variances.sum() ** 2 / (variances**2).sum()
    rng = np.random.default_rng(0)
    clean = np.ones((rows, 60))
    found = [
        _size(rng.normal(size=(rows, 60)) * np.sqrt(variances), clean)["directions"]
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(expected, rel=0.02)
    even = [_size(rng.normal(size=(rows, 60)), clean)["directions"] for _ in range(50)]
    assert np.mean(even) == pytest.approx(60, rel=0.05)


def test_a_move_of_all_rows_alike_has_one_direction_and_nothing_has_none() -> None:
    clean = np.ones((30, 5))
    same = _size(np.full((30, 5), 0.5), clean)
    assert same == pytest.approx(
        {"total_variance": 1.25, "relative": 0.25, "directions": 1.0, "shared": 1.0}
    )
    none = _size(np.zeros((30, 5)), clean)
    assert none == {"total_variance": 0.0, "relative": 0.0, "directions": None, "shared": None}


@pytest.mark.usefixtures("no_verdict")
def test_repeated_rows_and_samples_find_their_disturbed_rows(sides: dict[str, Any]) -> None:
    """Rows that are left out are left out of both."""
    a, b = sides["a"], sides["b"]
    order = np.concatenate([[5, 5, 0], np.arange(60)])
    given = {"JPEG": sides["JPEG"][order]}
    options = {"trials": 1, "relevance": np.stack([np.arange(63), order], axis=1)}
    for most in (2000, 40):
        report = audit(a[order], b, disturbed_queries=given, max_queries=most, **options).report
        (mark,) = [m for m in report["directions"][0]["ruler"] if m["disturbance"] == "JPEG"]
        assert mark["total_variance"] == pytest.approx(
            ((unit_rows(sides["JPEG"]) - a) ** 2).sum(axis=1).mean(), rel=0.2
        )


def test_the_ruler_is_told_in_terminal_and_page(report: dict[str, Any]) -> None:
    from isthmus.report.render import render_html

    lines = "\n".join(str(part) for part in detailed_lines(report)).split("\n")
    said = [line for line, _ in overview_lines(report)]
    short = [line for line in said if not line.endswith((".", ":"))]  # sentences may be broken
    assert max(map(len, lines + short)) <= 80
    (mark,) = [m for m in report["directions"][0]["ruler"] if m["disturbance"] == "JPEG"]
    (line,) = [line for line in short if line.startswith("JPEG, on image")]
    assert f" {mark['flips']:.1%}, E|e|^2 {mark['total_variance']:.3g} " in line
    assert sum("JPEG, on image" in line and "of 24" in line for line in lines) == 2
    assert sum("edit, on text" in line for line in lines) == 2
    assert any("over how many the moves" in line for line in lines)
    page = render_html(report)
    assert page.count("JPEG, on image") == 2


@pytest.mark.usefixtures("no_verdict")
def test_rows_that_do_not_fit_are_refused(sides: dict[str, Any]) -> None:
    a, b = sides["a"], sides["b"]
    with refused("unequal-shapes", "59 × 24"):
        audit(a, b, disturbed_queries={"JPEG": a[:-1]})
    with refused("unequal-shapes", "60 × 23"):
        audit(a, b, disturbed_candidates={"edit": b[:, 1:]})
    bad = b.copy()
    bad[7, 3] = np.nan
    with refused("not-finite", "edit"):
        audit(a, b, trials=1, disturbed_candidates={"edit": bad})


def test_the_command_takes_names_and_files(
    sides: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "JPEG"):
        np.save(tmp_path / f"{name}.npy", sides[name])
    words = ["audit", f"{tmp_path}/a.npy", f"{tmp_path}/b.npy", "--out", f"{tmp_path}/out"]
    words += ["--trials", "1", "--verbose", "--disturbed-queries"]
    code, out, _ = run(capsys, *words, f"JPEG 30={tmp_path}/JPEG.npy")
    assert code == 0
    assert "JPEG 30, on image" in out
    for wrong in (["JPEG 30"], ["=x.npy"], ["J=x", "--disturbed-queries", "J=y"]):
        code, _, err = run(capsys, *words, *wrong)
        assert code == 1
        assert "expected NAME=FILE" in err

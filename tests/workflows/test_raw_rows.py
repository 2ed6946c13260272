"""Rows that are not of unit norm under a score that sees norms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.core.levels import total_variance
from isthmus.data.row_stats import RowStats
from isthmus.report.table import detailed_lines
from isthmus.robustness import stress
from isthmus.theory.prediction import predict
from isthmus.workflows.audits import audit
from isthmus.workflows.recommendation import recommend
from worlds import two_modalities

LEVELS = (0.02,)


def test_a_scale_changes_no_share_of_answers() -> None:
    """All rows eight times as long: the same flips, verdict and severity, by levels as shares."""
    a, b = two_modalities(60, 32, seed=1)
    unit, long = (
        audit(s * a, s * b, score="dot", levels=LEVELS, trials=4).report for s in (1.0, 8.0)
    )
    assert [r["inputs"]["convention"] for r in (unit, long)] == ["total", "relative"]
    assert long["gap"]["norm"] == pytest.approx(8 * unit["gap"]["norm"])
    assert long["gap"]["relative_norm"] == pytest.approx(unit["gap"]["norm"])
    assert long["gap"]["severity"] == unit["gap"]["severity"]
    for one, other in zip(unit["directions"], long["directions"], strict=True):
        for row, scaled in zip(one["stress"], other["stress"], strict=True):
            if row["family"] == "gaussian":
                assert scaled["convention"] == "relative"
                assert scaled["consistency"] == pytest.approx(row["consistency"], abs=0.02)
        for entry, scaled in zip(one["verdict"], other["verdict"], strict=True):
            assert scaled["flips_before"] == pytest.approx(entry["flips_before"], abs=0.03)
        sizes = [{e["disturbance"]: e for e in d["ruler"]} for d in (one, other)]
        for name, entry in sizes[0].items():
            assert sizes[1][name]["relative"] == pytest.approx(entry["relative"], rel=0.02)
            assert sizes[1][name]["total_variance"] > 50 * entry["total_variance"]
    sure = {r["level"]: r["consistency"] for r in unit["directions"][0]["stress"]}
    assert sure[LEVELS[0]] < 0.95


def test_recommend_takes_levels_as_shares_too() -> None:
    a, b = two_modalities(60, 12, seed=2)
    options: dict[str, Any] = {"levels": 0.02, "closers": "none", "trials": 6}
    advice = recommend(10 * a, 10 * b, score="dot", **options)
    assert advice.setup["convention"] == "relative"
    assert advice.plain.test.flips == pytest.approx(
        recommend(a, b, score="dot", **options).plain.test.flips, abs=0.02
    )
    said = recommend(10 * a, 10 * b, score="dot", convention="total", **options)
    assert said.setup["convention"] == "total"
    assert said.plain.test.flips < advice.plain.test.flips
    assert recommend(10 * a, 10 * b, **options).setup["convention"] == "total"


def test_stress_takes_levels_as_shares_too() -> None:
    a, b = two_modalities(60, 12, seed=2)
    options: dict[str, Any] = {"score": "dot", "levels": (0.02,), "closers": "none", "trials": 6}
    unit, long = (stress(s * a, s * b, **options).rows()[0] for s in (1, 8))
    assert (unit["convention"], long["convention"]) == ("total", "relative")
    assert long["consistency"] == pytest.approx(unit["consistency"], abs=0.02)
    said = stress(8 * a, 8 * b, convention="total", **options).rows()[0]
    assert said["consistency"] > long["consistency"]


def test_relative_is_a_share_of_the_squared_norm() -> None:
    assert total_variance(0.5, "relative", 7, 3.0, 8.0) == 4.0
    a, b = two_modalities(40, 8, seed=3)
    options: dict[str, Any] = {"score": "dot", "noise": 0.02, "normalised": False}
    square = float((b**2).sum(axis=1).mean())
    share = predict(a, b, convention="relative", **options).flips
    options["noise"] *= square
    assert share == pytest.approx(predict(a, b, **options).flips)


@pytest.mark.parametrize("score", ["cosine", "dot"])
def test_every_score_as_a_store_computes_it_on_the_file(score: str) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(50, 24)) + 1
    b = a + 0.2 * rng.normal(size=(50, 24))
    b *= rng.uniform(0.5, 3, size=(50, 1))
    report = audit(a, b, score=score, levels=LEVELS, trials=1).report
    found = {row["score"]: row for row in report["directions"][0]["by_score"]}
    length = np.linalg.norm(b, axis=1)
    scores = {
        "dot": a @ b.T,
        "cosine": a @ b.T / length,
        "euclidean": -np.linalg.norm(a[:, None] - b[None], axis=2),
    }
    assert next(iter(found)) == score
    for name, table in scores.items():
        answers = table.argmax(axis=1)
        assert found[name]["accuracy"] == pytest.approx((answers == np.arange(50)).mean())
        same = (answers == scores[score].argmax(axis=1)).mean()
        assert found[name]["agreement"] == pytest.approx(same)
    text = " ".join(" ".join(map(str, detailed_lines(report))).split())
    other = {"cosine": "dot", "dot": "cosine"}[score]
    assert f"{other} answers {1 - found[other]['agreement']:.1%} of queries otherwise" in text


@pytest.mark.usefixtures("no_verdict")
def test_a_zero_row_has_no_cosine_to_be_compared_with() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30, 5))
    b[3] = 0
    report = audit(a, b, score="dot", levels=LEVELS, trials=1).report
    assert [r["score"] for r in report["directions"][0]["by_score"]] == ["dot", "euclidean"]


@pytest.mark.usefixtures("no_verdict")
def test_the_warning_speaks_of_the_score_in_use() -> None:
    stats = RowStats.of(np.full((30, 4), 3.0) * np.arange(1, 31)[:, None])
    assert "normalised before" in stats.warnings("rows")[0].text
    text = stats.warnings("rows", "dot")[0].text
    assert "sees norms" in text
    assert "under the cosine" not in text
    a, b = two_modalities(40, 8, seed=3)
    for score, words in (("dot", "sees norms"), ("cosine", "under the cosine score")):
        report = audit(5 * a, 5 * b, score=score, levels=LEVELS, trials=1).report
        texts = [w["text"] for w in report["warnings"] if w["code"] == "not-unit-norm"]
        assert len(texts) == 2
        assert all(words in text for text in texts)

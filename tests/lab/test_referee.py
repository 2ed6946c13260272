"""The referee's figures against lines fitted one by one, and its rows from the kept data."""

from __future__ import annotations

import json

import numpy as np
import pytest

import isthmus as im
from commands import run
from isthmus.lab.referee import METRICS, OUTCOMES, kept_runs, left_out_squares, recipe_sums, student


def slow(x: np.ndarray, y: np.ndarray, recipes: np.ndarray) -> float:
    """Leave one recipe out, fit a line by least squares, predict; copies of a recipe together."""
    line = mean = 0.0
    for recipe in np.unique(recipes):
        out = recipes == recipe
        slope, start = np.polyfit(x[~out], y[~out], 1)
        line += ((y[out] - start - slope * x[out]) ** 2).sum()
        mean += ((y[out] - y[~out].mean()) ** 2).sum()
    return 1 - line / mean


@pytest.fixture
def world(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """24 runs of 8 recipes whose outcome follows the metric loosely."""
    recipes = np.repeat(np.arange(8), 3)
    x = rng.normal(size=8)[recipes] + 0.1 * rng.normal(size=24) + 40
    return x, 0.5 * x + 0.3 * rng.normal(size=24), recipes


def test_the_left_out_square_is_that_of_lines_fitted_one_by_one(world, rng) -> None:
    x, y, recipes = world
    sums = recipe_sums(x, y, recipes)
    assert left_out_squares(sums, np.ones((1, 8)))[0] == pytest.approx(slow(x, y, recipes))
    weights = np.array([2, 0, 1, 1, 3, 0, 1, 0])
    again = np.concatenate(
        [np.tile(np.flatnonzero(recipes == r), w) for r, w in enumerate(weights)]
    )
    wanted = slow(x[again], y[again], recipes[again])
    assert left_out_squares(sums, weights[None])[0] == pytest.approx(wanted)


def test_a_metric_without_spread_predicts_as_a_constant_does(world) -> None:
    _, y, recipes = world
    sums = recipe_sums(np.full(24, 3.0), y, recipes)
    assert left_out_squares(sums, np.ones((1, 8)))[0] == pytest.approx(0)


def test_a_metric_of_noise_predicts_nothing(rng) -> None:
    recipes = np.repeat(np.arange(40), 3)
    noise = [rng.normal(size=120) for _ in range(2)]
    assert left_out_squares(recipe_sums(*noise, recipes), np.ones((1, 40)))[0] < 0.1


def test_students_interval_is_scipys() -> None:
    from scipy.stats import ttest_1samp

    values = np.array([0.1, 0.25, 0.4])
    wanted = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert student(values) == pytest.approx((wanted.low, wanted.high))
    assert student(values[:1]) == (None, None)


def test_the_kept_data_are_what_the_plan_says() -> None:
    runs = kept_runs()
    assert len(runs) == 45
    by_recipe = {
        r: sorted(x["seed"] for x in runs if x["recipe"] == r) for r in {x["recipe"] for x in runs}
    }
    assert len(by_recipe) == 15
    assert all(seeds == [0, 1, 2] for seeds in by_recipe.values())
    for found in runs:
        assert found["epochs"] == 60
        assert set(METRICS) == set(found["metrics"])
        assert set(OUTCOMES) == set(found["outcomes"])
        assert all(0 <= found["outcomes"][name] <= 1 for name in OUTCOMES)


def test_the_command_prints_a_row_per_metric_and_outcome(tmp_path, capsys) -> None:
    code, out, _ = run(capsys, "lab", "referee", "--json", "--out", tmp_path)
    assert code == 0
    rows = json.loads(out)
    assert {(r["metric"], r["outcome"]) for r in rows} == {
        (m, o) for m in METRICS for o in OUTCOMES
    }
    runs = kept_runs()
    names = sorted({found["recipe"] for found in runs})
    recipes = np.array([names.index(found["recipe"]) for found in runs])
    for row in rows:
        assert row["lo"] <= row["hi"]
        x = np.array([found["metrics"][row["metric"]] for found in runs])
        y = np.array([found["outcomes"][row["outcome"]] for found in runs])
        assert row["r2"] == pytest.approx(slow(x, y, recipes), abs=1e-9)
    assert (tmp_path / "referee-flips.svg").is_file()


def test_closing_rows_are_differences_by_seed() -> None:
    rows = im.lab["closing"].run().rows()
    runs = {(r["recipe"], r["seed"]): r["afterwards"] for r in kept_runs()}
    seeds = sorted(s for name, s in runs if name == "offset")
    for row in rows:
        if (row["start"], row["way"], row["measure"]) == ("offset", "center-both", "mixed"):
            wanted = [
                runs["offset", s]["center-both"]["mixed"] - runs["offset", s]["none"]["mixed"]
                for s in seeds
            ]
            assert row["difference"] == pytest.approx(np.mean(wanted))
    assert all(row["difference"] == 0 for row in rows if row["when"] == "as it is")
    exact = [r for r in rows if r["way"] in ("center-queries", "center-both")]
    assert all(abs(r["difference"]) < 1e-9 for r in exact if r["measure"] == "retrieval")

"""Numbers at the edge: intervals stay in their range; what cannot be measured is said in time."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest

import isthmus as im
from isthmus.core.statistics import grouped_jackknife
from isthmus.metrics.gap_report import BOUNDS
from isthmus.robustness.perturbations import check_noise
from refusals import refused
from worlds import unit_rows


def finite(value: Any) -> bool:
    """Whether JSON by its standard can say it."""
    return bool(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("count", [4, 5, 6, 9, 40])
@pytest.mark.parametrize("seed", range(8))
def test_intervals_stay_within_their_range(count: int, seed: int) -> None:
    """Few groups make Student's t wide: a cosine's interval reached from -5.5 to 7.2."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count, 3)) + rng.normal(size=(2, 1, 3)) * rng.choice([0.1, 1, 9])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gap = im.measure(a, b, paired=True)
    bounds = {name: BOUNDS.get(name, (0.0, 2.0)) for name in gap["intervals"]}
    for name, (low, high) in {**gap["intervals"], "norm": gap["norm_ci"]}.items():
        least, most = bounds[name]
        assert least <= low <= high <= most, name
    assert finite(gap.to_dict())


def test_an_interval_inside_its_range_is_student_s() -> None:
    """The log odds are for those that would leave it; both hold the value."""
    values = np.array([0.5, 0.52, 0.48, 0.51])
    near_one = np.array([0.9, 0.999, 0.99, 0.95])
    for some, moved in ((values, False), (near_one, True)):

        def without(g: int, some: np.ndarray = some) -> dict[str, float]:
            return {"x": float(np.delete(some, g).mean())}

        whole = {"x": float(some.mean())}
        plain = grouped_jackknife(without, whole, 4)["x"]
        bounded = grouped_jackknife(without, whole, 4, bounds={"x": (0.0, 1.0)})["x"]
        assert (bounded != plain) == moved
        assert 0 <= bounded[0] <= whole["x"] <= bounded[1] <= 1


@pytest.mark.parametrize("spread", [0.0, 1e-7])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    "job",
    [
        lambda a, b: im.audit(a, b),
        lambda a, b: im.recommend(a, b, perturb="gaussian"),
        lambda a, b: im.stress(a, b, perturb=["gaussian"], convention="spread"),
        lambda a, b: im.predict(a, b, noise=0.02),
        lambda a, b: im.plan(a, b),
    ],
    ids=["audit", "recommend", "stress", "predict", "plan"],
)
def test_a_side_that_is_one_vector_is_found_at_once(job: Any, side: int, spread: float) -> None:
    """Predictions took over 240 s on it; rows parallel to 1e-7 got .747, not .006."""
    rng = np.random.default_rng(0)
    rows = list(rng.normal(size=(2, 60, 8)))
    rows[side] = rows[side][:1] + spread * rng.normal(size=(60, 8))
    with refused("one-vector", "60 rows are one vector"):
        job(*rows)


def test_two_constant_sides_give_no_advice() -> None:
    with refused("one-vector"):
        im.recommend(np.ones((50, 4)), np.ones((50, 4)), perturb="gaussian")


def test_one_row_that_differs_is_a_side() -> None:
    rows = np.ones((50, 4))
    rows[7, 0] = 1.1
    assert im.measure(unit_rows(rows), np.random.default_rng(0).normal(size=(50, 4)))["norm"] > 0


@pytest.mark.parametrize("job", [im.audit, im.measure])
def test_a_number_whose_square_is_none_is_named(job: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 40, 6))
    rows[1, 3, 2] = 1e200
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refused("not-finite", "in 1 of 40 rows (row 3), or lengths beyond 1e+150"):
            job(*rows)


@pytest.mark.parametrize("level", [1e300, np.inf, np.nan, 0.0, -1.0])
def test_levels_that_say_nothing_are_refused(level: float) -> None:
    with refused("bad-level", "at most 1e+12"):
        check_noise([0.01, level], "total")
    rows = np.random.default_rng(0).normal(size=(2, 40, 6))
    with refused("bad-level"):
        im.recommend(*rows, perturb="gaussian", levels=[level])


def test_numbers_to_keep_are_numbers() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 40, 6))
    with refused("bad-level", "inf"):
        im.stress(*rows, perturb=["truncation"], kept=[np.inf])

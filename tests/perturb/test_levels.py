"""The three level conventions of the grid, and what "spread" is relative to."""

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.maps import AffineMap
from isthmus.data.moments import Moments
from isthmus.robustness import Perturbation, closed_searches, measure_perturbation
from isthmus.search.relevance import no_relevance
from isthmus.search.task import RetrievalTask


def setting(scale=3.0, n=60, d=10):
    """Plain search, and a closer that scales both sides: matched noise must flip the same."""
    rng = np.random.default_rng(4)
    queries, candidates = rng.standard_normal((n, d)), rng.standard_normal((n, d))
    half = np.arange(n // 2)
    task = RetrievalTask.of(
        queries, candidates, no_relevance(n, n), candidate_calibration=half, query_calibration=half
    )
    moments = Moments.of(queries, precise=True), Moments.of(candidates, precise=True)
    plain = fit("none", *moments, score="dot", normalised=False)
    grown = AffineMap(d, scale * np.eye(d))
    scaled = Closer("scaled", "dot", 1.0, grown, grown, Guarantee("dot", "exact", "a scale"))
    return task, closed_searches(task, [plain, scaled])


def test_spread_is_relative_to_each_closer_s_own_candidates():
    task, searches = setting()
    plain, scaled = measure_perturbation(
        task, searches, Perturbation("gaussian", "candidates", 0.3, "spread"), trials=6, seed=2
    )
    np.testing.assert_array_equal(plain.answers, scaled.answers)
    assert plain.predicted == pytest.approx(scaled.predicted, rel=1e-5)
    assert 0.2 < plain.kept.mean() < 0.98


def test_total_is_the_same_noise_for_everybody():
    task, searches = setting()
    plain, scaled = measure_perturbation(
        task, searches, Perturbation("gaussian", "candidates", 3.0, "total"), trials=6, seed=2
    )
    assert scaled.kept.mean() > plain.kept.mean() + 0.05


@pytest.mark.slow
def test_conventions_agree_where_they_mean_the_same_noise():
    task, searches = setting()
    spread = float(task.candidates.var(axis=0).sum())
    level = 1.5
    answers = []
    for convention, value in (
        ("total", level),
        ("coordinate", level / 10),
        ("spread", level / spread),
    ):
        # the stream is named by the level, so compare shares over many trials, not draws
        result = measure_perturbation(
            task,
            searches[:1],
            Perturbation("gaussian", "candidates", value, convention),
            trials=150,
            seed=3,
        )[0]
        answers.append(result.kept.mean())
        assert result.predicted == pytest.approx(answers[-1], abs=0.02)
    assert max(answers) - min(answers) < 0.02

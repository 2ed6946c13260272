"""A guarantee measured on rows: what counts as changed, as a near tie, as a promise kept."""

import numpy as np
import pytest

from isthmus.closers import fit
from isthmus.closers.closer import Closer, Guarantee
from isthmus.closers.maps import AffineMap
from isthmus.closers.verification import verify
from isthmus.data.moments import Moments
from refusals import refused
from worlds import two_modalities


def sides(n=40, k=30, d=7, seed=1):
    rng = np.random.default_rng(seed)
    queries = rng.standard_normal((n, d)) + 1.5 * np.eye(d)[0]
    return queries, rng.standard_normal((k, d))


def moved(step, score="dot", kind="exact"):
    """A closer that moves queries by ``step`` and promises what it is told to."""
    d = len(step)
    return Closer(
        "moved", score, 1.0, AffineMap(d, None, step), AffineMap(d), Guarantee(score, kind, "said")
    )


def test_counts_and_violation_are_those_of_a_double_loop():
    queries, candidates = sides()
    step = np.array([0.4, -0.3, 0, 0, 0.2, 0, 0])
    found = verify(moved(step, kind="none"), queries, candidates)
    changed, violation, margins = 0, 0.0, []
    for q in queries:
        before, after = candidates @ q, candidates @ (q + step)
        first = before.argmax()
        changed += first != after.argmax()
        margins.append(np.sort(before)[-1] - np.sort(before)[-2])
        violation = max(violation, np.abs((after[first] - after) - (before[first] - before)).max())
    assert 0 < changed < len(queries)
    assert found.changed == changed
    assert found.near_ties == 0
    assert found.clean_agreement == pytest.approx(1 - changed / len(queries))
    assert found.violation == pytest.approx(violation)
    assert found.margin == pytest.approx(np.median(margins))
    assert found.holds is None


def test_a_false_promise_is_found_and_a_true_one_kept():
    queries, candidates = sides()
    false = verify(moved(np.array([0.4, -0.3, 0, 0, 0.2, 0, 0])), queries, candidates)
    assert false.holds is False
    moments = Moments.of(queries, precise=True), Moments.of(candidates, precise=True)
    true = verify(fit("center-queries", *moments, normalised=False), queries, candidates)
    assert true.holds is True
    assert (true.changed, true.near_ties, true.clean_agreement) == (0, 0, 1.0)
    assert true.violation < 1e-12


def test_a_change_within_float32_rounding_is_named_apart():
    candidates = np.array([[1.0, 1.0], [1.0 + 1e-8, 0.0]])
    queries = np.array([[1.0, 0.0], [-1.0, 0.5]])
    found = verify(moved(np.array([0.0, 1e-6])), queries, candidates)
    assert (found.changed, found.near_ties) == (0, 1)
    assert found.clean_agreement == 0.5
    assert found.holds is True


def test_a_short_query_beside_a_long_one_is_judged_by_its_own_size():
    candidates = np.array([[1.0, 0.0], [0.0, 1.0]])
    queries = np.array([[1e6, 0.0], [2e-3, 1e-3]])
    found = verify(moved(np.array([0.0, 5e-3])), queries, candidates)
    assert (found.changed, found.near_ties) == (1, 0)
    assert found.holds is False


def test_a_small_margin_after_the_closer_excuses_nothing():
    candidates = np.array([[1.0, 0.0], [0.0, 1.0]])
    queries = np.array([[1.0, 0.5]])
    found = verify(moved(np.array([0.0, 0.5 + 1e-8])), queries, candidates)
    assert (found.changed, found.near_ties) == (1, 0)
    assert found.holds is False


def test_normalised_rows_are_compared_as_they_enter():
    queries, candidates = sides()
    moments = [
        Moments.of(x / np.linalg.norm(x, axis=1, keepdims=True), precise=True)
        for x in (queries, candidates)
    ]
    found = verify(fit("mean-shift", *moments), queries, candidates)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, candidates)]
    shifted = unit[0] - (moments[0].mean - moments[1].mean)
    agree = ((unit[0] @ unit[1].T).argmax(1) == (shifted @ unit[1].T).argmax(1)).mean()
    assert agree < 1
    assert found.clean_agreement == pytest.approx(agree)


def test_rows_that_slip_are_named_and_pairs_that_slip_are_not_fitted_on():
    queries, candidates = two_modalities(300, 32)
    slipped = np.delete(queries, 40, axis=0), candidates[:-1]
    for rows, codes in (((queries, candidates), []), (slipped, ["order-differs"])):
        found = verify(fit("center-queries", *rows), *rows)
        assert found.holds
        assert [w.code for w in found.warnings] == codes
        assert [w["code"] for w in found.to_dict()["warnings"]] == codes
    with refused("order-differs", "from row 40 on"):
        fit("procrustes", *slipped)
    assert fit("procrustes", *slipped, paired=True).name == "procrustes"

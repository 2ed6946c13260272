"""Contract of every closer: what it promises is held against what it does."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.closers import METHODS, fit, hull_rank, off_hull
from isthmus.closers.closer import Closer
from isthmus.closers.maps import AffineMap
from isthmus.data.moments import Moments
from isthmus.search.scores import SCORES, Ranking, top1
from refusals import refused
from worlds import fitted, full_scores, set_up, task_of, two_modalities, unit_rows

NAMES = tuple(METHODS)
Rows = tuple[np.ndarray, np.ndarray]


CENTRED = ("center-queries", "center-both")
LINEAR = (*CENTRED, "biased-shift", "span", "subspace", "low-rank-memo", "ridge-shift")
WHOLE = ("subspace", "low-rank-memo")  # strength 0 or 1
APART = ("centering", "distribution-normalization", "whitening")  # act on each side by itself
EXTRA: dict[str, list[dict[str, Any]]] = {
    "orthogonal-shift": [{"variance": v} for v in (None, 0.6, 1.0)],
    "mean-shift": [
        {"side": side, "renormalise": again}
        for side, again in itertools.product(("query", "candidate"), (True, False))
    ],
    "biased-shift": [{"side": "query"}, {"side": "candidate"}],
    "span": [{}, {"center": False}, {"variance": 0.8}],
    "subspace": [{}, {"variance": 0.8}, {"rank": 3}],
    "low-rank-memo": [{"rank": r} for r in (1, 2, 4)],
    "ridge-shift": [{}, {"noise": 0.01, "ridge": 2.0}],
    "centering": [{"renormalise": True}, {"renormalise": False}],
    "procrustes": [{}, {"scale": True}],
}


def scores_of(name: str) -> tuple[str, ...]:
    """Scores a closer takes."""
    if name in CENTRED:
        return ("dot",)
    return ("dot", "euclidean") if name in LINEAR else SCORES


def variants() -> list[tuple[str, dict[str, Any]]]:
    """Every closer with every score, side and normalisation it can be asked for."""
    return [
        (name, {"score": score, "normalised": normalised, **extra})
        for name, normalised in itertools.product(NAMES, (True, False))
        for score in scores_of(name)
        for extra in EXTRA.get(name, [{}])
    ]


def strength_of(name: str, strength: float) -> float:
    """A strength the closer takes."""
    return float(strength != 0) if name in WHOLE else strength


VARIANTS = variants()


def every_variant(test: Callable[..., None]) -> Callable[..., None]:
    """``test`` with each of a closer's options in turn, in one test a closer."""
    takes = inspect.signature(test)

    @wraps(test)
    def on_each(name: str, **given: Any) -> None:
        for options in (options for one, options in VARIANTS if one == name):
            try:
                test(name=name, options=options, **given)
            except BaseException as error:
                error.add_note(f"{name} with {options}")
                raise

    rest = [one for one in takes.parameters.values() if one.name != "options"]
    on_each.__signature__ = takes.replace(parameters=rest)  # type: ignore[attr-defined]
    return pytest.mark.parametrize("name", NAMES)(on_each)


def answers(closer: Closer, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Top-1 of a closed search, from the full score matrix."""
    q, c = closer.apply(queries, "query"), closer.apply(candidates, "candidate")
    if closer.score == "euclidean":  # the ranking quantity, in which a bias is stored
        totals = -0.5 * full_scores(q, c, "euclidean") ** 2
    else:
        totals = full_scores(q, c, closer.score)
    return (totals + closer.candidate_bias(candidates)[None, :]).argmax(axis=1)


def plain_answers(queries: np.ndarray, candidates: np.ndarray, score: str) -> np.ndarray:
    return full_scores(queries, candidates, score).argmax(axis=1)


# --- the promise ------------------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize(
    "strength", [1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.5, 1.7, -1.0))]
)
def test_a_closer_that_says_exact_changes_no_answer(
    name: str, options: dict[str, Any], strength: float
) -> None:
    for n, k, dim in ((30, 12, 20), (25, 40, 8), (40, 9, 9)):
        rng = np.random.default_rng(n)
        q, c = rng.normal(size=(n, dim)) + 1, rng.normal(size=(k, dim)) - 0.5
        c *= rng.uniform(0.5, 2, size=(k, 1))  # candidates of unequal norm
        q *= rng.uniform(0.5, 2, size=(n, 1))
        if options["normalised"]:  # what the moments are fitted on
            q, c = unit_rows(q), unit_rows(c)
        closer = fitted(name, q, c, strength=strength_of(name, strength), **options)
        if closer.guarantee.kind == "exact":
            before = plain_answers(q, c, closer.score)
            np.testing.assert_array_equal(answers(closer, q, c), before)
            assert set_up(task_of(q, c, _unjudged(n, k)), closer).clean_agreement.all()


@every_variant
def test_strength_zero_is_the_identity_on_answers(name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    q, c = rng.normal(size=(30, 6)) + 1, rng.normal(size=(20, 6)) * 2
    c *= rng.uniform(0.3, 3, size=(20, 1))
    if options["normalised"]:
        q, c = unit_rows(q), unit_rows(c)
    closer = fitted(name, q, c, strength=0.0, **options)
    assert closer.guarantee.kind == "exact"
    np.testing.assert_array_equal(answers(closer, q, c), plain_answers(q, c, closer.score))


@every_variant
def test_identical_modalities_change_no_answer(name: str, options: dict[str, Any]) -> None:
    rows = unit_rows(np.random.default_rng(2).normal(size=(25, 6)) + 0.5)
    closer = fitted(name, rows, rows, **options)
    if name in APART or (closer.guarantee.kind != "exact" and name in LINEAR):
        return  # these act on each side by itself, or trade answers for noise, gap or no gap
    if closer.guarantee.kind != "exact":  # matching and shifting one side onto itself: no move
        for role in ("query", "candidate"):
            plain = unit_rows(rows) if closer.map_of(role).normalised else rows
            np.testing.assert_allclose(closer.apply(rows, role), plain, atol=1e-7)
    np.testing.assert_array_equal(
        answers(closer, rows, rows), plain_answers(rows, rows, closer.score)
    )


@every_variant
def test_fitted_on_some_rows_it_applies_to_others(name: str, options: dict[str, Any]) -> None:
    a, b = two_modalities(40, 10, seed=1)
    c, d = two_modalities(17, 10, seed=2)
    closer = fitted(name, a, b, **options)
    assert closer.apply(c, "query").shape == (17, closer.query.dim_out)
    assert closer.apply(d, "candidate").shape == (17, closer.candidate.dim_out)
    assert closer.query.dim_out == closer.candidate.dim_out
    assert closer.candidate_bias(d).shape == (17,)
    if name in (
        *CENTRED,
        "biased-shift",
        "low-rank-memo",
        "none",
    ):  # exact for candidates the fit has never seen
        np.testing.assert_array_equal(answers(closer, c, d), plain_answers(c, d, closer.score))


@every_variant
def test_a_saved_closer_is_the_same_closer(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    a, b = two_modalities(12, 16, seed=4)
    closer = fitted(name, a, b, strength=strength_of(name, 0.7), **options)
    closer.save(tmp_path / "one.safetensors")
    back = Closer.load(tmp_path / "one.safetensors")
    back.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()
    assert (back.name, back.score, back.strength) == (closer.name, closer.score, closer.strength)
    assert back.guarantee == closer.guarantee
    assert dict(back.facts) == dict(closer.facts)
    for role in ("query", "candidate"):
        np.testing.assert_array_equal(back.apply(b, role), closer.apply(b, role))
    np.testing.assert_array_equal(back.candidate_bias(b), closer.candidate_bias(b))


@every_variant
def test_rows_come_back_in_their_own_float_dtype_and_unchanged(
    name: str, options: dict[str, Any]
) -> None:
    a, b = two_modalities(12, 16, seed=4)
    closer = fitted(name, a, b, **options)
    for role, rows in (("query", a), ("candidate", b)):
        exact = closer.apply(rows, role)
        assert exact.dtype == np.float64
        for dtype, out in (("float32", "float32"), ("float16", "float32")):
            given = rows.astype(dtype)
            before = given.copy()
            got = closer.apply(given, role)
            assert got.dtype == out
            scale = max(1.0, float(np.abs(exact).max()))
            atol = (3e-3 if dtype == "float16" else 1e-6) * scale
            np.testing.assert_allclose(got, exact, atol=atol)
            np.testing.assert_array_equal(given, before)


@given(
    n=st.integers(3, 20),
    k=st.integers(2, 20),
    dim=st.integers(2, 24),
    seed=st.integers(0, 99),
    strength=st.floats(-2, 2),
    variant=st.sampled_from(VARIANTS),
)
def test_exact_means_exact_on_any_shape(
    n: int, k: int, dim: int, seed: int, strength: float, variant: tuple[str, dict[str, Any]]
) -> None:
    name, options = variant
    if options.get("rank", 1) > dim:
        return  # refused, see test_refused_options
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(n, dim)) + rng.normal(size=dim)
    c = (rng.normal(size=(k, dim)) + rng.normal(size=dim)) * rng.uniform(0.5, 2, size=(k, 1))
    if options["normalised"]:
        q, c = unit_rows(q), unit_rows(c)
    closer = fitted(name, q, c, strength=strength_of(name, strength), **options)
    if closer.guarantee.kind != "exact":
        return
    search = set_up(task_of(q, c, _unjudged(n, k)), closer)
    changed = np.flatnonzero(~search.clean_agreement)
    full = full_scores(q, c, closer.score)
    for i in changed:  # only a margin at the size of rounding may go either way
        best = np.sort(full[i])[::-1]
        assert best[0] - best[1] <= 1e-9, (name, options, strength)


def _unjudged(n: int, k: int) -> Any:
    from isthmus.search.relevance import no_relevance

    return no_relevance(n, k)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_a_map_that_normalises_says_that_its_promise_is_for_unit_candidates(
    name: str, score: str
) -> None:
    """With ``normalised``, rows of other norms are normalised first, which does change answers."""
    if score not in scores_of(name):
        return
    a, b = two_modalities(12, 16, seed=4)
    closer = fitted(name, a, b, score=score)
    if closer.guarantee.kind == "exact":
        assert "unit" in closer.guarantee.condition
    raw = fitted(name, a, b, score=score, normalised=False)
    if raw.guarantee.kind == "exact":
        assert "unit" not in raw.guarantee.condition


def test_float32_moments_never_promise_more_than_they_can_see() -> None:
    """A direction of small variance that float32 products lose is no direction to move along."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=(9000, 3)) * np.array([1.0, 1.0, 2e-4])
    c = c.astype(np.float32).astype(np.float64)
    q = rng.normal(size=(300, 3)) * np.array([1.0, 1.0, 2e-4]) + np.array([0, 0, 50.0])
    moments = Moments.of(c.astype(np.float32))
    assert moments.rank < 3 <= len(c)
    closer = fit("orthogonal-shift", Moments.of(q), moments, normalised=False)
    agreement = set_up(task_of(q, c, _unjudged(300, 9000)), closer).clean_agreement.mean()
    assert agreement < 1
    assert closer.guarantee.kind == "bounded"
    assert closer.guarantee.bound > 0
    precise = fit("orthogonal-shift", Moments.of(q), Moments.of(c), normalised=False)
    assert precise.guarantee.kind == "exact"
    assert set_up(task_of(q, c, _unjudged(300, 9000)), precise).clean_agreement.all()


# --- orthogonal shift -------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "dim"), [(5, 12), (40, 96), (30, 31)])
def test_the_shift_is_orthogonal_to_all_differences(n: int, dim: int) -> None:
    a, b = two_modalities(n, dim, seed=n)
    closer = fitted("orthogonal-shift", a, b)
    v = closer.candidate.offset
    assert v is not None
    basis = np.linalg.svd(b - b.mean(axis=0), full_matrices=False)[2][: n - 1]
    assert np.linalg.norm(basis @ v) <= 1e-10 * np.linalg.norm(v)
    differences = b - b[0]
    assert np.abs(differences @ v).max() <= 1e-10 * np.linalg.norm(v)
    gap = a.mean(axis=0) - b.mean(axis=0)
    expected = gap - basis.T @ (basis @ gap)
    np.testing.assert_allclose(v, expected, atol=1e-12)
    share = expected @ expected / (gap @ gap)
    assert closer.facts["share"] == pytest.approx(share, rel=1e-9)
    assert closer.facts["rank"] == n - 1
    assert closer.facts["norm_moved"] == pytest.approx(np.linalg.norm(expected), rel=1e-9)


def test_nothing_is_left_to_move_where_candidates_fill_the_space(pairs_small: Rows) -> None:
    closer = fitted("orthogonal-shift", *pairs_small)
    assert closer.candidate.is_identity
    assert closer.facts["norm_moved"] == 0
    assert "nothing is moved" in closer.guarantee.condition


@pytest.mark.parametrize("variance", [0.3, 0.8, 0.9, 0.97])
def test_a_truncated_shift_matches_an_svd_reference(variance: float, pairs_small: Rows) -> None:
    a, b = pairs_small
    _, singular, basis = np.linalg.svd(b - b.mean(axis=0), full_matrices=False)
    held = np.cumsum(singular**2) / (singular**2).sum()
    rank = int(np.argmax(held >= variance)) + 1
    gap = a.mean(axis=0) - b.mean(axis=0)
    expected = gap - basis[:rank].T @ (basis[:rank] @ gap)
    closer = fitted("orthogonal-shift", a, b, variance=variance, strength=0.5)
    np.testing.assert_allclose(closer.candidate.offset, 0.5 * expected, atol=1e-12)
    assert closer.facts["rank"] == rank
    assert closer.facts["variance"] == variance


@pytest.mark.parametrize("strength", [1.0, -0.5, 2.0])
@pytest.mark.parametrize("normalised", [True, False])
def test_a_bounded_promise_bounds_every_margin(strength: float, normalised: bool) -> None:
    """The bound is not below the largest change of a margin, and answers beyond it all keep."""
    for seed in range(4):
        a, b = two_modalities(60, 24, seed=seed)
        b = b if normalised else b * np.random.default_rng(seed).uniform(0.5, 2, size=(60, 1))
        closer = fitted(
            "orthogonal-shift", a, b, variance=0.5, strength=strength, normalised=normalised
        )
        assert closer.guarantee.kind == "bounded"
        bound = closer.guarantee.bound
        assert bound is not None
        along = b @ closer.candidate.offset
        assert along.max() - along.min() <= bound * (1 + 1e-9)
        before = -0.5 * full_scores(a, b, "euclidean") ** 2
        two = np.sort(before, axis=1)[:, ::-1]
        safe = two[:, 0] - two[:, 1] > bound
        kept = answers(closer, a, b) == before.argmax(axis=1)
        assert kept[safe].all()


def test_hull_rank_and_off_hull(pairs_wide: Rows) -> None:
    a, b = pairs_wide
    moments = Moments.of(b, precise=True)
    assert hull_rank(moments, None) == hull_rank(moments, 1.0) == 39
    ranks = [hull_rank(moments, v) for v in (0.1, 0.5, 0.9, 0.99, 1.0)]
    assert ranks == sorted(ranks)
    inside = moments.spectrum[1][:, 3]
    assert not off_hull(moments, inside, 39).any()
    gap = a.mean(axis=0) - b.mean(axis=0)
    np.testing.assert_array_equal(off_hull(moments, gap, 0), gap)


def test_a_small_part_outside_the_hull_is_still_orthogonal_to_it(pairs_wide: Rows) -> None:
    """One projection leaves rounding of the whole vector in a part a million times shorter."""
    moments = Moments.of(pairs_wide[1], precise=True)
    basis = moments.spectrum[1]
    for size in (1e-6, 1e-8):
        vector = basis[:, :39] @ np.linspace(1, 2, 39) + size * basis[:, 50]
        part = off_hull(moments, vector, 39)
        assert np.linalg.norm(basis[:, :39].T @ part) <= 1e-12 * np.linalg.norm(part)


def test_all_candidates_alike_can_be_moved_by_the_whole_gap() -> None:
    a, _ = two_modalities(9, 5)
    b = np.tile(unit_rows(np.ones((1, 5))), (6, 1))
    closer = fitted("orthogonal-shift", a, b)
    np.testing.assert_allclose(
        closer.candidate.offset, unit_rows(a).mean(axis=0) - b[0], atol=1e-12
    )
    assert closer.facts["share"] == pytest.approx(1)


# --- center-queries and mean-shift ------------------------------------------------------------


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_the_stored_bias_gives_back_every_score(normalised: bool, strength: float) -> None:
    a, b = two_modalities(30, 12, seed=9)
    b = b * np.random.default_rng(0).uniform(0.5, 2, size=(30, 1))
    closer = fitted("center-queries", a, b, normalised=normalised, strength=strength)
    q, c = closer.apply(a, "query"), closer.apply(b, "candidate")
    before = a @ (unit_rows(b) if normalised else b).T
    np.testing.assert_allclose(q @ c.T + closer.candidate_bias(b)[None, :], before, atol=1e-12)
    mean = a.mean(axis=0)
    np.testing.assert_allclose(q, a - strength * mean, atol=1e-12)
    np.testing.assert_allclose(closer.bias_weights, strength * mean, atol=1e-12)
    assert closer.score == "dot"


def test_center_queries_shortens_queries(pairs_small: Rows) -> None:
    a, b = pairs_small
    closer = fitted("center-queries", a, b)
    assert np.linalg.norm(closer.apply(a, "query"), axis=1).mean() < 1
    assert fitted("center-queries", a, b, strength=0).bias_weights is None


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_mean_shift_brings_the_means_together(side: str, pairs_small: Rows) -> None:
    a, b = pairs_small
    closer = fitted("mean-shift", a, b, side=side, renormalise=False)
    q, c = closer.apply(a, "query"), closer.apply(b, "candidate")
    np.testing.assert_allclose(q.mean(axis=0), c.mean(axis=0), atol=1e-12)
    half = fitted("mean-shift", a, b, side=side, renormalise=False, strength=0.5)
    q, c = half.apply(a, "query"), half.apply(b, "candidate")
    gap = np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))
    assert np.linalg.norm(q.mean(axis=0) - c.mean(axis=0)) == pytest.approx(gap / 2)
    again = fitted("mean-shift", a, b, side=side)
    for rows in (again.apply(a, "query"), again.apply(b, "candidate")):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-12)
    assert closer.facts["norm_moved"] == pytest.approx(gap)


def test_mean_shift_does_change_answers_and_says_so(pairs_small: Rows) -> None:
    a, b = pairs_small
    closer = fitted("mean-shift", a, b)
    assert closer.guarantee.kind == "none"
    assert (answers(closer, a, b) != plain_answers(a, b, "cosine")).any()


# --- maps -------------------------------------------------------------------------------------


def maps(dim: int, rng: np.random.Generator) -> list[AffineMap]:
    """Maps of every kind from ``dim`` dimensions to ``dim``."""
    out = []
    for with_matrix, with_offset, normalised in itertools.product((0, 1), (0, 1), (0, 1)):
        out.append(
            AffineMap(
                dim,
                rng.normal(size=(dim, dim)) if with_matrix else None,
                rng.normal(size=dim) if with_offset else None,
                bool(normalised),
            )
        )
    return out


def test_then_equals_applying_in_turn(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(9, 4))
    bent = 0
    for inner, outer in itertools.product(maps(4, rng), maps(4, rng)):
        if outer.normalised and not inner.is_identity:
            with refused("normalised-between", "in turn"):
                inner.then(outer)
            bent += 1
            continue
        np.testing.assert_allclose(inner.then(outer)(rows), outer(inner(rows)), atol=1e-12)
    assert bent == 24
    ends = AffineMap(4, rng.normal(size=(4, 4)), None, renormalised=True)
    first = maps(4, rng)[2]
    np.testing.assert_allclose(first.then(ends)(rows), ends(first(rows)), atol=1e-12)
    with refused("normalised-between"):
        ends.then(first)


def test_maps_between_dimensions_chain_or_are_refused(rng: np.random.Generator) -> None:
    down = AffineMap(5, rng.normal(size=(2, 5)), rng.normal(size=2))
    up = AffineMap(2, rng.normal(size=(3, 2)), rng.normal(size=3))
    rows = rng.normal(size=(7, 5))
    assert (down.dim_out, down.then(up).dim_out) == (2, 3)
    np.testing.assert_allclose(down.then(up)(rows), up(down(rows)), atol=1e-12)
    with refused("maps-do-not-chain", "a map to 3 dimensions"):
        up.then(down)
    with refused("wrong-dim", "(7, 5)"):
        up(rows)
    with refused("wrong-dim", "(5,)"):
        down(rows[0])


@pytest.mark.parametrize("kind", ["scales", "picks", "mixes", "repeats"])
def test_coordinates_that_are_only_picked_and_scaled_need_no_product(
    kind: str, rng: np.random.Generator
) -> None:
    matrix = np.diag(rng.normal(size=6))
    matrix[2, 2] = 0.0
    matrix = {"picks": np.eye(6)[[4, 0, 3]], "repeats": np.eye(6)[[1, 1]]}.get(kind, matrix)
    if kind == "mixes":
        matrix[5, 0] = 1e-300
    rows, offset = rng.normal(size=(9, 6)), rng.normal(size=len(matrix))
    side = AffineMap(6, matrix, offset)
    assert (side.picked is None) == (kind == "mixes")
    np.testing.assert_array_equal(side(rows), rows @ matrix.T + offset)


@pytest.mark.parametrize("kind", ["exact", "rounded", "off", "swapped", "whole"])
def test_parts_that_are_taken_out_need_no_product_of_all_coordinates(
    kind: str, rng: np.random.Generator
) -> None:
    apart = np.linalg.qr(rng.normal(size=(8, 8 if kind == "whole" else 2)))[0].T
    rest = np.eye(8) - apart.T @ apart
    rest[1, 3] += {"rounded": 4e-16, "off": 1e-12}.get(kind, 0.0)
    matrix = np.vstack([apart, rest] if kind == "swapped" else [rest, apart])
    side = AffineMap(8, matrix, rng.normal(size=len(matrix)), normalised=True, renormalised=True)
    assert (side.parted is None) == (kind in ("off", "swapped", "whole"))
    for dtype, off in ((np.float64, 2e-15), (np.float32, 1e-6)):
        rows = rng.normal(size=(9, 8)).astype(dtype)
        expected = unit_rows(unit_rows(rows) @ matrix.T + side.offset)
        np.testing.assert_allclose(side(rows), expected, rtol=0, atol=off)


@pytest.mark.parametrize("matrix", [None, np.eye(4)[:3] * 2, np.ones((3, 4))])
def test_rows_that_are_mapped_are_left_as_they_were(
    matrix: np.ndarray | None, rng: np.random.Generator
) -> None:
    rows = rng.normal(size=(5, 4))
    before = rows.copy()
    for offset, normalised, again in itertools.product((False, True), repeat=3):
        move = rng.normal(size=4 if matrix is None else 3) if offset else None
        AffineMap(4, matrix, move, normalised, again)(rows)
        np.testing.assert_array_equal(rows, before)


def test_maps_take_array_api_strict_rows(rng: np.random.Generator) -> None:
    strict = pytest.importorskip("array_api_strict")
    rows = rng.normal(size=(6, 4))
    for one in (*maps(4, rng), AffineMap(4, renormalised=True)):
        np.testing.assert_allclose(np.asarray(one(strict.asarray(rows))), one(rows), atol=1e-12)
    closer = fitted("center-queries", rows, rows[::-1])
    np.testing.assert_allclose(
        closer.candidate_bias(strict.asarray(rows)), closer.candidate_bias(rows)
    )


@pytest.mark.torch
def test_maps_take_torch_rows(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    rows = rng.normal(size=(6, 4))
    for one in (*maps(4, rng), AffineMap(4, renormalised=True)):
        out = one(torch.tensor(rows))
        assert isinstance(out, torch.Tensor)
        np.testing.assert_allclose(out.numpy(), one(rows), atol=1e-12)
        assert one(torch.tensor(rows).half()).dtype == torch.float32


@pytest.mark.parametrize("name", ["mean-shift", "centering"])
def test_moved_rows_are_normalised_where_rows_were(name: str, pairs_small: Rows) -> None:
    """Unless told otherwise: raw rows keep their norms, unit rows stay unit."""
    a, b = pairs_small
    for normalised, told, expected in (
        (True, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
    ):
        closer = fitted(name, a, b, normalised=normalised, renormalise=told)
        assert closer.query.renormalised is expected
    assert fitted("database-shift", a, b, normalised=False).candidate.renormalised


# --- refusals ---------------------------------------------------------------------------------


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("no-such", {}, "unknown-closer", "choose one of none, orthogonal-shift"),
    ("mean-shift", {"score": "l2"}, "unknown-score", "l2"),
    ("mean-shift", {"variance": 0.9}, "unknown-option", "'variance'"),
    ("none", {"side": "query"}, "unknown-option", "'side'"),
    ("standardise", {"center": None}, "unknown-option", "'center'"),
    ("mean-shift", {"side": "both"}, "option-kind", "query or candidate"),
    ("subspace", {"rank": "a64"}, "option-kind", "rank='a64'; expected a whole number"),
    ("subspace", {"rank": 2.5}, "option-kind", "rank=2.5; expected a whole number"),
    ("ridge-shift", {"ridge": "x"}, "option-kind", "ridge='x'; expected a finite number"),
    ("ridge-shift", {"noise": True}, "option-kind", "noise=True; expected variances"),
    ("ridge-shift", {"noise": "rabitq"}, "needs-rows", "noise='rabitq'"),
    ("mean-shift", {"noise": "rabitq"}, "unknown-option", "'noise'"),
    ("centering", {"renormalise": 3}, "option-kind", "renormalise=3; expected true or false"),
    ("mean-shift", {"normalised": None}, "option-kind", "normalised=None; expected true or false"),
    ("orthogonal-shift", {"variance": 0.0}, "option-range", "variance=0.0"),
    ("orthogonal-shift", {"variance": 1.2}, "option-range", "above 0 and at most 1"),
    ("orthogonal-shift", {"strength": np.nan}, "option-range", "strength=nan"),
    ("orthogonal-shift", {"strength": np.inf}, "option-range", "strength=inf"),
    ("low-rank-memo", {"rank": 0}, "option-range", "at least 1"),
    ("center-queries", {"score": "euclidean"}, "score-not-offered", "is fitted for dot (got"),
    ("center-both", {"score": "cosine"}, "score-not-offered", "is fitted for dot (got cosine)"),
    ("ridge-shift", {"score": "cosine"}, "score-not-offered", "dot or euclidean (got cosine)"),
]


@pytest.mark.parametrize(("name", "options", "code", "fact"), REFUSED)
def test_refused_options(name: str, options: dict[str, Any], code: str, fact: str) -> None:
    moments = Moments.of(np.eye(4))
    with refused(code, fact):
        fit(name, moments, moments, **options)


def test_other_refusals(tmp_path: Path) -> None:
    with refused("unequal-dimensions", "3", "4"):
        fit("none", Moments.of(np.eye(3)), Moments.of(np.eye(4)))
    closer = fit("none", Moments.of(np.eye(3)), Moments.of(np.eye(3)))
    with refused("unknown-role", "'image'"):
        closer.apply(np.eye(3), "image")  # type: ignore[arg-type]
    few = Moments.of(np.eye(4, dtype=np.float32))
    with refused("moments-too-coarse", "precise=True"):
        fit("orthogonal-shift", few, few)


def test_the_header_of_a_saved_closer_reads_as_text(tmp_path: Path) -> None:
    a, b = two_modalities(6, 12)
    fitted("orthogonal-shift", a, b, strength=0.5).save(tmp_path / "c.safetensors")
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(tmp_path / "c.safetensors", "np") as opened:
        metadata = opened.metadata()
    assert metadata["isthmus"] == "closer"
    assert metadata["name"] == "orthogonal-shift"
    assert metadata["strength"] == "0.5"
    assert '"kind": "exact"' in metadata["guarantee"]


def test_ranking_with_a_bias_is_what_the_closer_promises(pairs_small: Rows) -> None:
    a, b = pairs_small
    closer = fitted("center-queries", a, b)
    found = top1(
        Ranking.of(
            closer.apply(a, "query"), closer.apply(b, "candidate"), "dot", closer.candidate_bias(b)
        )
    )
    np.testing.assert_array_equal(found, answers(closer, a, b))

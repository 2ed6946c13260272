"""Every closer's formula against another source: a library, a minimiser, or plain arithmetic.

Closers are fitted on some rows and applied to others throughout.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import linalg, optimize

from isthmus.closers import METHODS, fit
from isthmus.closers.closer import Closer
from isthmus.data.moments import Moments, PairMoments
from isthmus.errors import CloserError, OptionError
from isthmus.search.scores import SCORES
from refusals import refused
from worlds import fitted, two_modalities, unit_rows

EXACT = tuple(name for name, m in METHODS.items() if m.guarantee == "exact")

DIM = 10
Rows = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def old() -> tuple[np.ndarray, np.ndarray]:
    """60 pairs to fit on, not unit norm."""
    a, b = two_modalities(60, DIM, seed=11)
    return a * 1.3, b * 0.8


@pytest.fixture(scope="module")
def new() -> tuple[np.ndarray, np.ndarray]:
    """17 pairs to apply to."""
    a, b = two_modalities(17, DIM, seed=12)
    return a * 1.1, b * 0.9


def raw(name: str, rows: tuple[np.ndarray, np.ndarray], **options: Any) -> Closer:
    """A closer of rows as they are: maps that do not begin by normalising."""
    return fitted(name, *rows, normalised=False, **options)


def maps(closer: Closer, rows: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return closer.apply(rows[0], "query"), closer.apply(rows[1], "candidate")


def close(found: np.ndarray, expected: np.ndarray, atol: float = 1e-10) -> None:
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


def cov(rows: np.ndarray) -> np.ndarray:
    return np.cov(rows.T, bias=True)


def totals(closer: Closer, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Ranking quantities (n, K) of a closed search: score and candidate bias."""
    q, c = maps(closer, (queries, candidates))
    return plain(q, c, closer.score) + closer.candidate_bias(candidates)[None, :]


def plain(queries: np.ndarray, candidates: np.ndarray, score: str) -> np.ndarray:
    """Scores (n, K), Euclidean ones as -½ squared distance."""
    if score == "euclidean":
        return -0.5 * ((queries[:, None] - candidates[None]) ** 2).sum(axis=2)
    if score == "cosine":
        queries, candidates = unit_rows(queries), unit_rows(candidates)
    return queries @ candidates.T


def margins_moved(closer: Closer, queries: np.ndarray, candidates: np.ndarray) -> float:
    """The most that any difference of two candidates' scores has moved, over every query."""
    change = totals(closer, queries, candidates) - plain(queries, candidates, closer.score)
    return float((change.max(axis=1) - change.min(axis=1)).max())


# --- matching -----------------------------------------------------------------------------------


def shrunk(rows: np.ndarray, shrinkage: float) -> np.ndarray:
    return cov(rows) + shrinkage * np.trace(cov(rows)) / rows.shape[1] * np.eye(rows.shape[1])


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_gaussian_transport_is_that_of_pot(old: Any, new: Any, strength: float) -> None:
    ot = pytest.importorskip("ot")
    (q, c), closer = old, raw("gaussian-ot", old, shrinkage=0, strength=strength)
    into, offset = ot.gaussian.bures_wasserstein_mapping(
        q.mean(axis=0), c.mean(axis=0), cov(q), cov(c)
    )
    moved, kept = maps(closer, new)
    close(moved, (1 - strength) * new[0] + strength * (new[0] @ into + offset), 1e-9)
    close(kept, new[1])
    if strength == 1:  # the fitted rows then have the candidates' mean and covariance
        there = closer.apply(q, "query")
        close(there.mean(axis=0), c.mean(axis=0))
        close(cov(there), cov(c))


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 2.0])
def test_coral_and_whitening_by_matrix_roots(old: Any, new: Any, shrinkage: float) -> None:
    (q, c), (other_q, other_c) = old, new
    a, b = shrunk(q, shrinkage), shrunk(c, shrinkage)
    into = linalg.sqrtm(b) @ linalg.inv(linalg.sqrtm(a))
    moved, kept = maps(raw("coral", old, shrinkage=shrinkage), new)
    close(moved, c.mean(axis=0) + (other_q - q.mean(axis=0)) @ into.T, 1e-9)
    close(kept, other_c)
    white = maps(raw("whitening", old, shrinkage=shrinkage), new)
    for found, rows, fit_rows, spread in zip(white, new, old, (a, b)):
        close(found, (rows - fit_rows.mean(axis=0)) @ linalg.inv(linalg.sqrtm(spread)).T, 1e-8)
    transport = raw("gaussian-ot", old, shrinkage=shrinkage).query.matrix
    assert transport is not None
    close(transport @ a @ transport.T, b, 1e-9)
    close(transport, transport.T, 1e-9)
    assert np.linalg.eigvalsh(transport).min() > 0  # symmetric and positive: the optimal one


def test_directions_without_spread_are_dropped_and_not_blown_up() -> None:
    rng = np.random.default_rng(3)
    q, c = rng.normal(size=(6, DIM)), rng.normal(size=(40, DIM)) + 1  # queries span 5 directions
    for name in ("coral", "gaussian-ot", "whitening"):
        for dtype in (np.float64, np.float32):
            moments = Moments.of(q.astype(dtype)), Moments.of(c.astype(dtype))
            closer = fit(name, *moments, shrinkage=0, normalised=False)
            assert closer.query.matrix is not None
            assert np.linalg.norm(closer.query.matrix, 2) < 30, (name, dtype)
            outside = np.linalg.svd(q - q.mean(axis=0))[2][5:]
            close(closer.query.matrix @ outside.T, np.zeros((DIM, 5)), 1e-4)
    for name, value in (("coral", -1), ("whitening", np.nan)):
        with refused("option-range", f"shrinkage={value}", "at least 0"):
            raw(name, (q, c), shrinkage=value)


@pytest.mark.parametrize("scale", [False, True])
def test_procrustes_is_that_of_scipy(old: Any, new: Any, scale: bool) -> None:
    q, c = old
    turn, sizes = linalg.orthogonal_procrustes(q - q.mean(axis=0), c - c.mean(axis=0))
    factor = sizes / ((q - q.mean(axis=0)) ** 2).sum() if scale else 1.0
    moved, kept = maps(raw("procrustes", old, scale=scale), new)
    close(moved, c.mean(axis=0) + factor * (new[0] - q.mean(axis=0)) @ turn, 1e-7)
    close(kept, new[1])
    if not scale:
        apart = np.linalg.norm(moved[:, None] - moved[None], axis=2)
        close(apart, np.linalg.norm(new[0][:, None] - new[0][None], axis=2), 1e-9)


def test_procrustes_leaves_what_pairs_say_nothing_of() -> None:
    """Few pairs: a rotation within their directions, the identity outside; and it needs pairs."""
    rng = np.random.default_rng(5)
    frame = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    q, c = (rng.normal(size=(4, 3)) @ frame[:3] for _ in range(2))
    closer = raw("procrustes", (q, c))
    turn = closer.query.matrix
    assert turn is not None
    close(turn @ turn.T, np.eye(DIM))
    close(frame[3:] @ turn @ frame[3:].T, np.eye(DIM - 3), 1e-7)
    with refused("needs-pairs", "procrustes"):
        fit("procrustes", Moments.of(q), Moments.of(c))
    with refused("needs-query-rows", "realign"):
        fit("realign", Moments.of(q), Moments.of(c))
    unrelated = PairMoments.of(q[:, :3], c[:, :3])
    with refused("unequal-dimensions", "pairs have 3 and 3 dimensions"):
        fit("procrustes", Moments.of(q), Moments.of(c), pairs=unrelated)


def test_standardise_and_realign_by_hand(old: Any, new: Any) -> None:
    (q, c), rows = old, new[0]
    moved, kept = maps(raw("standardise", old), new)
    close(moved, c.mean(axis=0) + (rows - q.mean(axis=0)) * c.std(axis=0) / q.std(axis=0))
    close(kept, new[1])
    there = raw("standardise", old).apply(q, "query")
    close(there.mean(axis=0), c.mean(axis=0))
    close(there.std(axis=0), c.std(axis=0))

    scale = np.sqrt(cov(c).trace() / cov(q).trace())
    assert abs(scale - 1) > 0.1
    first = unit_rows(c.mean(axis=0) + scale * (q - q.mean(axis=0)))
    drift = first.mean(axis=0)
    expected = unit_rows(c.mean(axis=0) + scale * (rows - q.mean(axis=0)))
    expected = unit_rows(expected - drift + c.mean(axis=0))
    moved, kept = maps(raw("realign", old), new)
    close(moved, expected)
    close(kept, new[1])
    half = raw("realign", old, strength=0.5)
    first = unit_rows(0.5 * q + 0.5 * (c.mean(axis=0) + scale * (q - q.mean(axis=0))))
    moved = unit_rows(first + 0.5 * (c.mean(axis=0) - first.mean(axis=0)))
    close(half.apply(q, "query"), moved)


def test_queries_that_do_not_vary_are_only_moved() -> None:
    c = two_modalities(20, 6)[1]
    one = np.tile(unit_rows(np.ones((1, 6))), (3, 1))
    for name in ("standardise", "realign", "coral", "gaussian-ot"):
        moved = fitted(name, one, c).apply(one, "query")
        expected = c.mean(axis=0)
        if name == "realign":  # its rows have unit norm
            first = unit_rows(expected[None])[0]
            expected = unit_rows((first - first + expected)[None])[0]
        close(moved, np.tile(expected, (3, 1)))
    q = c * np.array([1.0, 1, 0, 1, 1, 1]) + np.array([0, 0, 0.3, 0, 0, 0])
    flat = raw("standardise", (q, c))
    close(flat.apply(q, "query")[:, 2], np.full(20, c[:, 2].mean()))
    close(flat.apply(c, "query")[:, 2], c[:, 2] - 0.3 + c[:, 2].mean())  # shifted, not scaled


# --- shifts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_shifts_by_hand(old: Any, new: Any, strength: float) -> None:
    q, c = old
    mq, mc = q.mean(axis=0), c.mean(axis=0)
    gap = strength * (mq - mc)
    rows_q, rows_c = new
    expected = {
        "liang-shift": (unit_rows(rows_q - gap / 2), unit_rows(rows_c + gap / 2)),
        "database-shift": (rows_q, unit_rows(rows_c + gap)),
        "mean-shift": (unit_rows(rows_q - gap), rows_c),
        "centering": (unit_rows(rows_q - strength * mq), unit_rows(rows_c - strength * mc)),
        "distribution-normalization": (rows_q - strength * mq, rows_c - strength * mc),
        "center-both": (rows_q - strength * mq, rows_c - strength * mc),
        "center-queries": (rows_q - strength * mq, rows_c),
    }
    for name, (want_q, want_c) in expected.items():
        told = {"renormalise": True} if name in ("mean-shift", "centering") else {}
        moved, kept = maps(raw(name, old, strength=strength, **told), new)
        close(moved, want_q)
        close(kept, want_c)
    unmoved = {  # what raw rows get unless told: they keep their norms
        "mean-shift": (rows_q - gap, rows_c),
        "centering": (rows_q - strength * mq, rows_c - strength * mc),
    }
    for name, (want_q, want_c) in unmoved.items():
        for told in ({}, {"renormalise": False}):
            moved, kept = maps(raw(name, old, strength=strength, **told), new)
            close(moved, want_q)
            close(kept, want_c)


def test_maps_on_unit_rows_normalise_first(old: Any, new: Any) -> None:
    """With ``normalised`` means are those of unit rows, and rows of any length come out alike."""
    q, c = (unit_rows(side) for side in old)
    moved, kept = maps(fitted("liang-shift", *old), new)
    gap = q.mean(axis=0) - c.mean(axis=0)
    close(moved, unit_rows(unit_rows(new[0]) - gap / 2))
    close(kept, unit_rows(unit_rows(new[1]) + gap / 2))
    quarter = fitted("distribution-normalization", *old)
    assert (quarter.strength, quarter.score) == (0.25, "dot")
    close(quarter.apply(new[0], "query"), unit_rows(new[0]) - q.mean(axis=0) / 4)
    for name in METHODS:
        closer = fitted(name, *old)
        for role, rows in (("query", new[0]), ("candidate", new[1])):
            close(closer.apply(rows, role), closer.apply(7 * rows, role), 1e-8)


def test_drop_dimensions_drops_the_fewest_that_hold_the_share(new: Any) -> None:
    for seed, share in itertools.product(range(4), (0.3, 0.75, 0.95)):
        a, b = two_modalities(30, 7, seed=seed)
        squares = (a.mean(axis=0) - b.mean(axis=0)) ** 2
        fewest = next(
            size
            for size in range(8)
            if any(
                squares[list(some)].sum() >= share * squares.sum() - 1e-12
                for some in itertools.combinations(range(7), size)
            )
        )
        closer = fitted("drop-dimensions", a, b, share=share)
        fewest = min(fewest, 6)
        kept = np.sort(np.argsort(-squares)[fewest:])
        assert closer.facts["dropped"] == fewest
        held = np.sort(squares)[::-1][:fewest].sum() / squares.sum()
        assert closer.facts["share"] == pytest.approx(held)
        close(closer.apply(a, "query"), unit_rows(a[:, kept]))
        close(closer.apply(b, "candidate"), unit_rows(b[:, kept]))
        half = fitted("drop-dimensions", a, b, share=share, strength=0.5)
        assert half.facts.get("dropped", 0) == round(0.5 * fewest)
    with refused("option-range", "share=1.5"):
        fitted("drop-dimensions", *new, share=1.5)


# --- candidate biases -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "constant"),
    [
        ("biased-shift", {"side": "query", "score": "euclidean"}, False),
        ("biased-shift", {"side": "candidate", "score": "euclidean"}, False),
        ("biased-shift", {"side": "query", "score": "dot"}, True),
        ("biased-shift", {"side": "candidate", "score": "dot"}, False),
        ("center-queries", {}, True),
        ("center-both", {}, False),
        ("low-rank-memo", {"score": "dot", "rank": 3}, True),
        ("low-rank-memo", {"score": "euclidean", "rank": 3}, True),
        ("none", {"score": "cosine"}, True),
        ("none", {"score": "euclidean"}, True),
    ],
)
@pytest.mark.parametrize("strength", [1.0, -0.7, 2.0])
def test_exact_at_any_number_of_unseen_candidates(
    old: Any, name: str, options: dict[str, Any], constant: bool, strength: float
) -> None:
    """Scores come back up to a constant of the query, or exactly, for rows the fit never saw."""
    strength = 1.0 if name == "low-rank-memo" else strength
    closer = raw(name, old, strength=strength, **options)
    q, c = two_modalities(90, DIM, seed=13)
    c = c * np.random.default_rng(0).uniform(0.5, 2, size=(90, 1))
    assert len(c) > DIM
    assert margins_moved(closer, q, c) < 1e-12
    if constant:
        close(totals(closer, q, c), plain(q, c, closer.score), 1e-12)


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_biased_shift_closes_the_gap_on_either_side(old: Any, side: str) -> None:
    closer = raw("biased-shift", old, side=side)
    q, c = maps(closer, old)
    close(q.mean(axis=0), c.mean(axis=0))
    close((q, c)[side == "query"], old[side == "query"])  # the other side stays
    gap = old[0].mean(axis=0) - old[1].mean(axis=0)
    close(closer.candidate_bias(old[1]), old[1] @ gap)
    assert raw("biased-shift", old, side="candidate", score="dot").bias_weights is None
    with refused("option-kind", "side='both'", "query or candidate"):
        raw("biased-shift", old, side="both")
    with refused("score-not-offered", "biased-shift is fitted for dot or euclidean"):
        raw("biased-shift", old, score="cosine")


def test_memo_keeps_plain_scores_and_shortens_what_is_coded(old: Any, new: Any) -> None:
    q, c = old
    means = np.stack([q.mean(axis=0), c.mean(axis=0)], axis=1)
    rest = []
    for rank in (1, 2, 3, 6, DIM):
        closer = raw("low-rank-memo", old, rank=rank)
        assert (closer.memo, closer.query.dim_out) == (rank, DIM + rank)
        rows_q, rows_c = maps(closer, new)
        close(rows_q @ rows_c.T, new[0] @ new[1].T)
        far = np.linalg.norm(new[0][:, None] - new[1][None], axis=2)
        close(np.linalg.norm(rows_q[:, None] - rows_c[None], axis=2), far)
        long, short = rows_q[:, :DIM], rows_q[:, DIM:]
        close((long**2).sum(axis=1) + (short**2).sum(axis=1), (new[0] ** 2).sum(axis=1))
        rest.append(float((closer.apply(q, "query")[:, :DIM] ** 2).sum()))
        apart = closer.query.matrix[DIM:].T  # type: ignore[index]
        close(apart.T @ apart, np.eye(rank))
        if rank >= 2:  # both means lie in U, so neither is coded
            close(apart @ (apart.T @ means), means)
            assert closer.facts["share"] == pytest.approx(1)
    assert all(a > b for a, b in itertools.pairwise(rest[:-1]))
    assert rest[-1] < 1e-20
    # the best directions beside the means: the tail of the spectrum of what is left of the queries
    away = np.eye(DIM) - linalg.orth(means) @ linalg.orth(means).T
    tail = np.sort(np.linalg.eigvalsh(away @ (q.T @ q) @ away))[::-1]
    assert rest[2] == pytest.approx(tail[1:].sum(), rel=1e-9)
    with refused("option-range", "rank 11", "at most 10"):
        raw("low-rank-memo", old, rank=11)
    with refused("option-range", "low-rank-memo", "0 (off) or 1 (on)"):
        raw("low-rank-memo", old, strength=0.5)


# --- ridge --------------------------------------------------------------------------------------


def noises(dim: int) -> dict[str, Any]:
    rng = np.random.default_rng(8)
    square = rng.normal(size=(dim, dim))
    return {
        "by default": None,
        "one variance": 0.03,
        "per dimension": rng.uniform(0.001, 0.2, size=dim),
        "covariance": square @ square.T / dim / 20,
    }


@pytest.mark.parametrize("ridge", [1 / 3, 5.0])
@pytest.mark.parametrize("kind", list(noises(2)))
@pytest.mark.parametrize("score", ["dot", "euclidean"])
def test_ridge_shift_is_the_minimum_of_its_objective(score: str, kind: str, ridge: float) -> None:
    a, b = two_modalities(50, 5, seed=21)
    noise = noises(5)[kind]
    spread = 0.6 * cov(b).trace() / 5 if noise is None else noise
    epsilon = spread if np.ndim(spread) == 2 else np.diag(np.broadcast_to(spread, 5))
    target = a.mean(axis=0) - (b.mean(axis=0) if score == "euclidean" else 0)

    def objective(v: np.ndarray) -> float:
        left = target - v
        return 1e3 * float(left @ epsilon @ left + ridge * v @ cov(b) @ v)

    best = optimize.minimize(objective, np.zeros(5), tol=1e-14, options={"maxiter": 4000}).x
    closer = raw("ridge-shift", (a, b), score=score, noise=noise, ridge=ridge)
    step = closer.candidate.offset if score == "euclidean" else -closer.query.offset
    close(step, best, 2e-5)
    assert closer.bias_weights is None
    half = raw("ridge-shift", (a, b), score=score, noise=noise, ridge=ridge, strength=0.5)
    moved = half.candidate.offset if score == "euclidean" else -half.query.offset
    close(moved, step / 2)
    if score == "dot":
        close(closer.candidate.offset, -b.mean(axis=0))
    else:
        assert closer.query.is_identity


def test_the_ends_of_the_ridge() -> None:
    """λ → ∞ leaves the paper's shift (dot: the part of μ_q off the hull), λ → 0 the full one."""
    a, b = two_modalities(6, 12, seed=4)
    paper = fitted("orthogonal-shift", a, b).candidate.offset
    close(fitted("ridge-shift", a, b, score="euclidean", ridge=1e9).candidate.offset, paper, 1e-6)
    gap = a.mean(axis=0) - b.mean(axis=0)
    close(fitted("ridge-shift", a, b, score="euclidean", ridge=1e-9).candidate.offset, gap, 1e-6)
    hull = np.linalg.svd(b - b.mean(axis=0))[2][:5]
    off = a.mean(axis=0) - hull.T @ (hull @ a.mean(axis=0))
    close(-fitted("ridge-shift", a, b, ridge=1e9).query.offset, off, 1e-6)
    close(-fitted("ridge-shift", a, b, ridge=1e-9).query.offset, a.mean(axis=0), 1e-6)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"ridge": 0}, "option-range", "ridge=0; expected a finite number above 0"),
    ({"ridge": np.nan}, "option-range", "ridge=nan"),
    ({"noise": -1.0}, "not-a-covariance", "noise"),
    ({"noise": np.array([1, -1, 1, 1.0])}, "not-a-covariance", "noise"),
    ({"noise": np.full(4, np.inf)}, "not-a-covariance", "noise"),
    ({"noise": np.ones(3)}, "noise-shape", "(3,); expected one variance, (4,) or (4, 4)"),
]


@pytest.mark.parametrize(("options", "code", "fact"), REFUSED)
def test_ridge_refusals(options: dict[str, Any], code: str, fact: str) -> None:
    moments = Moments.of(np.eye(4))
    with refused(code, fact):
        fit("ridge-shift", moments, moments, **options)


# --- bounds, by brute force over every pair of candidates and every query -------------------------

BOUNDED = [
    (name, {"score": score, **options})
    for name, scores, many in (
        ("ridge-shift", ("dot", "euclidean"), [{}, {"ridge": 4.0}, {"noise": 0.001}]),
        ("orthogonal-shift", ("euclidean",), [{"variance": v} for v in (0.3, 0.9)]),
        (
            "span",
            ("dot",),
            [{"variance": v, "center": c} for v in (0.3, 0.9) for c in (False, True)],
        ),
        ("subspace", ("dot",), [{"variance": 0.6}, {"rank": 1}, {"rank": 4}]),
    )
    for score in scores
    for options in many
]


@pytest.mark.parametrize(("name", "options"), BOUNDED)
@pytest.mark.parametrize("strength", [1.0, 0.5, -0.8])
def test_no_margin_moves_by_more_than_the_bound(
    name: str, options: dict[str, Any], strength: float
) -> None:
    moved_most = 0.0
    for seed, (n, k, dim) in enumerate([(40, 60, 14), (40, 9, 14), (40, 2, 6), (40, 200, 5)]):
        a, b = two_modalities(max(n, k), dim, seed=seed)
        a, b = a[:n], b[:k]
        strength = 1.0 if name == "subspace" else strength
        if options.get("rank", 0) >= min(k - 1, dim):
            continue
        closer = fitted(name, a, b, strength=strength, **options)
        if closer.guarantee.kind == "exact":  # two candidates span one direction
            assert margins_moved(closer, a, b) < 1e-9
            continue
        assert closer.guarantee.kind == "bounded"
        bound = closer.guarantee.bound
        assert bound is not None
        others = unit_rows(np.random.default_rng(seed).normal(size=(200, dim)))
        for queries in (a, others):  # it binds any unit query, over the fitted candidates
            assert margins_moved(closer, queries, b) <= bound * (1 + 1e-9)
            before, after = plain(queries, b, closer.score), totals(closer, queries, b)
            two = np.sort(before, axis=1)[:, ::-1]
            safe = two[:, 0] - two[:, 1] > bound
            assert (after.argmax(axis=1) == before.argmax(axis=1))[safe].all()
        moved_most = max(moved_most, margins_moved(closer, others, b) / bound)
    assert moved_most > 0.05  # and is not idle


@pytest.mark.parametrize("score", ["dot", "euclidean"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("span", {}),
        ("span", {"center": False}),
        ("span", {"strength": 0.4}),
        ("subspace", {}),
        ("subspace", {"rank": 9}),
    ],
)
def test_span_and_subspace_keep_every_margin_of_class_like_sets(
    name: str, options: dict[str, Any], score: str
) -> None:
    """10 candidates in 40 dimensions, queries of all kinds: what is dropped tells none apart."""
    a, b = two_modalities(60, 40, seed=2)
    b = b[:10] * np.random.default_rng(1).uniform(0.5, 2, size=(10, 1))
    closer = raw(name, (a, b), score=score, **options)
    assert closer.guarantee.kind == "exact"
    assert closer.facts["rank"] == 9
    others = np.random.default_rng(2).normal(size=(50, 40)) * 3
    for queries in (a, others):
        assert margins_moved(closer, queries, b) < 1e-10
    short = closer.apply(a, "query")
    if name == "subspace":
        assert short.shape[1] == closer.candidate.dim_out == 9
    elif options.get("strength", 1.0) == 1:  # nothing of a query is left outside the span
        basis = np.linalg.svd(b - b.mean(axis=0))[2][:9]
        middle = 0 if score == "dot" else b.mean(axis=0)
        inside = (short - middle) @ basis.T @ basis
        close(inside, short - middle)
    if score == "euclidean":  # one number less to store: distances need none
        assert closer.bias_weights is None


def test_projections_of_too_few_directions_promise_nothing_where_no_bound_is_known() -> None:
    a, b = two_modalities(60, 14, seed=3)
    for name in ("span", "subspace"):
        assert fitted(name, a, b, variance=0.5, score="euclidean").guarantee.kind == "none"
        assert raw(name, (a, b), variance=0.5).guarantee.kind == "none"
    with refused("options-exclude", "rank or variance"):
        fitted("subspace", a, b, variance=0.5, rank=3)
    with refused("option-range", "rank 15", "at most 14"):
        fitted("subspace", a, b, rank=15)
    with refused("option-range", "subspace", "got 0.3"):
        fitted("subspace", a, b, strength=0.3)


def test_subspace_by_principal_directions(old: Any, new: Any) -> None:
    q, c = old
    basis = np.linalg.svd(c - c.mean(axis=0), full_matrices=False)[2][:4]
    for score in ("dot", "euclidean"):
        closer = raw("subspace", old, rank=4, score=score)
        signs = np.sign(np.sum(closer.candidate.matrix * basis, axis=1))  # type: ignore[operator]
        rows_q, rows_c = maps(closer, new)
        middle = q.mean(axis=0) if score == "dot" else c.mean(axis=0)
        close(rows_q * signs, (new[0] - middle) @ basis.T, 1e-9)
        close(rows_c * signs, (new[1] - c.mean(axis=0)) @ basis.T, 1e-9)
        if score == "dot":
            close(closer.candidate_bias(new[1]), new[1] @ q.mean(axis=0))


# --- one closer after another -----------------------------------------------------------------

PAIRS = list(itertools.product(METHODS, METHODS))


def in_turn(inner: Closer, outer: Closer, queries: np.ndarray, candidates: np.ndarray) -> Any:
    """Rows and numbers of two closers applied one after the other."""
    q, c = maps(inner, (queries, candidates))
    numbers = inner.candidate_bias(candidates) + outer.candidate_bias(c)
    return (*maps(outer, (q, c)), numbers)


@lru_cache(maxsize=1000)
def first_of(name: str, unit: bool, score: str, seed: int) -> tuple[Closer, Rows, Rows] | None:
    """A closer, its rows and what comes out of it; None where the score is refused."""
    a, b = two_modalities(30, 6, seed=seed)
    b = b[:12]
    if not unit:
        a, b = a * 1.4, b * np.random.default_rng(seed).uniform(0.7, 1.4, size=(12, 1))
    try:
        closer = fitted(name, a, b, score=score, normalised=unit)
    except OptionError:
        return None
    return closer, (a, b), maps(closer, (a, b))


def first_and_second(
    names: tuple[str, str], units: tuple[bool, bool], scores: tuple[str, str], seed: int = 0
) -> tuple[Closer, Closer, np.ndarray, np.ndarray] | None:
    """A closer of rows and one fitted on what comes out of it; None where a score is refused."""
    first = first_of(names[0], units[0], scores[0], seed)
    if first is None:
        return None
    try:
        outer = fitted(names[1], *first[2], score=scores[1], normalised=units[1])
    except OptionError:
        return None
    return first[0], outer, *first[1]


def check_chain(inner: Closer, outer: Closer, a: np.ndarray, b: np.ndarray) -> str:
    """Hold a chain against its parts; what it promises, or ``refused``."""
    try:
        both = inner.then(outer)
    except CloserError:
        numbers_bend = inner.bias_weights is not None or outer.bias_weights is not None
        assert inner.memo or numbers_bend
        return "refused"
    assert (both.name, both.score) == (f"{inner.name}+{outer.name}", outer.score)
    assert both.memo == outer.memo
    others = two_modalities(15, 6, seed=99)
    for queries, candidates in ((a, b), others):
        q, c, numbers = in_turn(inner, outer, queries, candidates)
        close(both.apply(queries, "query"), q, 1e-8)
        close(both.apply(candidates, "candidate"), c, 1e-8)
        apart = both.candidate_bias(candidates) - numbers
        close(apart - apart[0], np.zeros(len(apart)), 1e-8)  # up to one constant for all
    order = ["exact", "bounded", "none"]
    kinds = [order.index(one.guarantee.kind) for one in (inner, outer)]
    assert order.index(both.guarantee.kind) >= max(kinds)
    plain_b = unit_rows(b) if both.candidate.normalised else b  # as rows enter the maps
    plain_a = unit_rows(a) if both.query.normalised else a
    before, after = plain(plain_a, plain_b, both.score), totals(both, a, b)
    two = np.sort(before, axis=1)[:, ::-1]
    if both.guarantee.kind == "exact":
        safe = two[:, 0] - two[:, 1] > 1e-9
        assert (before.argmax(axis=1) == after.argmax(axis=1))[safe].all()
    if both.guarantee.kind == "bounded":
        bounds = [one.guarantee.bound or 0.0 for one in (inner, outer)]
        assert both.guarantee.bound == pytest.approx(sum(bounds))
        safe = two[:, 0] - two[:, 1] > sum(bounds)
        assert (before.argmax(axis=1) == after.argmax(axis=1))[safe].all()
        change = after - before
        assert (change.max(axis=1) - change.min(axis=1)).max() <= sum(bounds) + 1e-9
    return both.guarantee.kind


@pytest.mark.slow
@pytest.mark.parametrize("second", list(METHODS))
def test_two_closers_equal_applying_in_turn(second: str) -> None:
    """All pairs of the table, each with a third of the settings, in turn: on unit rows under
    every two scores, else under one for both."""
    settings = [
        (units, scores)
        for units in itertools.product((True, False), repeat=2)
        for scores in itertools.product(SCORES, repeat=2)
        if all(units) or scores[0] == scores[1]
    ]
    seen: dict[str, int] = {}
    for place, first in enumerate(METHODS, start=list(METHODS).index(second)):
        for setting in settings[place % 3 :: 3]:
            parts = first_and_second((first, second), *setting)
            if parts is not None:
                kind = check_chain(*parts)
                seen[kind] = seen.get(kind, 0) + 1
    assert seen["none"] > 0
    if second in EXACT:
        assert seen["exact"] > 0


@given(
    names=st.sampled_from(PAIRS),
    seed=st.integers(0, 200),
    units=st.tuples(st.booleans(), st.booleans()),
    score=st.sampled_from(SCORES),
    strengths=st.tuples(st.floats(-1, 2), st.floats(-1, 2)),
)
@example(("drop-dimensions", "low-rank-memo"), 0, (True, True), "dot", (2.0, 1.0))
def test_chains_of_any_strength(
    names: tuple[str, str],
    seed: int,
    units: tuple[bool, bool],
    score: str,
    strengths: tuple[float, float],
) -> None:
    whole = ("subspace", "low-rank-memo")
    parts = first_and_second(names, units, (score, score), seed)
    if parts is None:
        return
    a, b = parts[2:]
    given_ = [float(name in whole) or strength for name, strength in zip(names, strengths)]
    inner = fitted(names[0], a, b, score=score, normalised=units[0], strength=given_[0])
    rank = {"rank": min(2, inner.query.dim_out)} if names[1] == "low-rank-memo" else {}
    then: dict[str, Any] = {"score": score, "normalised": units[1], "strength": given_[1]}
    outer = fitted(names[1], *maps(inner, (a, b)), **then, **rank)
    check_chain(inner, outer, a, b)


def test_what_a_chain_promises() -> None:
    a, b = two_modalities(30, 40, seed=6)
    b = b[:8]

    def two(first: str, second: str, normalised: bool = False, **options: Any) -> Closer:
        inner = fitted(first, a, b, **options)
        return inner.then(fitted(second, *maps(inner, (a, b)), normalised=normalised, **options))

    small = two("subspace", "center-queries", score="dot")
    assert small.guarantee.kind == "exact"
    assert "; then " in small.guarantee.condition
    assert small.guarantee.bound is None
    assert small.query.dim_out == 7
    assert {"first_rank", "norm_moved"} <= set(small.facts)
    assert two("center-both", "ridge-shift", score="dot").guarantee.kind == "bounded"
    assert two("mean-shift", "center-queries", score="dot").guarantee.kind == "none"
    assert (
        two("center-queries", "center-both", normalised=True, score="dot").guarantee.kind == "none"
    )
    moved = fitted("orthogonal-shift", a, b, score="cosine")
    for normalised in (True, False):
        again = fitted("center-queries", *maps(moved, (a, b)), normalised=normalised)
        if normalised:
            with refused("normalised-between", "center-queries has a bias"):
                moved.then(again)
        else:
            assert moved.then(again).guarantee.kind == "exact"
    # a bound is in the units of the rows it was fitted on: normalising changes them
    ridge = fitted("ridge-shift", *maps(moved, (a, b)), score="dot")
    assert moved.then(ridge).guarantee.kind == "none"


def test_chain_refusals() -> None:
    a, b = two_modalities(30, 6, seed=6)
    memo = fitted("low-rank-memo", a, b)
    after = fitted("none", *maps(memo, (a, b)))
    with refused("memo-first", "low-rank-memo keeps 2 coordinates"):
        memo.then(after)
    close_dot = fitted("center-queries", a, b)
    with refused("scores-differ", "center-queries", "dot", "euclidean"):
        close_dot.then(fitted("none", a, b, score="euclidean"))
    bent = fitted("centering", a, b)
    numbers = fitted("center-queries", *maps(bent, (a, b)))
    with refused("normalised-between", "center-queries has a bias", "in turn"):
        bent.then(numbers)
    longer = b * np.random.default_rng(0).uniform(0.5, 2, size=(30, 1))
    of_raw = fitted("biased-shift", a, longer, normalised=False)
    on_unit = fitted("none", *maps(of_raw, (a, longer)), score="euclidean")
    with refused("normalised-between", "biased-shift has a bias", "as they are"):
        of_raw.then(on_unit)
    up = fitted("none", *two_modalities(9, 7))
    with refused("maps-do-not-chain", "a map to 6 dimensions"):
        fitted("none", a, b).then(up)


def test_a_chain_is_saved_and_read_back(tmp_path: Any) -> None:
    a, b = two_modalities(30, 12, seed=6)
    first = fitted("realign", a, b)
    chained = first.then(fitted("low-rank-memo", *maps(first, (a, b)), rank=3))
    assert len(chained.query.steps) > 1
    chained.save(tmp_path / "chain.safetensors")
    back = Closer.load(tmp_path / "chain.safetensors")
    assert (back.memo, back.guarantee, back.name) == (3, chained.guarantee, chained.name)
    for role, rows in (("query", a), ("candidate", b)):
        np.testing.assert_array_equal(back.apply(rows, role), chained.apply(rows, role))
    back.save(tmp_path / "again.safetensors")
    again = (tmp_path / "again.safetensors").read_bytes()
    assert again == (tmp_path / "chain.safetensors").read_bytes()

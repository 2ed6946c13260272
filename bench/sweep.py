"""A whole grid of noise on candidates: one clean search a strength against drawing the noise."""

from __future__ import annotations

import resource
import sys
from typing import Any

import numpy as np

from bench.rows import array
from bench.timing import ratio, result, say, seconds

QUERIES, CANDIDATES, DIM = 4000, 1000, 512
LEVELS = (0.005, 0.01, 0.022, 0.03, 0.04)
STRENGTHS = tuple(np.linspace(0, 1, 11))
TRIALS = 20
CHECKED = 200  # queries of the exact integral


def measure(quick: bool) -> dict[str, Any]:
    """Both scores; the plain way draws every trial, or with ``quick`` one of each cell, scaled."""
    queries, candidates = _sides()
    entries = {}
    for score, name in (("dot", "sweep_vs_naive"), ("euclidean", "sweep_vs_naive_euclidean")):
        say(f"  {score}")
        entries[name] = _measured(queries, candidates, score, 1 if quick else TRIALS)
    return entries


def _sides() -> tuple[np.ndarray, np.ndarray]:
    """Unit rows: four queries a candidate, that share a signal with it and lie apart."""
    rng = np.random.default_rng(0)
    content = array(CANDIDATES, DIM)
    sides = []
    for rows in (content[rng.integers(0, CANDIDATES, QUERIES)], content):
        own = rng.standard_normal(rows.shape, dtype=np.float32)
        side = rows + np.float32(2.5) * own + 2 * rng.standard_normal(DIM, dtype=np.float32)
        sides.append(side / np.linalg.norm(side, axis=1, keepdims=True))
    return sides[0], sides[1]


def _closed(
    queries: np.ndarray, candidates: np.ndarray, score: str, strength: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Mapped rows and stored numbers at a strength: queries centred, or candidates moved."""
    step = np.float32(strength)
    if score == "dot":
        shift = step * queries.mean(axis=0)
        return queries - shift, candidates, (candidates @ shift).astype(np.float64)
    return queries, candidates + step * (queries.mean(axis=0) - candidates.mean(axis=0)), None


def _measured(
    queries: np.ndarray, candidates: np.ndarray, score: str, trials: int
) -> dict[str, Any]:
    from isthmus.scores import Ranking
    from isthmus.sweep import consistency_curve

    taken: dict[str, list[float]] = {"naive": [], "sweep": []}
    found: dict[str, list[np.ndarray]] = {"naive": [], "sweep": []}
    curves: list[Any] = []
    exact = []
    naive = _Naive(score, trials)
    for turn, strength in enumerate(STRENGTHS):
        rows = _closed(queries, candidates, score, float(strength))

        def sweep(rows: tuple = rows) -> None:
            ranking = Ranking.of(rows[0], rows[1], score, rows[2])
            curves.append(consistency_curve(ranking, score, LEVELS))

        def plain(rows: tuple = rows, seed: int = turn) -> None:
            found["naive"].append(naive.grid(*rows, seed))

        if not turn:
            sweep()  # loads SciPy
        taken["sweep"].append(seconds(sweep))
        taken["naive"].append(seconds(plain) * TRIALS / trials)
        found["sweep"].append(curves[-1].value)
        if score == "dot" and turn in (0, 5, 10):
            exact.append(curves[-1].kept[:, :CHECKED] - _exact(*rows))
        say(f"  strength {strength:.1f}: {taken['naive'][-1]:.2f} s, {taken['sweep'][-1]:.4f} s")
    sums = {name: [sum(times)] for name, times in taken.items()}
    by_turn = ratio(taken, "naive", "sweep")
    whole = ratio(sums, "naive", "sweep")
    ours, drawn = np.array(found["sweep"]), np.array(found["naive"])
    error: dict[str, Any] = {"naive_rms": float(np.sqrt(((drawn - ours) ** 2).mean()))}
    if exact:
        off = np.array(exact)
        error["sweep_mean"] = float(np.abs(off.mean(axis=2)).max())
        error["sweep_query"] = float(np.abs(off).max())
    unit = 1 if sys.platform == "darwin" else 1024
    return result(
        whole["value"],
        "time of drawing the noise / time of the sweep",
        at_least=50,
        what="11 strengths x 5 levels x 20 trials: noise added to the candidates, product, argmax, "
        "over isthmus.sweep.consistency_curve at each strength, search included",
        least=by_turn["least"],
        greatest=by_turn["greatest"],
        repeats=len(STRENGTHS),
        seconds=whole["seconds"],
        trials_drawn=trials,
        scaled=trials != TRIALS,
        error={
            **error,
            "what": "naive_rms: root mean square over cells of drawn less swept consistency; "
            f"sweep_mean, sweep_query: greatest error of a cell's mean and of a query's "
            f"probability against the integral over all rivals in float64, {CHECKED} queries",
        },
        consistency=[float(ours.min()), float(ours.max())],
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
        shape=[QUERIES, CANDIDATES, DIM],
        dtype="float32",
        rows="made-up rows, four queries a candidate",
    )


class _Naive:
    """The plain way, as fast as NumPy goes: float32, buffers kept, BLAS on all cores."""

    def __init__(self, score: str, trials: int) -> None:
        self.score, self.trials = score, trials
        self.noisy = np.empty((CANDIDATES, DIM), np.float32)
        self.scores = np.empty((QUERIES, CANDIDATES), np.float32)

    def grid(
        self, queries: np.ndarray, candidates: np.ndarray, bias: np.ndarray | None, seed: int
    ) -> np.ndarray:
        """Drawn consistency at each level."""
        offset = None if bias is None else bias.astype(np.float32)
        rng = np.random.default_rng(seed)
        clean = self._answers(queries, candidates, offset)
        out = np.zeros(len(LEVELS))
        for i, level in enumerate(LEVELS):
            for _ in range(self.trials):
                rng.standard_normal(out=self.noisy, dtype=np.float32)
                self.noisy *= np.float32(np.sqrt(level / DIM))
                self.noisy += candidates
                out[i] += (self._answers(queries, self.noisy, offset) == clean).mean()
        return out / self.trials

    def _answers(
        self, queries: np.ndarray, candidates: np.ndarray, offset: np.ndarray | None
    ) -> np.ndarray:
        np.matmul(queries, candidates.T, out=self.scores)
        if self.score == "euclidean":
            offset = -0.5 * np.einsum("ij,ij->i", candidates, candidates)
        if offset is not None:
            self.scores += offset
        return self.scores.argmax(axis=1)


def _exact(queries: np.ndarray, candidates: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """D11 by a fine trapezoid rule over all rivals, in float64: (levels, CHECKED)."""
    from scipy.special import ndtr

    q, x = queries[:CHECKED].astype(np.float64), candidates.astype(np.float64)
    scores = q @ x.T + bias
    margins = np.sort(scores.max(axis=1, keepdims=True) - scores, axis=1)[:, 1:]
    nodes = np.linspace(-8, 8, 129)
    weights = np.exp(-0.5 * nodes**2)
    out = np.zeros((len(LEVELS), CHECKED))
    for i, level in enumerate(LEVELS):
        lead = margins / (np.sqrt(level / DIM) * np.linalg.norm(q, axis=1)[:, None])
        for t, weight in zip(nodes, weights / weights.sum(), strict=True):
            out[i] += weight * ndtr(lead + t).prod(axis=1)
    return out

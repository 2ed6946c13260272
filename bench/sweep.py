"""A whole grid of noise on candidates: one clean search a strength against drawing the noise."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.rows import array
from bench.timing import ratio, result, say, seconds

QUERIES, CANDIDATES, DIM = 4000, 1000, 512
LEVELS = (0.005, 0.01, 0.022, 0.03, 0.04)
STRENGTHS = tuple(np.linspace(0, 1, 11))
TRIALS = 20
CHECKED = 200  # queries of the exact integral


def measure(quick: bool) -> dict[str, Any]:
    """Both scores; the plain way draws every trial, or with ``quick`` one of each perturbation,
    scaled."""
    queries, candidates = _sides()
    entries = {}
    for score, name in (("dot", "sweep_vs_naive"), ("euclidean", "sweep_vs_naive_euclidean")):
        say(f"  {score}")
        with threadpool_limits(1, user_api="blas"):
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


def _closers(queries: np.ndarray, candidates: np.ndarray, score: str) -> list[Any]:
    """A closer at each strength: queries centred with a candidate bias, or candidates moved."""
    from isthmus.closers import fit
    from isthmus.data.moments import Moments

    sides = Moments.of(queries), Moments.of(candidates)
    method, options = "center-queries", {"score": "dot"}
    if score == "euclidean":
        method, options = "mean-shift", {"score": score, "side": "candidate", "renormalise": False}
    return [fit(method, *sides, strength=float(s), normalised=False, **options) for s in STRENGTHS]


def _measured(
    queries: np.ndarray, candidates: np.ndarray, score: str, trials: int
) -> dict[str, Any]:
    from isthmus.theory.curves import consistency_curves

    taken: dict[str, list[float]] = {"naive": [], "sweep": []}
    closers = _closers(queries, candidates, score)
    curves: list[Any] = []
    drawn, exact = [], []
    naive = _Naive(score, trials)

    def sweep() -> None:
        curves[:] = consistency_curves(queries, candidates, closers, LEVELS)

    sweep()  # loads SciPy
    for turn, closer in enumerate(closers):
        rows = closer.query(queries), closer.candidate(candidates)
        bias = None if closer.bias_weights is None else closer.candidate_bias(candidates)

        def plain(rows: tuple = rows, bias: Any = bias, seed: int = turn) -> None:
            drawn.append(naive.grid(*rows, bias, seed))

        drawings, perturbations = (
            len(LEVELS) * TRIALS + 1,
            len(LEVELS) * trials + 1,
        )  # and a clean search
        taken["naive"].append(seconds(plain, time.process_time) * drawings / perturbations)
        if turn % 2 == 0:
            taken["sweep"].append(seconds(sweep, time.process_time))
        if score == "dot" and turn in (0, 5, 10):
            exact.append(curves[turn].kept[:, :CHECKED] - _exact(*rows, bias))
        say(
            f"  strength {closer.strength:.1f}: {taken['naive'][-1]:.2f} s; all strengths by "
            f"sweep {taken['sweep'][-1]:.3f} s"
        )
    whole = ratio(
        {"naive": [sum(taken["naive"])], "sweep": [float(np.median(taken["sweep"]))]},
        "naive",
        "sweep",
    )
    found = sum(taken["naive"]) / np.array(taken["sweep"])
    ours = np.array([curve.value for curve in curves])
    error: dict[str, Any] = {"naive_rms": float(np.sqrt(((np.array(drawn) - ours) ** 2).mean()))}
    if exact:
        off = np.array(exact)
        error["sweep_mean"] = float(np.abs(off.mean(axis=2)).max())
        error["sweep_query"] = float(np.abs(off).max())
    unit = 1 if sys.platform == "darwin" else 1024
    return result(
        whole["value"],
        "processor time of drawing the noise / of the sweep",
        at_least=130 if score == "dot" else 60,
        what="11 strengths x 5 levels x 20 trials: noise added to the candidates, product, argmax, "
        "over isthmus.theory.curves.consistency_curves of the 11 closers, maps and search included",
        least=float(found.min()),
        greatest=float(found.max()),
        repeats=len(taken["sweep"]),
        seconds=whole["seconds"],
        trials_drawn=trials,
        scaled=trials != TRIALS,
        error={
            **error,
            "what": "naive_rms: root mean square over perturbations of drawn less swept "
            "consistency; "
            f"sweep_mean, sweep_query: greatest error of a perturbation's mean and of a query's "
            f"probability against the integral over all rivals in float64, {CHECKED} queries",
        },
        consistency=[float(ours.min()), float(ours.max())],
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
        shape=[QUERIES, CANDIDATES, DIM],
        dtype="float32",
        rows="made-up rows, four queries a candidate",
    )


class _Naive:
    """The plain way, as fast as NumPy goes: float32, buffers kept, one BLAS thread."""

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


def _exact(queries: np.ndarray, candidates: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """D11 by a fine trapezoid rule over all rivals, in float64: (levels, CHECKED)."""
    from scipy.special import ndtr

    q, x = queries[:CHECKED].astype(np.float64), candidates.astype(np.float64)
    scores = q @ x.T + (0.0 if bias is None else bias)
    margins = np.sort(scores.max(axis=1, keepdims=True) - scores, axis=1)[:, 1:]
    nodes = np.linspace(-8, 8, 129)
    weights = np.exp(-0.5 * nodes**2)
    out = np.zeros((len(LEVELS), CHECKED))
    for i, level in enumerate(LEVELS):
        lead = margins / (np.sqrt(level / DIM) * np.linalg.norm(q, axis=1)[:, None])
        for t, weight in zip(nodes, weights / weights.sum(), strict=True):
            out[i] += weight * ndtr(lead + t).prod(axis=1)
    return out

"""Predicted against measured consistency on two files of paired embeddings: JSON.

    python -m bench.prediction A.npy B.npy [--trials 200]

Row i of A belongs to row i of B; rows are normalised. In each direction, under dot and Euclidean,
candidates meet Gaussian noise of E‖ε‖² = .005, .022 and .04, drawn here and searched by plain
argmax, not through the library. ``predicted`` is the mean of D11 or D12 over queries, ``bound`` its
greatest error bound, ``seconds`` what it took. ``measured`` is the share of (trial, query) that
keep their clean answer. Queries are the same in every trial and all queries of a trial share the
candidates' noise, so trials are the independent units: the 95 % interval is Student's over their
means. ``q_error`` is the mean absolute difference query by query, beside what sampling alone gives.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from bench.codecs import unit
from isthmus.search.scores import Ranking
from isthmus.theory.both import normal_two
from isthmus.theory.prediction import keep_probabilities

LEVELS = (0.005, 0.022, 0.04)


def half_square(rows: np.ndarray) -> np.ndarray:
    """½‖x‖² of rows, (n,)."""
    return np.asarray(0.5 * np.einsum("ij,ij->i", rows, rows))


def measured(
    queries: np.ndarray, candidates: np.ndarray, total: float, trials: int
) -> dict[str, np.ndarray]:
    """Outcomes (trials, n) by score: is the clean answer found again? Common noise for both."""
    rng = np.random.default_rng([int(total * 1e6), len(queries)])
    scale = np.sqrt(total / candidates.shape[1])
    clean = {
        "dot": (queries @ candidates.T).argmax(axis=1),
        "euclidean": (queries @ candidates.T - half_square(candidates)).argmax(axis=1),
    }
    kept = {score: np.empty((trials, len(queries)), bool) for score in clean}
    for trial in range(trials):
        noisy = candidates + scale * rng.standard_normal(candidates.shape)
        scores = queries @ noisy.T
        kept["dot"][trial] = scores.argmax(axis=1) == clean["dot"]
        scores -= half_square(noisy)
        kept["euclidean"][trial] = scores.argmax(axis=1) == clean["euclidean"]
    return kept


def perturbation(
    queries: np.ndarray, candidates: np.ndarray, score: str, total: float, kept: np.ndarray
) -> dict[str, Any]:
    """One level, score and direction."""
    from scipy.stats import t

    ranking = Ranking.of(queries, candidates, score)
    start = time.perf_counter()
    found = keep_probabilities(ranking, total)
    seconds = time.perf_counter() - start
    assert found is not None
    predicted, means = float(found.value.mean()), kept.mean(axis=1)
    reach = float(t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    share = float(means.mean())
    sampling = np.sqrt(found.value * (1 - found.value) / len(means)) * np.sqrt(2 / np.pi)
    return {
        "score": score,
        "level": total,
        "predicted": predicted,
        "measured": share,
        "low": share - reach,
        "high": share + reach,
        "error": abs(predicted - share),
        "within": bool(abs(predicted - share) <= reach),
        "bound": float(found.error_bound.max()),
        "seconds": seconds,
        "q_error": float(np.abs(found.value - kept.mean(axis=0)).mean()),
        "q_sampling": float(sampling.mean()),
    }


def normal_approximation() -> dict[str, float]:
    """Greatest difference of D14 from D12 by dimension: 200 normal queries, two candidates, noise
    of a tenth and of one variance a coordinate."""
    rng = np.random.default_rng(8)
    worst = {}
    for dim in (2, 8, 64):
        q, c = rng.normal(size=(200, dim)), rng.normal(size=(2, dim))
        near, far = np.sort(np.linalg.norm(q[:, None] - c[None], axis=2), axis=1).T
        ranking = Ranking.of(q, c, "euclidean")
        apart = []
        for total in (0.1 * dim, dim):
            found = keep_probabilities(ranking, total)
            assert found is not None
            apart.append(found.value - normal_two(near, far, np.zeros(200), dim, total))
        worst[str(dim)] = float(np.abs(apart).max())
    return worst


def main() -> int:
    """Print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--trials", type=int, default=200)
    given = parser.parse_args()
    a, b = (unit(np.load(name, allow_pickle=False)) for name in (given.a, given.b))
    perturbations = []
    for direction, queries, candidates in (("a_to_b", a, b), ("b_to_a", b, a)):
        for total in LEVELS:
            kept = measured(queries, candidates, total, given.trials)
            for score, outcomes in kept.items():
                found = perturbation(queries, candidates, score, total, outcomes)
                perturbations.append({"direction": direction} | found)
    summary = {
        "trials": given.trials,
        "perturbations": len(perturbations),
        "within": sum(c["within"] for c in perturbations),
        "mean_absolute_error": float(np.mean([c["error"] for c in perturbations])),
        "normal_approximation": normal_approximation(),
    }
    rounded = [
        {k: round(v, 9) if isinstance(v, float) else v for k, v in c.items()} for c in perturbations
    ]
    print(json.dumps({"summary": summary, "perturbations": rounded}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

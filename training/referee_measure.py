"""What the referee measures of a run, from its rows: metrics, outcomes, and closing afterwards.

NumPy, scikit-learn and the package's own facade; definitions in docs/referee-plan.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import isthmus as im
from isthmus.encoders.emoji_world import EmojiWorld
from isthmus.perturb.codecs import fit_codec

VARIANCE_KEPT = 0.95
LEVEL = 0.022
SPREAD_LEVEL = 0.1
AFTERWARDS = {
    "none": "dot",
    "center-queries": "dot",
    "center-both": "dot",
    "centering": "dot",
    "database-shift": "dot",
    "orthogonal-shift": "euclidean",
}
"""Closer -> score. Fitted on the training emoji's Google drawings and names, applied to Twitter
drawings. Plain search is also done by Euclidean distance, as ``none-euclidean``."""


def unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def closable_share(candidates: np.ndarray, gap: np.ndarray) -> float:
    """Share of |gap|² outside the fewest principal directions with 95 % of the variance."""
    values, vectors = im.Moments.of(candidates, precise=True).spectrum
    enough = int(np.searchsorted(np.cumsum(values) / values.sum(), VARIANCE_KEPT)) + 1
    inside = vectors[:, :enough].T @ gap
    return float(1 - inside @ inside / (gap @ gap))


def metrics(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    gap = im.measure(a, b, paired=True)
    vector = b.mean(axis=0) - a.mean(axis=0)
    return {
        "centroid_gap": gap["norm"],
        "distribution_gap": gap["alignment"] - gap["norm"] ** 2,
        "distribution_gap_unpaired": gap["bures"],
        "closable_share": (closable_share(a, vector) + closable_share(b, vector)) / 2,
        "rmg": gap["rmg"],
        "effective_rank": (gap["effective_rank"]["a"] + gap["effective_rank"]["b"]) / 2,
    }


def recall(scores: np.ndarray) -> float:
    """R@1 of a square table of scores; row i belongs to column i, ties count against."""
    own = np.diag(scores)
    return float(((scores > own[:, None] - 1e-9).sum(axis=1) == 1).mean())


def noise_flips(a: np.ndarray, b: np.ndarray, convention: str, level: float) -> float:
    """Share of first answers that Gaussian noise on the candidates changes, Euclidean, 8 draws."""
    table = im.stress(
        a,
        b,
        paired=True,
        score="euclidean",
        perturb="gaussian",
        levels=[level],
        closers=(),
        convention=convention,
        trials=8,
        max_queries=len(a),
    )
    return 1 - table.rows()[0]["consistency"]


def one_bit(
    queries: np.ndarray, candidates: np.ndarray, bias: np.ndarray | None
) -> tuple[float, float]:
    """FAISS's RaBitQ by dot, fitted on every second candidate, without re-ranking.

    Returns the share of the exact 10 best that the codes find too, and R@1 by the codes.
    """
    codec = fit_codec("rabitq", candidates[::2])
    exact = queries @ candidates.T
    coded = queries @ codec.through(candidates).T + codec.offsets(candidates, "dot")
    if bias is not None:
        exact, coded = exact + bias, coded + bias
    best, found = (np.argpartition(-s, 10, axis=1)[:, :10] for s in (exact, coded))
    overlap = np.mean([len(np.intersect1d(x, y)) / 10 for x, y in zip(best, found)])
    return float(overlap), recall(coded)


def mixed_ndcg(queries: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """nDCG@10 of one pool, a seeded half of the documents stored as a and the rest as b."""
    found = []
    for draw in range(4):
        as_a = np.random.default_rng([draw, 5]).permutation(len(a)) < len(a) // 2
        scores = queries @ np.where(as_a[:, None], a, b).T
        own = np.diag(scores)[:, None]
        place = (scores > own - 1e-9).sum(axis=1)
        found.append(np.where(place <= 10, 1 / np.log2(place + 1), 0.0).mean())
    return float(np.mean(found))


def v_measure(a: np.ndarray, b: np.ndarray, world: EmojiWorld) -> float:
    """V-measure of 9-means over the rows of both modalities against the nine categories."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import v_measure_score

    rows, truth = np.concatenate([a, b]), np.tile(world.category_of, 2)
    scores = []
    for seed in range(3):
        labels = KMeans(len(world.categories), n_init=1, random_state=seed).fit_predict(rows)
        scores.append(v_measure_score(truth, labels))
    return float(np.mean(scores))


def outcomes(rows: dict[str, np.ndarray], world: EmojiWorld) -> dict[str, float]:
    """Of unit rows: ``twitter``, ``names``, ``tagged``, ``categories``."""
    a, b = rows["twitter"], rows["names"]
    scores = a @ b.T
    return {
        "retrieval": (recall(scores) + recall(scores.T)) / 2,
        "zero_shot": float(((a @ rows["categories"].T).argmax(1) == world.category_of).mean()),
        "flips": (noise_flips(a, b, "total", LEVEL) + noise_flips(b, a, "total", LEVEL)) / 2,
        "flips_spread": (
            noise_flips(a, b, "spread", SPREAD_LEVEL) + noise_flips(b, a, "spread", SPREAD_LEVEL)
        )
        / 2,
        "one_bit": (one_bit(a, b, None)[0] + one_bit(b, a, None)[0]) / 2,
        "mixed": mixed_ndcg(rows["tagged"], a, b),
        "clustering": v_measure(a, b, world),
    }


def afterwards(
    rows: dict[str, np.ndarray], google: np.ndarray, world: EmojiWorld, closers: bool
) -> dict[str, dict[str, float]]:
    """The same outcomes with closers fitted on the training emoji; drawings ask for names.

    Accuracy, consistency and one-bit recall follow the closer's own score and bias; ``mixed``
    asks with tags in a pool where each modality is levelled by the closer's means.
    """
    a, b, tagged = rows["twitter"], rows["names"], rows["tagged"]
    fit_a, fit_b = google[world.train], b[world.train]
    found = {}
    tried = {**AFTERWARDS, "none-euclidean": "euclidean"} if closers else {"none": "dot"}
    for name, score in tried.items():
        method = name.removesuffix("-euclidean")
        options = {"variance": VARIANCE_KEPT} if method == "orthogonal-shift" else {}
        closer = im.fit(method, fit_a, fit_b, score=score, **options)
        assert closer.score == score, (method, closer.score)
        q, stored = np.asarray(closer.queries(a)), closer.candidates(b)
        x, bias = np.asarray(stored.rows), stored.bias
        overlap, through_code = one_bit(q, x, bias)
        found[name] = {
            "retrieval": recall(_scores(q, x, bias, score)),
            "zero_shot": zero_shot(closer, rows, world),
            "consistency": kept(q, x, bias, score),
            "one_bit": overlap,
            "one_bit_retrieval": through_code,
            "mixed": mixed_ndcg(*pool_of(method, tagged, a, b, fit_a, fit_b)),
        }
    return found


def zero_shot(closer: im.Closer, rows: dict[str, np.ndarray], world: EmojiWorld) -> float:
    """Accuracy over the nine categories, their names as candidates of the closer."""
    classes = closer.candidates(rows["categories"])
    q = np.asarray(closer.queries(rows["twitter"]))
    table = _scores(q, np.asarray(classes.rows), classes.bias, closer.score)
    return float((table.argmax(axis=1) == world.category_of).mean())


def _scores(q: np.ndarray, x: np.ndarray, bias: np.ndarray | None, score: str) -> np.ndarray:
    table = q @ x.T
    if score == "euclidean":
        table = table - (x**2).sum(axis=1) / 2
    return table if bias is None else table + bias


def kept(q: np.ndarray, x: np.ndarray, bias: np.ndarray | None, score: str) -> float:
    """Share of first answers that survive noise on the stored candidates (total .022, 8 draws)."""
    clean, shares = _scores(q, x, bias, score).argmax(axis=1), []
    for draw in range(8):
        noise = np.random.default_rng([draw, 9]).normal(size=x.shape)
        noisy = x + np.sqrt(LEVEL / x.shape[1]) * noise
        shares.append((_scores(q, noisy, bias, score).argmax(axis=1) == clean).mean())
    return float(np.mean(shares))


def pool_of(
    method: str, tagged: np.ndarray, a: np.ndarray, b: np.ndarray, fit_a: np.ndarray, fit_b: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries and both forms of the documents of a mixed pool, as a closer would store them.

    Levelled (each modality minus its training mean) for the closers that centre candidates;
    moved by the training gap, and renormalised, for the shifts; as they are for the others.
    """
    mean_a, mean_b = fit_a.mean(axis=0), fit_b.mean(axis=0)
    if method == "center-both":
        return tagged, a - mean_a, b - mean_b
    if method == "centering":
        return unit(tagged - mean_b), unit(a - mean_a), unit(b - mean_b)
    if method == "database-shift":
        return tagged, unit(a + mean_b - mean_a), b
    if method == "orthogonal-shift":
        closer = im.fit(method, fit_b, fit_a, score="euclidean", variance=VARIANCE_KEPT)
        return tagged, np.asarray(closer.candidates(a).rows), b
    return tagged, a, b


def measured(rows: dict[str, np.ndarray], world: EmojiWorld, closers: bool) -> dict[str, Any]:
    """Everything that is kept of a run's rows; ``closers``: closed afterwards as well."""
    rows = {name: unit(found) for name, found in rows.items()}
    found = {
        "metrics": metrics(rows["twitter"], rows["names"]),
        "outcomes": outcomes(rows, world),
        "afterwards": afterwards(rows, rows["google"], world, closers),
    }
    return _rounded(found)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return round(float(value), 5)

"""What searches answer before and after, which answers cannot have changed, and the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import EPS32, row_norms, to_numpy
from isthmus.core.seeds import stream
from isthmus.core.statistics import Share, mcnemar, quantiles, wilson
from isthmus.data.source import id_at
from isthmus.search.items import best_items, rows_for
from isthmus.search.relevance import Relevance
from isthmus.search.scores import Ranking, TopK, top_k
from isthmus.search.task import RetrievalTask
from isthmus.theory.radii import query_radius

GATES = ("worst", "new-old", "old-new", "new-new")
Z = 1.959963984540054  # of the 95 % intervals
DRAWS, DRAWN = 3, 1000  # random errors of the measured lengths: draws, and queries at most


@dataclass(frozen=True, eq=False)
class VersionSearch:
    """One search (queries' version - candidates' version) against the old one, n queries each.

    ``best`` (n,): answers. ``flipped`` (n,) bool: another answer, and the old search scores the two
    differently. ``near`` (n,) bool: another answer, whose score the old search cannot tell from its
    own in float32. ``overlap`` (n,): share of the old k best among the new. ``reach`` (n,): error
    over the radius within which no error can change the answer; below 1 the answer is certified.
    ``random_rate``: flips under random errors of the same lengths, where queries alone moved.
    """

    best: np.ndarray
    flipped: np.ndarray
    near: np.ndarray
    overlap: np.ndarray
    reach: np.ndarray
    k: int
    random_rate: float | None = None

    @property
    def certified(self) -> np.ndarray:
        """(n,) bool: the size of the error alone proves that the answer is the same."""
        return self.reach < 1

    @property
    def rate(self) -> Share:
        """Share of answers that changed by more than rounding, Wilson's interval."""
        return wilson(int(self.flipped.sum()), len(self.flipped))

    def to_dict(self, places: np.ndarray, ids: np.ndarray | None = None) -> dict[str, Any]:
        """Plain numbers; rows are named by ``places``, their numbers in the input, and its ids."""
        first = [int(places[i]) for i in np.flatnonzero(self.flipped)[:10]]
        return {
            "queries": len(self.best),
            "flip_reference": "today",
            "flips": int(self.flipped.sum()),
            "near_ties": int(self.near.sum()),
            **self.rate.named("flip_rate"),
            "first_flipped": first,
            "first_flipped_ids": None if ids is None else [id_at(ids, row) for row in first],
            "overlap_at_k": float(self.overlap.mean()),
            "k": self.k,
            "random_error_flip_rate": self.random_rate,
            "certified": {
                "queries": int(self.certified.sum()),
                "share": float(self.certified.mean()),
                "flips": int((self.certified & self.flipped).sum()),
                "error_over_radius": {
                    "flipped": _quantiles(self.reach[self.flipped]),
                    "kept": _quantiles(self.reach[~self.flipped]),
                },
            },
        }


def _quantiles(values: np.ndarray) -> dict[str, float | None] | None:
    return quantiles(values) if len(values) else None


def searches(
    task: RetrievalTask,
    new: np.ndarray,
    new_candidates: np.ndarray | None,
    k: int,
    *,
    seed: int = 0,
) -> dict[str, VersionSearch]:
    """Old and new queries among old and, where given, new candidates. O(n K d) each.

    Args:
        task: the old queries and candidates, by dot (unit rows under cosine) or euclidean.
        new: (n, d) new queries. new_candidates: (K, d) or None. k: depth of the overlap.

    Certificates. Queries moved by e: no answer changes while ‖e‖ is below ``query_radius``.
    Candidates moved: see :func:`candidate_reach`. Both: the first holds, and the second for the
    new queries.
    """
    old, score = task.plain(), task.score
    depth = k if task.candidate_items is None else rows_for(task.candidate_items, k)
    first = top_k(old, depth)
    against = _Old(task, first, k, to_numpy(old.rounding(EPS32 / 2))[:, 0])
    mixed = Ranking.of(new, task.candidates, score)
    second = top_k(mixed, depth)
    moved = row_norms(new - task.queries)
    by_query = _over(moved, query_radius(old, items=task.candidate_items))
    chance = random_error_rate(task, moved, first.rows[:, 0], seed=seed)
    found = {
        "old-old": against.compared(first, np.zeros(len(new))),
        "new-old": against.compared(second, by_query, chance),
    }
    if new_candidates is None:
        return found
    steps = row_norms(new_candidates - task.candidates)
    items = task.candidate_items
    by_candidates = candidate_reach(old, first.rows[:, 0], steps, items)
    both = np.maximum(by_query, candidate_reach(mixed, second.rows[:, 0], steps, items))
    for name, rows, reach in (("old-new", task.queries, by_candidates), ("new-new", new, both)):
        found[name] = against.compared(top_k(Ranking.of(rows, new_candidates, score), depth), reach)
    return found


def candidate_reach(
    ranking: Ranking, winners: np.ndarray, steps: np.ndarray, items: np.ndarray | None = None
) -> np.ndarray:
    """How near moves of the candidates (K,) may come to changing answers (n,): (n,). O(n K d).

    dot: max_j ‖q‖ (‖e_1‖ + ‖e_j‖) / (s_1 - s_j), by Cauchy and Schwarz; euclidean:
    max_j (‖e_1‖ + ‖e_j‖) / (‖u_j‖ - ‖u_1‖), by the triangle inequality, u_j = q - x_j. Below 1 no
    answer changes. ``predict.candidate_radius`` is the case of equal moves. ``items`` (K,): other
    rows of the winner's item are no rivals.
    """
    squares = np.einsum("ij,ij->i", ranking.queries, ranking.queries)
    parts = []
    for start, scores in ranking.score_blocks():
        rows = np.arange(len(scores))
        first = winners[start : start + len(scores)]
        ahead = squares[start : start + len(scores), None]
        if ranking.score == "euclidean":
            far = np.sqrt(np.maximum(ahead - 2 * scores, 0.0))
            margin = far - far[rows, first][:, None]
            error = steps[first][:, None] + steps
        else:
            margin = scores[rows, first][:, None] - scores
            error = np.sqrt(ahead) * (steps[first][:, None] + steps)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(error > 0, error / np.maximum(margin, 0.0), 0.0)
        reach[rows, first] = 0.0
        if items is not None:
            reach[items[first][:, None] == items] = 0.0
        parts.append(reach.max(axis=1))
    return np.concatenate(parts)


def _over(error: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Error over radius; no error is 0 of any radius."""
    with np.errstate(divide="ignore"):
        return np.where(error > 0, error / np.maximum(radius, 1e-300), 0.0)


@dataclass(frozen=True, eq=False)
class _Old:
    """The old search: its k best, and the score differences (n,) it cannot tell in float32."""

    task: RetrievalTask
    top: TopK
    k: int
    widths: np.ndarray

    def compared(self, new: TopK, reach: np.ndarray, chance: float | None = None) -> VersionSearch:
        """Another search against this one."""
        plain, items = self.task.plain(), self.task.candidate_items
        first, last = self.top.rows[:, 0], new.rows[:, 0]
        drop = plain.scores_of(first) - plain.scores_of(last)
        other = self.task.items(first) != self.task.items(last)
        near = other & (np.abs(drop) <= self.widths)
        old, found = (best_items(top.rows, items, self.k) for top in (self.top, new))
        shared = (old[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)
        return VersionSearch(last, other & ~near, near, shared, reach, self.k, chance)


def random_error_rate(
    task: RetrievalTask, lengths: np.ndarray, answers: np.ndarray, *, seed: int = 0
) -> float:
    """Share of ``answers`` (n,) that errors of these lengths (n,) in random directions change.

    Three seeded draws on at most 1,000 queries. A measured flip rate near it is explained by the
    size of the error; one far above it says that the error points where answers are told apart.
    """
    rng = stream("compare.answers", seed)
    rows = np.sort(rng.permutation(len(task.queries))[:DRAWN])
    if not lengths[rows].any():
        return 0.0
    flips = []
    for _ in range(DRAWS):
        noise = rng.standard_normal((len(rows), task.queries.shape[1]))
        noise *= (lengths[rows] / row_norms(noise))[:, None]
        moved = Ranking.of(task.queries[rows] + noise, task.candidates, task.score)
        flips.append((task.best(moved) != task.items(answers[rows])).mean())
    return float(np.mean(flips))


def accuracy_of(parts: dict[str, VersionSearch], relevance: Relevance) -> dict[str, Any]:
    """Accuracy on queries that have a right answer, and McNemar's exact test against old-old."""
    judged = relevance.judged
    right = {name: relevance.correct(part.best)[judged] for name, part in parts.items()}
    base = right["old-old"]
    out: dict[str, Any] = {"judged": int(judged.sum())}
    for name, hits in right.items():
        out[name] = wilson(int(hits.sum()), len(hits)).named("accuracy")
        if name != "old-old":
            out[name] |= {
                "lost": int((base & ~hits).sum()),
                "won": int((~base & hits).sum()),
                "mcnemar_p": mcnemar(base, hits),
            }
    return out


def gate_of(parts: dict[str, VersionSearch], limit: float, gate: str) -> dict[str, Any]:
    """The limit held against the point estimate; the interval says whether n could decide.

    ``exceeded`` (exit code 3): the measured rate lies above the limit. ``verdict``: ``pass`` or
    ``fail`` where the 95 % interval lies on one side of the limit, else ``undecided``, and
    ``rows_to_decide`` says how many queries would leave the limit outside the interval if the rate
    stayed (Wilson's interval is the score test turned round: n > z² L (1 - L) / (p - L)²).
    """
    names = [n for n in parts if n != "old-old"] if gate == "worst" else [gate]
    name = max(names, key=lambda n: parts[n].rate.mean)
    rate = parts[name].rate
    exceeded = bool(rate.mean > limit)
    clear = rate.low > limit if exceeded else rate.high <= limit
    away = (rate.mean - limit) ** 2
    need = Z**2 * limit * (1 - limit) / away if away else float("inf")
    return {
        "limit": limit,
        "search": name,
        **rate.named("rate"),
        "basis": "point estimate",
        "exceeded": exceeded,
        "verdict": ("fail" if exceeded else "pass") if clear else "undecided",
        "rows_to_decide": None if clear or not np.isfinite(need) else int(np.floor(need)) + 1,
    }


def verdict(gate: dict[str, Any], count: int) -> str:
    """The result of :func:`gate_of` on ``count`` queries in one sentence."""
    low, high = gate["rate_ci"]
    words = (
        f"{gate['search']} flips {gate['rate']:.2%} ({low:.2%} to {high:.2%}), limit "
        f"{gate['limit']:.2%} on the point estimate: "
        f"{'ABOVE THE LIMIT' if gate['exceeded'] else 'within the limit'}"
    )
    if gate["verdict"] == "undecided":
        more = gate["rows_to_decide"]
        words += f"; undecided at n = {count}, the interval holds the limit"
        if more is not None:
            words += f" (about {more} queries would decide if the rate stays)"
    return words

"""Recall of approximate indexes against effort, for queries of either modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.seeds import stream
from isthmus.core.statistics import CONFIDENCE, resampled_means
from isthmus.errors import OptionError
from isthmus.perturb.codecs import StoreSearch, coded_ranking, fit_codec, recall_of, rescore
from isthmus.robustness.ann.indexes import Builder, Found, Hnsw, IvfFlat, SearchIndex, StoredRows
from isthmus.search.items import best_items, rows_for
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import LEAST, RetrievalTask

EFFORTS: dict[str, tuple[int, ...]] = {
    "efSearch": (16, 32, 64, 128, 256),
    "nprobe": (1, 2, 4, 8, 16, 32, 64),
}
"""Efforts tried unless others are given."""


def held_out(
    task: RetrievalTask, *, share: float = 0.2, seed: int = 0
) -> tuple[RetrievalTask, np.ndarray]:
    """Keep a seeded share of the candidates out of the index, as the control.

    Returns:
        The task of the candidates that are stored, and (m, d) rows that are not: their distribution
        is that of the index.

    Raises:
        OptionError: a share that leaves no candidate in, or none out.
    """
    turned, count = task.reversed(), len(task.candidates)
    if not LEAST <= round(share * count) <= count - LEAST:
        raise OptionError(
            "not-a-share",
            f"{round(share * count)} of {count} candidates held out; expected a share between 0 "
            f"and 1 that leaves {LEAST} rows or more on both sides",
        )
    own, stored = turned.split(share, stream("index.held-out", seed))
    return turned.restricted(stored).reversed(), task.candidates[own]


def index_recall(
    task: RetrievalTask,
    own: np.ndarray,
    closers: Mapping[str, Closer],
    *,
    indexes: Sequence[Builder] = (Hnsw(), IvfFlat()),
    efforts: Mapping[str, Sequence[int]] = EFFORTS,
    k: int = 10,
    even: bool = False,
    codec: str | None = None,
    rescored: int = 0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """What each index finds of the k best, at each effort, for queries of either modality.

    Queries of the other modality go through the closer's query map and meet its candidate bias, as
    one more coordinate of the stored rows. Rows of the stored modality ask the same index as they
    are stored: through the candidate map, without the bias, ranked by inner product (cosine where
    the closer ranks so). Each is compared with exact search of the same ranking.

    Args:
        task: queries (n, d) of the other modality; candidates (K, d) are stored. own: (m, d) rows
            of the stored modality that are not stored (:func:`held_out`), the control. Where the
            candidates' items are named, the k best items are looked for, each at its best row, and
            an index is asked for as many rows as hold them for sure.
        closers: by name; give ``none`` to see what closing does.
        indexes: what is built. efforts: of each effort name; above the number of lists they are
            one, namely all lists.
        k: depth. even: equal norms for a cosine store (``docs/closing.md``).
        codec: name of a codec (``perturb.codecs.CODECS``), fitted on a seeded half of the stored
            rows after the closer's map; the index is then built on decoded rows. None: float rows.
        rescored: how many answers of the index are ranked again by float rows; 0 for none.
        seed: of the codec's half and the intervals.

    Returns:
        One dict per closer, queries (``other``, ``own``), index and effort; ``exact`` first:
        ``recall`` (share of the k best of exact float search under the same closer that is found,
        mean, with its 95 % bootstrap interval over queries ``low``, ``high``), ``plain`` (the same
        against exact search before any closing), ``loss_codec``, ``loss_index``,
        ``gain_rescoring`` (1 - recall = loss_codec + loss_index - gain_rescoring), ``distances``
        (stored rows and centroids compared, mean per query), ``compared`` (over the number stored),
        ``lists`` (scanned per query), ``unlinked`` (rows of a graph that none links to), ``k``,
        ``asked``, ``stored``.

    Cost: one index per closer and kind; exact search O((n + m) K d), in blocks. Held at once: the
    mapped rows, one float32 copy of them in the index, one block of scores.

    Raises:
        OptionError: k above the number stored, ``rescored`` below k, or an unknown codec.
    """
    if rescored and rescored < k:
        raise OptionError(
            "rescored-below-k",
            f"the top {rescored} are rescored but {k} are asked for; rescore more",
        )
    task = task.calibrated(stream("index.codec-rows", seed))
    items = task.candidate_items
    deep = k if items is None else rows_for(items, k)
    plain = {
        who: best_items(top_k(ranking, deep).rows, items, k)
        for who, ranking in (
            ("other", task.plain()),
            ("own", Ranking.of(own, task.candidates, task.score)),
        )
    }
    rows: list[dict[str, Any]] = []
    for name, closer in closers.items():
        searches = _exact_searches(task, own, closer, codec, max(deep, rescored), deep)
        stored = StoredRows.of(searches["other"].coding, even=even)
        built = [(builder, builder.build(stored)) for builder in indexes]
        for who, search in searches.items():
            marks = _Marks(search, plain[who], rescored, seed, items)
            about = {"closer": name, "queries": who, "k": k}
            rows.append(about | marks.exact())
            rows += [
                about | marks.row(builder, index, effort, bias=who == "other")
                for builder, index in built
                for effort in _tried(efforts.get(builder.effort_name, ()), index)
            ]
    return rows


def _tried(efforts: Sequence[int], index: SearchIndex) -> Sequence[int]:
    """Efforts above the number of lists are one, namely all lists."""
    if index.lists is None:
        return efforts
    return sorted({min(effort, index.lists) for effort in efforts})


@dataclass(frozen=True, eq=False)
class _ExactSearch:
    """One ranking, searched exactly: by float rows and by codes."""

    floats: Ranking
    coding: Ranking
    exact: np.ndarray
    coded: np.ndarray
    depth: int
    k: int

    @classmethod
    def of(cls, floats: Ranking, coding: Ranking, depth: int, k: int) -> _ExactSearch:
        exact = top_k(floats, k).rows
        same = coding is floats and depth == k
        coded = exact if same else top_k(coding, depth).rows
        return cls(floats, coding, exact, coded, depth, k)


def _exact_searches(
    task: RetrievalTask, own: np.ndarray, closer: Closer, codec: str | None, depth: int, k: int
) -> dict[str, _ExactSearch]:
    """The two rankings of one closer; both see the same stored rows."""
    stored = np.asarray(closer.candidate(task.candidates))
    bias = None if closer.bias_weights is None else closer.candidate_bias(task.candidates)
    own_score = "cosine" if closer.score == "cosine" else "dot"
    other = Ranking.of(np.asarray(closer.query(task.queries)), stored, closer.score, bias)
    control = Ranking.of(np.asarray(closer.candidate(own)), stored, own_score)
    coding, coding_own = other, control
    if codec is not None:
        coder = fit_codec(codec, stored[task.candidate_calibration])
        coding = coded_ranking(other.queries, stored, coder, score=closer.score, bias=bias)
        asked = coded_ranking(control.queries, stored[:1], coder, score=own_score).queries
        coding_own = Ranking(asked, coding.candidates, own_score, coding.scale)
    return {
        "other": _ExactSearch.of(other, coding, depth, k),
        "own": _ExactSearch.of(control, coding_own, depth, k),
    }


@dataclass(frozen=True, eq=False)
class _Marks:
    """Rows of the table for one exact search: ``plain`` (n, k) are the answers before closing."""

    search: _ExactSearch
    plain: np.ndarray
    rescored: int
    seed: int
    items: np.ndarray | None

    def exact(self) -> dict[str, Any]:
        """Exact search of the same ranking: every row compared, nothing lost."""
        exact = self.search.exact
        what = {"index": "exact", "effort_name": None, "effort": None, "unlinked": None}
        stages = StoreSearch(exact, exact, exact, exact)
        return what | self._of(stages, Found(exact, float(len(self.search.floats.candidates))))

    def row(
        self, builder: Builder, index: SearchIndex, effort: int, *, bias: bool
    ) -> dict[str, Any]:
        """One index at one effort."""
        search, k = self.search, self.search.k
        found = index.search(search.coding.queries, search.depth, effort, bias=bias)
        top = found.rows[:, :k]
        final = rescore(found.rows, search.floats, k) if self.rescored else top
        what = {
            "index": builder.name,
            "effort_name": builder.effort_name,
            "effort": int(effort),
            "unlinked": index.unlinked,
        }
        return what | self._of(StoreSearch(search.exact, search.coded[:, :k], top, final), found)

    def _of(self, stages: StoreSearch, found: Found) -> dict[str, Any]:
        if self.items is not None:
            k = self.plain.shape[1]
            first, *others = stages.exact, stages.coded, stages.indexed, stages.rescored
            stages = StoreSearch(
                best_items(first, self.items, k),
                *(best_items(rows, self.items, k, missing=-2) for rows in others),
            )
        losses = stages.losses()
        low, high = _interval(losses.rescored, self.seed)
        count = len(self.search.floats.candidates)
        return {
            "recall": float(losses.rescored.mean()),
            "low": low,
            "high": high,
            "plain": float(recall_of(stages.rescored, self.plain).mean()),
            "loss_codec": float(losses.codec.mean()),
            "loss_index": float(losses.index.mean()),
            "gain_rescoring": float(losses.rescoring.mean()),
            "distances": found.distances,
            "compared": found.distances / count,
            "lists": found.lists,
            "asked": len(self.search.floats.queries),
            "stored": count,
        }


def _interval(outcomes: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over queries."""
    means = resampled_means(outcomes[None], seed=seed)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def work_at(rows: Sequence[Mapping[str, Any]], recall: float = 0.95) -> list[dict[str, Any]]:
    """Distances per query at which each curve of :func:`index_recall` reaches a recall.

    Between two efforts the curve is taken for straight. None where no effort tried reaches it; the
    least effort's own distances where that does already.

    Returns:
        One dict per ``closer``, ``queries`` and ``index``: ``distances``, ``compared``.
    """
    curves: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["index"] != "exact":
            curves.setdefault((row["closer"], row["queries"], row["index"]), []).append(row)
    out = []
    for (closer, queries, index), curve in curves.items():
        curve = sorted(curve, key=lambda row: row["effort"])
        work = _crossing([(row["recall"], row["distances"]) for row in curve], recall)
        share = None if work is None else work / curve[0]["stored"]
        about = {"closer": closer, "queries": queries, "index": index}
        out.append(about | {"distances": work, "compared": share})
    return out


def _crossing(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """Work at which a curve of (recall, work) first reaches a level."""
    reached = next((i for i, (recall, _) in enumerate(curve) if recall >= level), None)
    if not reached:
        return None if reached is None else curve[0][1]
    (low, less), (high, more) = curve[reached - 1 : reached + 1]
    return less + (level - low) / (high - low) * (more - less)

"""Recall of approximate indexes against effort, for queries of either modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.closers.maps import Closer
from isthmus.core.seeds import stream
from isthmus.core.statistics import CONFIDENCE, resampled_means
from isthmus.errors import OptionError
from isthmus.perturb.codecs import StoreSearch, coded_ranking, fit_codec, recall_of, rescore
from isthmus.robustness.ann.indexes import Builder, Found, Hnsw, IvfFlat, StoredRows
from isthmus.search.scores import Ranking, top_k

EFFORTS: dict[str, tuple[int, ...]] = {
    "efSearch": (16, 32, 64, 128, 256),
    "nprobe": (1, 2, 4, 8, 16, 32, 64),
}
"""Efforts tried unless others are given."""


@dataclass(frozen=True, eq=False)
class Sides:
    """What is stored and who asks, rows (·, d) of one model, as they are before any closer.

    ``stored`` (K, d); ``other`` (n, d): queries of the other modality; ``own`` (m, d): rows of the
    stored modality that are not stored, the control whose distribution is that of the index.
    """

    stored: np.ndarray
    other: np.ndarray
    own: np.ndarray

    @classmethod
    def split(
        cls, queries: np.ndarray, candidates: np.ndarray, *, held_out: float = 0.2, seed: int = 0
    ) -> Sides:
        """Keep a seeded share of the candidates out of the index, as the control.

        Raises:
            OptionError: a share that leaves no candidate in, or none out.
        """
        count = len(candidates)
        out = round(held_out * count)
        if not 0 < out < count:
            raise OptionError(
                f"{out} of {count} candidates held out; expected a share between 0 and 1 that "
                "leaves rows on both sides"
            )
        order = stream("index.held-out", seed).permutation(count)
        return cls(candidates[np.sort(order[out:])], queries, candidates[np.sort(order[:out])])


def index_recall(
    sides: Sides,
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

    Queries of the other modality go through the closer's query map and meet its stored numbers, as
    one more coordinate of the stored rows. Rows of the stored modality ask the same index as they
    are stored: through the candidate map, without the numbers, ranked by inner product (cosine
    where the closer ranks so). Each is compared with exact search of the same ranking.

    Args:
        sides: rows stored and asked. closers: by name; give ``none`` to see what closing does.
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
        raise OptionError(f"the top {rescored} are rescored but {k} are asked for; rescore more")
    plain = {
        who: top_k(Ranking.of(rows, sides.stored, "cosine"), k).rows
        for who, rows in (("other", sides.other), ("own", sides.own))
    }
    order = stream("index.codec-rows", seed).permutation(len(sides.stored))
    half = np.sort(order[: max(1, len(order) // 2)])
    rows: list[dict[str, Any]] = []
    for name, closer in closers.items():
        searches = _searches(sides, closer, codec, half, max(k, rescored), k)
        stored = StoredRows.of(searches["other"].coding, even=even)
        curves: dict[str, list[dict[str, Any]]] = {who: [] for who in searches}
        for builder in indexes:
            built = builder.build(stored)
            tried = efforts.get(builder.effort_name, ())
            if built.lists is not None:
                tried = sorted({min(effort, built.lists) for effort in tried})
            for who, search in searches.items():
                for effort in tried:
                    found = built.search(
                        search.coding.queries, search.depth, effort, numbers=who == "other"
                    )
                    what = {
                        "index": builder.name,
                        "effort_name": builder.effort_name,
                        "effort": int(effort),
                        "unlinked": built.unlinked,
                    }
                    curves[who].append(what | _row(search, found, plain[who], rescored, seed))
        for who, search in searches.items():
            about = {"closer": name, "queries": who, "k": k}
            rows.append(about | _exact_row(search, plain[who], seed))
            rows += [about | row for row in curves[who]]
    return rows


@dataclass(frozen=True, eq=False)
class _Search:
    """One ranking, exactly: by float rows and by codes."""

    truth: Ranking
    coding: Ranking
    exact: np.ndarray
    coded: np.ndarray
    depth: int
    k: int

    @classmethod
    def of(cls, truth: Ranking, coding: Ranking, depth: int, k: int) -> _Search:
        exact = top_k(truth, k).rows
        same = coding is truth and depth == k
        coded = exact if same else top_k(coding, depth).rows
        return cls(truth, coding, exact, coded, depth, k)

    @property
    def about(self) -> dict[str, int]:
        return {
            "asked": int(self.truth.queries.shape[0]),
            "stored": int(self.truth.candidates.shape[0]),
        }


def _searches(
    sides: Sides, closer: Closer, codec: str | None, half: np.ndarray, depth: int, k: int
) -> dict[str, _Search]:
    """The two rankings of one closer; both see the same stored rows."""
    stored = np.asarray(closer.candidate(sides.stored))
    numbers = None if closer.bias_weights is None else closer.candidate_bias(sides.stored)
    coder = None if codec is None else fit_codec(codec, stored[half])
    truth = Ranking.of(np.asarray(closer.query(sides.other)), stored, closer.score, numbers)
    own_score = "cosine" if closer.score == "cosine" else "dot"
    truth_own = Ranking.of(np.asarray(closer.candidate(sides.own)), stored, own_score)
    coding, coding_own = truth, truth_own
    if coder is not None:
        coding = coded_ranking(truth.queries, stored, coder, score=closer.score, bias=numbers)
        asked = coded_ranking(truth_own.queries, stored[:1], coder, score=own_score).queries
        coding_own = Ranking(asked, coding.candidates, own_score, coding.scale)
    return {
        "other": _Search.of(truth, coding, depth, k),
        "own": _Search.of(truth_own, coding_own, depth, k),
    }


def _exact_row(search: _Search, plain: np.ndarray, seed: int) -> dict[str, Any]:
    """Exact search of the same ranking: every row compared, nothing lost."""
    everything = float(len(search.truth.candidates))
    what = {"index": "exact", "effort_name": None, "effort": None, "unlinked": None}
    none = Found(search.exact, everything)
    stages = StoreSearch(search.exact, search.exact, search.exact, search.exact)
    return what | _marks(search, stages, none, plain, seed)


def _row(
    search: _Search, found: Found, plain: np.ndarray, rescored: int, seed: int
) -> dict[str, Any]:
    final = found.rows[:, : search.k]
    if rescored:
        final = rescore(found.rows, search.truth, search.k)
    stages = StoreSearch(
        search.exact, search.coded[:, : search.k], found.rows[:, : search.k], final
    )
    return _marks(search, stages, found, plain, seed)


def _marks(
    search: _Search, stages: StoreSearch, found: Found, plain: np.ndarray, seed: int
) -> dict[str, Any]:
    losses = stages.losses()
    low, high = _interval(losses.rescored, seed)
    return {
        "recall": float(losses.rescored.mean()),
        "low": low,
        "high": high,
        "plain": float(recall_of(stages.rescored, plain).mean()),
        "loss_codec": float(losses.codec.mean()),
        "loss_index": float(losses.index.mean()),
        "gain_rescoring": float(losses.rescoring.mean()),
        "distances": found.distances,
        "compared": found.distances / search.about["stored"],
        "lists": found.lists,
    } | search.about


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
        out.append(
            {
                "closer": closer,
                "queries": queries,
                "index": index,
                "distances": work,
                "compared": share,
            }
        )
    return out


def _crossing(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    before: tuple[float, float] | None = None
    for recall, work in curve:
        if recall >= level:
            if before is None or recall == before[0]:
                return work
            share = (level - before[0]) / (recall - before[0])
            return before[1] + share * (work - before[1])
        before = (recall, work)
    return None

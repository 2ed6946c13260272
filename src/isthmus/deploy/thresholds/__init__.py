"""What score means a match: thresholds at a stated false-match rate, and p-values.

    from isthmus.deploy.thresholds import calibrate
    found = calibrate("images.npy", "captions.npy", false_match_rate=0.01)
    found.p_value(scores)

Thresholds are fitted on one half of the queries and judged on the other. Candidates are the
store's: they are the same for both halves.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.checks import in_range
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.data.labels import names_of
from isthmus.data.row_stats import worst_first
from isthmus.deploy.thresholds.decisions import Decisions
from isthmus.deploy.thresholds.figures import Judged, figures_of
from isthmus.deploy.thresholds.mapping import closed, opened, score_of
from isthmus.deploy.thresholds.nulls import Null, collect
from isthmus.deploy.thresholds.record import Calibration
from isthmus.errors import ShapeError
from isthmus.search.opening import Right
from isthmus.search.pair_warnings import look_at_pairs
from isthmus.search.task import LEAST

__all__ = ["Calibration", "Decisions", "Null", "calibrate"]


def calibrate(
    queries: Any,
    candidates: Any,
    *,
    false_match_rate: float = 1e-3,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    kinds: Any = None,
    query_items: Any = None,
    candidate_items: Any = None,
    score: str | None = None,
    closer: Closer | str | PathLike[str] | None = None,
    model: str | None = None,
    max_queries: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Null and match distributions, thresholds on one half, judged on the other.

    Args:
        queries: (n, d). candidates: (K, d): the collection that is searched. Arrays, tensors,
            paths, globs or ``Rows``.
        false_match_rate: the stated rate, above 0 and below 1.
        relevance, labels, paired: which pairs match, arrays or files. ``paired=None`` takes equal
            lengths as pairs; where nothing is right, queries are strangers to the candidates.
        kinds: (n,) words or whole numbers, or a file of them: the kind of each query (short, long,
            a language, a category). Each kind has thresholds of its own.
        query_items, candidate_items: names of items, arrays or files of them: rows with one name
            are one item, and what matches one row of it matches all. Rows that repeat an earlier
            row exactly are one by themselves.
        score: dot, cosine or euclidean; None: the closer's, or cosine.
        closer: a closer or its file; its maps come first, and its candidate bias is added.
        model: the model's name, kept in the record. max_queries: a seeded sample above that.
        progress: called with (what, done, all) as queries are scored.

    Raises:
        OptionError: a rate that is none, an unknown score, another score than the closer's, a query
        that matches everything, or what is right said twice. ShapeError: dimensions that do not
        fit, or fewer than 4 queries. LabelsError, NotPaired: relevance or kinds of other rows.
        ValuesError: NaN, infinity, zero rows under cosine. FileError: a file that cannot be read.

    Cost: O(n K d), scores in blocks; 32 MB of null scores besides float64 rows.

    >>> import numpy as np
    >>> queries, candidates = np.random.default_rng(0).normal(size=(2, 200, 16))
    >>> match = calibrate(queries, queries + 0.5 * candidates, false_match_rate=0.01)
    >>> match.is_match([0.9, 0.1]).tolist()
    [True, False]
    """
    hint = ", such as 0.001, one in 1,000"
    in_range(false_match_rate, "false_match_rate", "rate-out-of-range", above=0, below=1, hint=hint)
    if isinstance(closer, (str, PathLike)):
        closer = Closer.load(closer)
    right = Right(relevance, labels, paired, query_items, candidate_items)
    given = vars(right) | {"distinct": False}
    whole = opened(queries, candidates, score_of(score, closer), closer, given)
    no_pairs, found = look_at_pairs(whole, **right.said)
    whole = whole.without_pairs() if no_pairs else whole
    names = None if kinds is None else names_of(kinds, len(whole.queries), "kinds")
    different = whole.distinct()
    assert different.query_input is not None
    kept = different.query_input.rows
    rng = stream("calibrate.split", seed)
    chosen = np.sort(rng.permutation(len(kept))[: max(max_queries, 0)])
    task, bias = closed(different.restricted(chosen), closer)
    kind = None if names is None else names[kept[chosen]]
    fit, held = _split(len(chosen), kind, task.query_items, rng)
    scores = collect(task, bias, seed=seed, progress=progress)
    judged = Judged.of(false_match_rate, scores, fit, held, kind)
    about = figures_of(judged, task, whole.relevance, len(kept), biased=bias is not None, seed=seed)
    about["warnings"] = [w.to_dict() for w in worst_first(found)] + about["warnings"]
    return Calibration(
        model,
        task.score,
        whole.queries.shape[1],
        None if closer is None else closer.name,
        len(task.candidates),
        false_match_rate,
        {"pair": judged.pair.value, "search": judged.search.value},
        {"pair": Null.of(judged.fitted.null), "search": Null.of(judged.fitted.best)},
        about,
        judged.nulls(),
        {name: judged.nulls(name) for name in judged.kinds()},
    )


def _split(
    count: int, kind: np.ndarray | None, items: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of queries, sorted: half of each kind to fit on, half to judge on.

    Queries that are one item are in one half.
    """
    if count < 2 * LEAST:
        raise ShapeError(
            "too-few-queries",
            f"{count} queries that differ; expected {2 * LEAST} at least, half to fit on and half "
            "to judge on, and some hundreds to see anything",
        )
    order = rng.permutation(count)
    if items is not None:  # an item's rows side by side, where its first was drawn
        place = np.full(count, count)
        np.minimum.at(place, items[order], np.arange(count))
        order = order[np.argsort(place[items[order]], kind="stable")]
    parts = [order] if kind is None else [order[kind[order] == name] for name in np.unique(kind)]
    fit = np.concatenate([part[: _half(part, items)] for part in parts])
    return np.sort(fit), np.setdiff1d(order, fit)


def _half(part: np.ndarray, items: np.ndarray | None) -> int:
    """Half of ``part``, less what would cut an item in two."""
    cut = len(part) // 2
    while items is not None and 0 < cut < len(part) and items[part[cut - 1]] == items[part[cut]]:
        cut -= 1
    return cut

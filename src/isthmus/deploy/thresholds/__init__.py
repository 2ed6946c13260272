"""What score means a match: thresholds at a stated false-match rate, and p-values.

    from isthmus.deploy.thresholds import calibrate
    found = calibrate("images.npy", "captions.npy", false_match_rate=0.01)
    found.p_value(scores)

Thresholds are fitted on one half of the queries and judged on the other. Candidates are the
store's: they are the same for both halves.
"""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np

from isthmus.closers.maps import Closer
from isthmus.core.progress import Progress
from isthmus.core.seeds import stream
from isthmus.deploy.thresholds.figures import Judged, figures_of
from isthmus.deploy.thresholds.nulls import collect
from isthmus.deploy.thresholds.record import Calibration, Null
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import check_score
from isthmus.search.task import RetrievalTask, open_task

__all__ = ["Calibration", "Null", "calibrate"]


def calibrate(
    queries: Any,
    candidates: Any,
    *,
    false_match_rate: float = 1e-3,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
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
        score: dot, cosine or euclidean; None: the closer's, or cosine.
        closer: a closer or its file; its maps come first, and its candidate bias is added.
        model: the model's name, kept in the record. max_queries: a seeded sample above that.
        progress: called with (what, done, all) as queries are scored.

    Raises:
        OptionError: a rate that is none, an unknown score, another score than the closer's, a query
        that matches everything, or what is right said twice. ShapeError: dimensions that do not
        fit, or fewer than 4 queries. LabelsError, NotPaired: relevance of other rows. ValuesError:
        NaN, infinity, zero rows under cosine. FileError: a file that cannot be read.

    Cost: O(n K d), scores in blocks; 32 MB of null scores besides float64 rows.

    >>> import numpy as np
    >>> queries, candidates = np.random.default_rng(0).normal(size=(2, 200, 16))
    >>> match = calibrate(queries, queries + 0.5 * candidates, false_match_rate=0.01)
    >>> match.is_match([0.9, 0.1]).tolist()
    [True, False]
    """
    if not 0 < false_match_rate < 1:
        raise OptionError(
            "rate-out-of-range",
            f"false_match_rate {false_match_rate} is not between 0 and 1; expected such as 0.001, "
            "one in 1,000",
        )
    if isinstance(closer, (str, PathLike)):
        closer = Closer.load(closer)
    said = {"relevance": relevance, "labels": labels, "paired": paired}
    whole = _opened(queries, candidates, _score(score, closer), closer, said)
    rng = stream("calibrate.split", seed)
    chosen = np.sort(rng.permutation(len(whole.queries))[: max(max_queries, 0)])
    task, bias = _closed(whole.restricted(chosen), closer)
    count = len(task.queries)
    fit, held = task.split(count // 2 / count if count > 1 else 0.5, rng)
    scores = collect(task, bias, seed=seed, progress=progress)
    judged = Judged.of(false_match_rate, scores, fit, held)
    return Calibration(
        model,
        task.score,
        whole.queries.shape[1],
        None if closer is None else closer.name,
        len(task.candidates),
        false_match_rate,
        {"pair": judged.pair.value, "search": judged.search.value},
        {"pair": Null.of(judged.fitted.null), "search": Null.of(judged.fitted.best)},
        figures_of(judged, task, whole.relevance, biased=bias is not None, seed=seed),
    )


def _score(score: str | None, closer: Closer | None) -> str:
    if closer is None:
        return check_score(score or "cosine")
    if score is not None and check_score(score) != closer.score:
        raise OptionError(
            "score-of-another-closer",
            f"score '{score}', but the closer {closer.name} is searched by {closer.score}; leave "
            "the score out, or fit a closer for it",
        )
    return closer.score


def _opened(
    queries: Any, candidates: Any, score: str, closer: Closer | None, said: dict[str, Any]
) -> RetrievalTask:
    """The task of rows as they are searched, or as given where a closer maps them first."""
    if closer is None:
        return open_task(queries, candidates, score=score, **said)
    task = open_task(queries, candidates, score="dot", **said)
    cosine = score == "cosine" or closer.query.normalised or closer.candidate.normalised
    for side in (task.query_input, task.candidate_input):
        assert side is not None
        side.stats.refuse(side.name, cosine=cosine)
    if closer.query.dim != task.queries.shape[1]:
        raise ShapeError(
            "unequal-dimensions",
            f"rows have {task.queries.shape[1]} dimensions, but the closer was fitted for "
            f"{closer.query.dim}; use rows of the same model",
        )
    return replace(task, score=score)


def _closed(task: RetrievalTask, closer: Closer | None) -> tuple[RetrievalTask, np.ndarray | None]:
    """The task of mapped rows, and the candidate bias (K,)."""
    if closer is None:
        return task, None
    bias = None if closer.bias_weights is None else closer.candidate_bias(task.candidates)
    queries, candidates = closer.query(task.queries), closer.candidate(task.candidates)
    return replace(task, queries=np.asarray(queries), candidates=np.asarray(candidates)), bias

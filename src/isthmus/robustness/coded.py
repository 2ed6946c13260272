"""Cells of codecs: stored rows (and queries) through a code fitted on a calibration split."""

from __future__ import annotations

import numpy as np

from isthmus.perturb.codecs import (
    Codec,
    coded_ranking,
    fit_codec,
    measure_error,
    range_lints,
    rescore,
)
from isthmus.robustness.perturbations import Perturbation
from isthmus.robustness.searches import ClosedSearch, Result
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask


def measure_codec(task: RetrievalTask, search: ClosedSearch, perturbation: Perturbation) -> Result:
    """One search over codes. ``side`` candidates: float queries (asymmetric); both: symmetric.

    ``own`` calibration fits the candidates' codec on half of the candidates and, for ``both``, the
    queries' on half of the queries; ``other`` swaps the two, ``union`` fits both on both halves.
    Where the best are rescored, what is lost splits into what the code loses
    (1 - ``coded_consistency``), what rescoring wins back (up to ``in_shortlist``) and the rest.
    """
    dim = search.stored_dims
    halves = (
        search.candidates[task.candidate_calibration, :dim],
        search.queries[task.query_calibration, :dim],
    )
    if perturbation.convention == "other":
        halves = halves[::-1]
    elif perturbation.convention == "union":
        halves = (np.vstack(halves), np.vstack(halves))
    q, c, bias = search.queries, search.candidates, search.bias
    codec = None
    size = None
    told: dict[str, object] = {}
    if perturbation.target in ("candidates", "both"):
        codec = fit_codec(perturbation.codec, halves[0])
        size = float(codec.bytes_per_vector(dim))
        unseen = np.setdiff1d(np.arange(len(c)), task.candidate_calibration)
        told = _told(codec, c[:, :dim], unseen)
    query_codec = (
        fit_codec(perturbation.codec, halves[1])
        if perturbation.target in ("queries", "both")
        else None
    )
    if codec is None:
        assert query_codec is not None
        asked = np.hstack([query_codec.through(q[:, :dim]), q[:, dim:]])
        coded = Ranking.of(asked, c, search.score, bias)
    else:
        coded = coded_ranking(
            q, c, codec, score=search.score, bias=bias, query_codec=query_codec, stored=dim
        )
    answers = task.best(coded)
    if perturbation.rescored and task.lists is None:
        depth = min(perturbation.rescored, len(c))
        shortlist = top_k(coded, depth).rows
        told["rescored"] = depth
        told["coded_consistency"] = float((answers == search.clean_top1).mean())
        told["in_shortlist"] = float((shortlist == search.clean_top1[:, None]).any(axis=1).mean())
        answers = rescore(shortlist, search.clean, 1)[:, 0]
    return Result(
        perturbation, search, answers[None, :], 1, search.overlap(coded), size, None, told
    )


def _told(codec: Codec, rows: np.ndarray, unseen: np.ndarray) -> dict[str, object]:
    """What kind of error the codec makes on the rows under test, and whether its ranges fit them.

    Ranges are looked at on rows that no ``own`` calibration has seen.
    """
    error = measure_error(codec, rows)
    told: dict[str, object] = {
        "codec_error": float(f"{error.squared:.9g}"),
        "codec_slope": round(error.slope, 9),
        "codec_error_kind": error.kind,
    }
    for lint in range_lints(codec, {"stored": rows[unseen]}) if len(unseen) else ():
        told |= {"codec_outside": lint.outside, "codec_would_wrap": lint.wrapped}
    return told

"""How few bytes a vector needs: the smallest code, and how deep to rescore, for a stated target.

A store keeps candidates as codes, takes the best ``depth`` by code and ranks those again by float
vectors. The first answer survives where exact search's first answer is among them. One search by
code therefore answers every depth at once: all that counts is the *place* of the exact answers in
the coded ranking.

Settings are chosen on validation queries, with a margin for how few they are, and reported on test
queries that nothing has seen. Closers are fitted on the validation queries, codecs on a drawn half
of the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from isthmus.closers.fitting import fit
from isthmus.closers.maps import Closer
from isthmus.closers.registry import METHODS
from isthmus.core.seeds import stream
from isthmus.core.statistics import Share, wilson
from isthmus.data.moments import Moments
from isthmus.data.records import Record
from isthmus.errors import OptionError
from isthmus.perturb.codecs import Codec, coded_ranking, fit_codec
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import Progress, RetrievalTask, open_task

CODECS = ("sign", "rabitq", "sq4", "int8", "fp16")
DEPTHS = (0, 10, 20, 50, 100, 200)
"""Rescoring depths tried; 0 takes the answer by code as it is."""
CLOSERS = ("none", "center-queries", "center-both")
SAFETY = 2.33
"""Standard errors of validation and test together that a choice must stay above the target."""
FLOAT_BYTES = 4
NODES = 24
BINS = 256


@dataclass(frozen=True)
class StoragePlan(Record):
    """The smallest code for a target, without and with a closing, and all that was tried.

    Attributes:
        target: share that must be kept. measure: ``agreement`` of first answers with exact search,
            or ``recall`` of its k best.
        plain, closed: the chosen line without and with a closing; None where only float vectors
            reach the target.
        lines: everything tried, smallest first; see :class:`StorageLine`.
        setup: score, sizes, seed.
    """

    target: float
    measure: str
    k: int
    plain: StorageLine | None
    closed: StorageLine | None
    lines: tuple[StorageLine, ...] = field(repr=False)
    setup: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """One line per code, closing and depth."""
        return [line.flat() for line in self.lines]

    @property
    def best(self) -> StorageLine | None:
        """The smaller of the two choices; without a closing where they cost the same."""
        found = [line for line in (self.plain, self.closed) if line is not None]
        return min(found, key=lambda line: (line.bytes_per_vector, line.depth), default=None)


@dataclass(frozen=True)
class StorageLine:
    """One code, closing and rescoring depth.

    Attributes:
        codec, closer, score, depth: what is stored and how it is searched.
        bytes_per_vector: of the code and what stands with it; float vectors to rescore by are not
            counted.
        predicted: by formula from the margins and the code's measured error.
        validation, test: measured share; ``test_lo``, ``test_hi``: 95 % interval of the test share.
        meets: the validation share is above the target by the margin that its size asks for.
    """

    codec: str
    closer: str
    score: str
    depth: int
    bytes_per_vector: float
    predicted: float | None
    validation: float
    test: float
    test_lo: float
    test_hi: float
    meets: bool

    def flat(self) -> dict[str, Any]:
        """Plain columns."""
        return dict(vars(self))


def plan(
    queries: Any,
    candidates: Any,
    *,
    target: float = 0.95,
    measure: str = "agreement",
    k: int = 10,
    score: str = "cosine",
    codecs: Sequence[str] = CODECS,
    closers: Sequence[str] = CLOSERS,
    depths: Sequence[int] = DEPTHS,
    max_queries: int = 2000,
    max_candidates: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> StoragePlan:
    """The smallest code and rescoring depth that keep ``target`` of the answers on unseen queries.

    Args:
        queries, candidates: rows or files of rows.
        target: share to keep, above 0 and below 1.
        measure: ``agreement`` (the first answer is exact search's) or ``recall`` (of its k best).
        codecs: names to try. closers: closings to try, all of which must keep clean answers.
        depths: rescoring depths; 0 is none.
        max_queries, max_candidates: seeded samples above these. seed: of samples and splits.

    Raises:
        OptionError: a target that is no share, an unknown measure, codec or closer, or a closer
            that changes clean answers. Anything ``open_task`` refuses.

    Cost: one search of all queries per code and closing.
    """
    if not 0 < target < 1:
        raise OptionError("target-not-a-share", f"target {target}; expected between 0 and 1")
    if measure not in ("agreement", "recall"):
        raise OptionError(
            "unknown-measure", f"measure '{measure}' is unknown; say agreement or recall"
        )
    say = progress or (lambda what, done, of: None)
    task = open_task(
        queries, candidates, paired=False, score=score, max_rows=max_candidates, seed=seed
    ).sample(max_queries, stream("plan.sample", seed))
    rng = stream("plan.split", seed)
    validation, test = task.split(0.5, rng)
    task = task.calibrated(rng)
    k = min(k if measure == "recall" else 1, len(task.candidates))
    exact = top_k(task.plain(), k).rows
    fitted = _closers(task, validation, closers)
    lines: list[StorageLine] = []
    for done, name in enumerate(codecs):
        say("codes", done, len(codecs))
        for closer in fitted:
            places, predicted, size = _coded(task, closer, name, exact, validation, depths)
            for depth in depths:
                kept = (places < max(depth, k)).mean(axis=1)
                lines.append(
                    _line(
                        name,
                        closer,
                        depth,
                        size,
                        predicted.get(depth),
                        kept,
                        validation,
                        test,
                        target,
                    )
                )
    say("codes", len(codecs), len(codecs))
    lines.sort(key=lambda line: (line.bytes_per_vector, line.depth, -line.validation))
    chosen = [
        next((x for x in lines if x.meets and (x.closer == "none") == plain), None)
        for plain in (True, False)
    ]
    setup = {
        "score": score,
        "queries": len(task.queries),
        "candidates": len(task.candidates),
        "dim": task.candidates.shape[1],
        "validation_queries": len(validation),
        "test_queries": len(test),
        "seed": seed,
    }
    return StoragePlan(target, measure, k, chosen[0], chosen[1], tuple(lines), setup)


def _closers(task: RetrievalTask, rows: np.ndarray, names: Sequence[str]) -> list[Closer]:
    """Plain search first, then each closing fitted on the validation queries' moments."""
    moments = Moments.of(task.queries[rows], precise=True)
    found = []
    for name in dict.fromkeys(["none", *names]):
        method = METHODS[name]
        if method.guarantee != "exact":
            raise OptionError(
                "closer-changes-answers",
                f"{name} changes clean answers; a plan compares with exact search, so give closers "
                "that keep them",
            )
        given = task.score if name == "none" else method.score_for(task.score)
        found.append(
            fit(name, moments, task.candidate_moments, score=given, normalised=task.normalised)
        )
    return found


def _coded(
    task: RetrievalTask,
    closer: Closer,
    codec_name: str,
    exact: np.ndarray,
    validation: np.ndarray,
    depths: Sequence[int],
) -> tuple[np.ndarray, dict[int, float], float]:
    """Places (n, k) of the exact answers by code, predictions by depth, and bytes per vector."""
    q = np.asarray(closer.query(task.queries))
    c = np.asarray(closer.candidate(task.candidates))
    bias = None if closer.bias_weights is None else closer.candidate_bias(task.candidates)
    dim = c.shape[1] - closer.memo
    codec = fit_codec(codec_name, c[task.candidate_calibration, :dim])
    coded = coded_ranking(q, c, codec, score=closer.score, bias=bias, stored=dim)
    places = _places(coded, exact)
    clean = Ranking.of(q, c, closer.score, bias)
    predicted = {} if exact.shape[1] > 1 else _predicted(clean, coded, exact, validation, depths)
    size = float(codec.bytes_per_vector(dim))
    size += FLOAT_BYTES * (closer.memo + (bias is not None))
    return places, predicted, size


def _places(coded: Ranking, exact: np.ndarray) -> np.ndarray:
    """(n, k): how many candidates stand before each exact answer in the coded ranking."""
    out = np.empty(exact.shape, np.int64)
    columns = np.arange(len(coded.candidates))
    for start, scores in coded.score_blocks():
        rows = exact[start : start + len(scores)]
        own = np.take_along_axis(scores, rows, axis=1)
        for place in range(rows.shape[1]):
            mine, row = own[:, place : place + 1], rows[:, place : place + 1]
            before = (scores > mine) | ((scores == mine) & (columns[None, :] < row))
            out[start : start + len(scores), place] = before.sum(axis=1)
    return out


def _predicted(
    clean: Ranking, coded: Ranking, exact: np.ndarray, rows: np.ndarray, depths: Sequence[int]
) -> dict[int, float]:
    """Mean share of queries whose exact answer stays within each depth, by formula.

    The code's error in a score is split into a slope (scores shrink) and a rest that is taken for
    independent normal noise of one size for all rivals of a query. Given the winner's own noise,
    the number of rivals that pass it is nearly Poisson, and its mean a sum of normal tails.
    """
    from scipy.special import ndtr
    from scipy.stats import poisson

    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    weights = weights / weights.sum()
    slope, noise = _score_error(clean, coded, rows)
    kept = {depth: np.empty(len(rows)) for depth in depths}
    some = replace(clean, queries=clean.queries[rows])
    for start, scores in some.score_blocks():
        for i, line in enumerate(scores):
            row = start + i
            winner = exact[rows[row], 0]
            margins = (1 + slope) * (line[winner] - np.delete(line, winner))
            if noise == 0:
                means = np.full(NODES, float((margins < 0).sum()))
            else:
                counts, edges = np.histogram(margins, BINS)
                middle = (edges[1:] + edges[:-1]) / 2
                tails = ndtr(-(middle[None, :] / noise + nodes[:, None]))
                means = tails @ counts
            for depth in depths:
                kept[depth][row] = weights @ poisson.cdf(max(depth, 1) - 1, means)
    return {depth: float(values.mean()) for depth, values in kept.items()}


def _score_error(clean: Ranking, coded: Ranking, rows: np.ndarray) -> tuple[float, float]:
    """How the code changes scores on the validation queries: slope, and spread of the rest."""
    one, two, three, count = 0.0, 0.0, 0.0, 0
    a, b = (replace(ranking, queries=ranking.queries[rows]) for ranking in (clean, coded))
    for (_, s), (_, t) in zip(a.score_blocks(), b.score_blocks(), strict=True):
        x = s - s.mean(axis=1, keepdims=True)
        e = (t - t.mean(axis=1, keepdims=True)) - x
        one, two, three = one + (x * e).sum(), two + (x * x).sum(), three + (e * e).sum()
        count += x.size
    slope = one / two if two else 0.0
    rest = max(three - slope * one, 0.0) / max(count, 1)
    return float(slope), float(np.sqrt(rest))


def _line(
    codec: str,
    closer: Closer,
    depth: int,
    size: float,
    predicted: float | None,
    kept: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    target: float,
) -> StorageLine:
    first, second = kept[validation], kept[test]
    share = float(first.mean())
    error = np.sqrt(max(share * (1 - share), 1 / len(first)) * (1 / len(first) + 1 / len(second)))
    interval: Share = wilson(float(second.sum()), len(second))
    return StorageLine(
        codec,
        closer.name,
        closer.score,
        depth,
        size,
        predicted,
        share,
        float(second.mean()),
        interval.low,
        interval.high,
        bool(share - SAFETY * error >= target),
    )


__all__ = ["CODECS", "DEPTHS", "Codec", "StorageLine", "StoragePlan", "plan"]

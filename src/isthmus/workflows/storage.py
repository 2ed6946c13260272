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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.fitting import fit
from isthmus.closers.registry import METHODS
from isthmus.core.arrays import near_unit
from isthmus.core.checks import in_range, one_of
from isthmus.core.progress import Progress, counted, quiet
from isthmus.core.seeds import stream
from isthmus.core.statistics import wilson
from isthmus.data.moments import Moments
from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning
from isthmus.errors import OptionError
from isthmus.perturb.codecs import Codec, coded_ranking, fit_codec, has_multi_bit
from isthmus.robustness.measurements import FLOAT_BYTES
from isthmus.search.items import best_items, rows_for
from isthmus.search.opening import item_notes, open_task
from isthmus.search.pair_warnings import look_at_order
from isthmus.search.scores import Ranking, top_k
from isthmus.search.task import RetrievalTask
from isthmus.workflows.places import SAFETY, places_of, predict_places, safe_margin

SYMMETRIC = "-both"
"""After a codec's name: queries are coded too, as where bits are compared with bits."""
CODECS = ("pq", "sign", "sign-both", "rabitq", "rabitq2", "rabitq4", "sq4", "int8", "fp16")
"""Codes tried; ``pq`` is the product quantiser with one byte for eight coordinates."""
DEPTHS = (0, 10, 20, 50, 100, 200)
"""Rescoring depths tried; 0 takes the answer by code as it is."""
LARGEST_DEPTH = 0.1
"""Share of the candidates that a depth tried by default may reach: more is a search by floats."""
CLOSERS = ("none", "center-queries", "center-both")
EUCLIDEAN_CLOSERS = ("none", "biased-shift")
LEAST_PQ_ROWS = 2048
"""Calibration rows of 256 centroids a part: with fewer they remember their rows."""


@dataclass(frozen=True)
class StorageLine:
    """One code, closing and rescoring depth.

    Attributes:
        codec, closer, score, depth: what is stored and how it is searched.
        bytes_per_vector: of the code and what stands with it; float vectors to rescore by are not
            counted.
        predicted: by formula from the margins and the code's measured error; None for recall.
        validation, test: measured share; ``test_lo``, ``test_hi``: 95 % interval of the test share.
        margin: what the validation share must be above the target by, for how few queries it and
            the test share are of. meets: it is.
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
    margin: float
    meets: bool


@dataclass(frozen=True)
class StoragePlan(Record):
    """The smallest code for a target, without and with a closing, and all that was tried.

    Attributes:
        target: share that must be kept. measure: ``agreement`` of first answers with exact search,
            or ``recall`` of its k best.
        plain, closed: the chosen line without and with a closing, at any rescoring depth; None
            where only float vectors reach the target.
        plain_by_code, closed_by_code: the same where nothing is rescored.
        lines: everything tried, smallest first; see :class:`StorageLine`.
        left_out: (codec, why) of codes that were not tried.
        setup: score, sizes, seed. warnings: what is suspicious about the rows.
    """

    target: float
    measure: str
    k: int
    plain: StorageLine | None
    closed: StorageLine | None
    plain_by_code: StorageLine | None
    closed_by_code: StorageLine | None
    lines: tuple[StorageLine, ...] = field(repr=False)
    left_out: tuple[tuple[str, str], ...]
    setup: dict[str, Any]
    warnings: tuple[InputWarning, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return super().to_dict() | {"warnings": [w.to_dict() for w in self.warnings]}

    def rows(self) -> list[dict[str, Any]]:
        """One line per code, closing and depth."""
        return [dict(vars(line)) for line in self.lines]

    @property
    def best(self) -> StorageLine | None:
        """The smaller of the two choices; without a closing where they cost the same."""
        found = [line for line in (self.plain, self.closed) if line is not None]
        return min(found, key=_cost, default=None)

    @property
    def enough_queries(self) -> int:
        """Queries with which a code that loses no answer would be seen to reach the target."""
        return 2 * int(np.ceil(SAFETY / np.sqrt(self.k) / (1 - self.target)))

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The choices, not all that was tried."""
        chosen = (self.plain, self.closed, self.plain_by_code, self.closed_by_code)
        return (
            f"Storage plan: {self.target:.4g} {self.measure} on unseen queries",
            [dict(vars(line)) for line in dict.fromkeys(chosen) if line is not None],
        )


@dataclass(frozen=True, eq=False)
class _Planned:
    """What every line is measured on."""

    task: RetrievalTask
    validation: np.ndarray
    test: np.ndarray
    exact: np.ndarray
    depths: tuple[int, ...]
    target: float
    codecs: dict[str, tuple[np.ndarray, Codec]] = field(default_factory=dict)

    def codec(self, name: str, rows: np.ndarray) -> Codec:
        """Fitted on ``rows``, once where a closing leaves them as they were."""
        known = self.codecs.get(name)
        if known is None or not np.array_equal(known[0], rows):
            known = self.codecs[name] = rows, fit_codec(name, rows)
        return known[1]

    @property
    def k(self) -> int:
        return int(self.exact.shape[1])


def plan(
    queries: Any,
    candidates: Any,
    *,
    target: float = 0.95,
    measure: str = "agreement",
    k: int = 10,
    score: str = "cosine",
    query_items: Any = None,
    candidate_items: Any = None,
    codecs: Sequence[str] | None = None,
    closers: Sequence[str] | None = None,
    depths: Sequence[int] | None = None,
    max_queries: int = 2000,
    max_candidates: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> StoragePlan:
    """The smallest code and rescoring depth that keep ``target`` of the answers on unseen queries.

    A sample of candidates is easier to search than all of them, because rivals are fewer: with more
    candidates than ``max_candidates``, or a gallery that will grow, ask for more than you need.

    Args:
        queries, candidates: rows or files of rows.
        target: share to keep, above 0 and below 1.
        measure: ``agreement`` (the first answer is exact search's) or ``recall`` (of its k best).
        k: answers that ``recall`` counts.
        score: how you search today.
        query_items, candidate_items: names of items, arrays or files of them: rows with one name
            are one item, which is one answer at its best row's place. Rows that repeat an earlier
            row exactly are one by themselves.
        codecs: names to try; :data:`CODECS` where left out. ``pq`` and RaBitQ of several bits are
            left out, with a word, where rows are too few or the installed FAISS lacks them.
        closers: closings to try, all of which must keep clean answers.
        depths: rescoring depths, 0 for none; :data:`DEPTHS` up to a tenth of the candidates.
        max_queries, max_candidates: seeded samples above these. seed: of samples and splits.

    Raises:
        OptionError: a target that is no share, an unknown measure, codec or closer, a depth above
            the number of candidates, or a closer that changes clean answers. Anything
            ``open_task`` refuses.

    Cost: one search of all queries per code and closing.

    >>> rng = np.random.default_rng(0)
    >>> items = rng.normal(size=(400, 32))
    >>> found = plan(items + 0.3 * rng.normal(size=(400, 32)), items, codecs=["sign", "int8"])
    >>> found.best.codec, found.best.depth, found.best.bytes_per_vector
    ('sign', 0, 4.0)
    """
    in_range(target, "target", "target-not-a-share", above=0, below=1)
    one_of(measure, ("agreement", "recall"), "measure")
    say = progress or quiet
    whole = open_task(
        queries,
        candidates,
        paired=False,
        score=score,
        query_items=query_items,
        candidate_items=candidate_items,
        max_rows=max_candidates,
        seed=seed,
    )
    task = whole.sample(max_queries, stream("plan.sample", seed))
    rng = stream("plan.split", seed)
    validation, test = task.split(0.5, rng)
    task = task.calibrated(rng)
    exact = _answers(task, k if measure == "recall" else 1)
    planned = _Planned(task, validation, test, exact, _depths(depths, len(task.candidates)), target)
    names, left_out = _codecs(codecs, task)
    fitted = _closers(task, validation, closers)
    lines: list[StorageLine] = []
    for name in counted(names, "codes", say):
        for closer in fitted:
            if not (name.endswith(SYMMETRIC) and closer.bias_weights is not None):
                lines += _lines(planned, closer, name)
    lines.sort(key=lambda line: (*_cost(line), -line.validation))
    plain, closed = ([x for x in lines if (x.closer == "none") == says] for says in (True, False))
    return StoragePlan(
        target,
        measure,
        planned.k,
        _smallest(plain),
        _smallest(closed),
        _smallest(plain, by_code=True),
        _smallest(closed, by_code=True),
        tuple(lines),
        left_out,
        _setup(planned, seed),
        (*_about_order(whole), *item_notes(whole)),
    )


def _about_order(task: RetrievalTask) -> list[InputWarning]:
    assert task.query_input is not None
    assert task.candidate_input is not None
    return look_at_order(task.query_input.source, task.candidate_input.source)


def _answers(task: RetrievalTask, k: int) -> np.ndarray:
    """(n, k): lowest rows of the items that exact search finds best, each at its best row."""
    items = task.candidate_items
    if items is None:
        return top_k(task.plain(), k).rows
    k = min(k, len(np.unique(items)))
    return best_items(top_k(task.plain(), rows_for(items, k)).rows, items, k)


def _cost(line: StorageLine) -> tuple[float, int]:
    return line.bytes_per_vector, line.depth


def _smallest(lines: list[StorageLine], *, by_code: bool = False) -> StorageLine | None:
    """The first of the sorted lines that meets the target."""
    return next((x for x in lines if x.meets and not (by_code and x.depth)), None)


def _setup(planned: _Planned, seed: int) -> dict[str, Any]:
    task = planned.task
    given, dim = task.candidate_input, task.candidates.shape[1]
    whole = len(task.candidates)
    if given is not None and given.stats.rows < given.source.rows:  # a sample
        whole = given.source.rows
    return {
        "score": task.score,
        "queries": len(task.queries),
        "candidates": len(task.candidates),
        "all_candidates": whole,
        "dim": dim,
        "float_bytes": FLOAT_BYTES * dim,
        "validation_queries": len(planned.validation),
        "test_queries": len(planned.test),
        "seed": seed,
    }


def _depths(given: Sequence[int] | None, candidates: int) -> tuple[int, ...]:
    if given is None:
        return tuple(d for d in DEPTHS if d <= LARGEST_DEPTH * candidates)
    for depth in given:
        in_range(depth, "depth", "bad-depth", least=0, most=candidates, hint=" (all candidates)")
    return tuple(sorted({int(depth) for depth in given}))


def _codecs(
    given: Sequence[str] | None, task: RetrievalTask
) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Names to try, and (name, why) of those of the default that cannot be."""
    if given is not None:
        return list(dict.fromkeys(given)), ()
    dim, rows = task.candidates.shape[1], len(task.candidate_calibration)
    why = {}
    if dim % 8:
        why["pq"] = f"8 does not divide {dim} dimensions"
    elif rows < LEAST_PQ_ROWS:
        why["pq"] = f"{rows} rows to train on, it needs {LEAST_PQ_ROWS}"
    if not has_multi_bit():
        why |= dict.fromkeys(
            ("rabitq2", "rabitq4"), "the installed FAISS has one bit; 1.15 has more"
        )
    names = [f"pq{dim // 8}x8" if name == "pq" else name for name in CODECS if name not in why]
    return names, tuple(why.items())


def _closers(task: RetrievalTask, rows: np.ndarray, names: Sequence[str] | None) -> list[Closer]:
    """Plain search first, then each closing fitted on the validation queries' moments."""
    if names is None:
        names = EUCLIDEAN_CLOSERS if task.score == "euclidean" else CLOSERS
    moments = Moments.of(task.queries[rows], precise=True, normalised=task.normalised)
    found = []
    for name in dict.fromkeys(["none", *names]):
        method = METHODS[name]
        given = task.score if name == "none" else method.score_for(task.score)
        closer = fit(name, moments, task.candidate_moments, score=given, normalised=task.normalised)
        same = closer.score == task.score or near_unit(task.candidates)
        if method.guarantee != "exact" or not same:
            raise OptionError(
                "closer-changes-answers",
                f"{name} changes clean answers by {task.score}; a plan compares with exact search, "
                "so give closers that keep them",
            )
        found.append(closer)
    return found


def _lines(planned: _Planned, closer: Closer, name: str) -> list[StorageLine]:
    """One line per depth, from one search by code."""
    task = planned.task
    q = np.asarray(closer.query(task.queries))
    c = np.asarray(closer.candidate(task.candidates))
    bias = None if closer.bias_weights is None else closer.candidate_bias(task.candidates)
    dim = c.shape[1] - closer.memo
    codec = planned.codec(name.removesuffix(SYMMETRIC), c[task.candidate_calibration, :dim])
    both = codec if name.endswith(SYMMETRIC) else None
    coded = coded_ranking(q, c, codec, score=closer.score, bias=bias, query_codec=both, stored=dim)
    places = places_of(coded, planned.exact, task.candidate_items)
    predicted: dict[int, float] = {}
    if planned.k == 1:
        clean = Ranking.of(q, c, closer.score, bias)
        items = planned.task.candidate_items
        about = planned.validation, planned.depths, items
        predicted = predict_places(clean, coded, planned.exact[:, 0], *about)
    size = codec.bytes_per_vector(dim) + FLOAT_BYTES * (closer.memo + (bias is not None))
    lines = []
    for depth in planned.depths:
        kept = (places < max(depth, planned.k)).mean(axis=1)
        first, second = kept[planned.validation], kept[planned.test]
        held_out = wilson(float(second.sum()), len(second))
        margin = safe_margin(first, len(second), planned.k)
        lines.append(
            StorageLine(
                name,
                closer.name,
                closer.score,
                depth,
                float(size),
                predicted.get(depth),
                float(first.mean()),
                held_out.mean,
                held_out.low,
                held_out.high,
                margin,
                bool(first.mean() - margin >= planned.target),
            )
        )
    return lines

"""The grid: closer × perturbation × level, in one direction -> rows of one table.

A :class:`Problem` is one direction of one task (queries, candidates, truth). A :class:`Cell` is
one perturbation at one level on one side. :func:`measure` plays a fitted closer through a cell and
returns outcomes per (trial, query); :func:`grid` turns all of them into rows of the contract:

    direction, task, score, closer, strength, side, family, level, convention, trials, seed,
    queries, candidates, consistency, consistency_lo, consistency_hi, predicted_consistency,
    accuracy, agreement, clean_agreement, clean_accuracy, overlap_at_10, bytes_per_vector

``consistency``: the top-1 survives the perturbation under the same closer (the paper's eq. 10).
``agreement``: the top-1 after closing and perturbing is the top-1 before both. ``clean_agreement``:
the same without perturbing. "Before both" is plain search with the same score on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from isthmus.errors import OptionError
from isthmus.maps import Closer
from isthmus.perturb.codecs import SignBits, UniformQuantiser
from isthmus.perturb.noise import gaussian, total_variance
from isthmus.predict import keep_probability
from isthmus.scores import Ranking, top1
from isthmus.stats import paired_difference, share_over_trials, wilson
from isthmus.tasks import Truth, choose

Side = Literal["queries", "candidates", "both"]

GAUSSIAN_LEVELS = (0.005, 0.022, 0.04)
BIN_COUNTS = (256, 128, 64, 32)
COLUMNS = (
    "direction", "task", "score", "closer", "strength", "side", "family", "level", "convention",
    "trials", "seed", "queries", "candidates", "consistency", "consistency_lo", "consistency_hi",
    "predicted_consistency", "accuracy", "agreement", "clean_agreement", "clean_accuracy",
    "overlap_at_10", "bytes_per_vector",
)  # fmt: skip
OVERLAP_AT = 10


@dataclass(frozen=True, eq=False)
class Problem:
    """One direction: queries (n, d) and candidates (K, d) as float64 rows, and the truth.

    ``calibration`` are row numbers of the candidates that codecs are fitted on, and
    ``query_calibration`` those of the queries: fixed by the seed, never silently all rows.
    ``lists`` (n, c), for multiple choice: the candidate rows each query chooses among.
    """

    direction: str
    queries: np.ndarray
    candidates: np.ndarray
    truth: Truth
    calibration: np.ndarray
    query_calibration: np.ndarray
    lists: np.ndarray | None = None

    def best(self, ranking: Ranking, *, ties: bool = True) -> np.ndarray:
        """The answer to every query, (n,): of its own list, or of all candidates.

        ``ties=False`` skips the look for ties: independent noise on candidates leaves none.
        """
        if self.lists is not None:
            return choose(ranking, self.lists)
        if ties:
            return top1(ranking)
        return np.concatenate([s.argmax(axis=1) for _, s in ranking.score_blocks()])


@dataclass(frozen=True)
class Cell:
    """One perturbation: family (gaussian, uniform-quantisation, sign-bits; inputs have their own),
    side, level, and a convention where the level is a variance."""

    family: str
    side: Side
    level: float
    convention: str | None = None


def default_cells(
    levels: Sequence[float] = GAUSSIAN_LEVELS, convention: str = "total"
) -> list[Cell]:
    """The grid of ``isthmus audit``: noise on each side, quantised and sign-coded candidates."""
    sides: tuple[Side, ...] = ("candidates", "queries", "both")
    cells = [Cell("gaussian", side, level, convention) for side in sides for level in levels]
    cells += [Cell("uniform-quantisation", "candidates", float(b)) for b in BIN_COUNTS]
    stored: tuple[Side, ...] = ("candidates", "both")
    return cells + [Cell("sign-bits", side, 1.0) for side in stored]


@dataclass(frozen=True, eq=False)
class Play:
    """A closer set up on a problem: mapped rows, the clean search, and its clean answers."""

    closer: Closer
    score: str
    queries: np.ndarray
    candidates: np.ndarray
    bias: np.ndarray | None
    clean: Ranking
    clean_top1: np.ndarray
    before_top1: np.ndarray

    @classmethod
    def of(cls, problem: Problem, closer: Closer, before_top1: np.ndarray) -> Play:
        """Map the rows once; O((n + K) d) and one clean search."""
        queries = np.asarray(closer.query(problem.queries))
        candidates = np.asarray(closer.candidate(problem.candidates))
        bias = None if closer.bias is None else closer.bias_of(problem.candidates)
        clean = Ranking.of(queries, candidates, closer.score, bias)
        answers = problem.best(clean)
        return cls(closer, closer.score, queries, candidates, bias, clean, answers, before_top1)

    @cached_property
    def _clean_head(self) -> np.ndarray:
        return _top_of_head(self.clean, OVERLAP_AT)

    def overlap(self, perturbed: Ranking) -> float:
        """``overlap_at`` of the clean search, whose top is found once for all cells."""
        if len(self.candidates) < 2 * OVERLAP_AT:
            return float("nan")
        return _overlap(self._clean_head, _top_of_head(perturbed, OVERLAP_AT))

    @property
    def stored_dims(self) -> int:
        """Coordinates of a mapped row that are stored as a vector: all but the closer's memo."""
        return self.candidates.shape[1] - self.closer.memo

    @property
    def floats_beside(self) -> int:
        """Floats kept per candidate beside its vector: memo coordinates and the stored number."""
        return self.closer.memo + (self.bias is not None)

    @property
    def clean_agreement(self) -> np.ndarray:
        """(n,) bool: closing alone left the answer as it was."""
        return self.clean_top1 == self.before_top1


def plain_top1(problem: Problem, score: str) -> np.ndarray:
    """Answers of plain search on the rows as they are: "before" for every agreement."""
    return problem.best(Ranking.of(problem.queries, problem.candidates, score))


@dataclass(frozen=True, eq=False)
class Result:
    """A cell played by a closer: answers (trials, n), and what the rows of the table need."""

    cell: Cell
    play: Play
    answers: np.ndarray
    trials: int
    overlap: float
    bytes_per_vector: float | None
    predicted: float | None

    @property
    def kept(self) -> np.ndarray:
        """(trials, n) bool: the answer survived."""
        return self.answers == self.play.clean_top1[None, :]

    @property
    def agreed(self) -> np.ndarray:
        """(trials, n) bool: the answer is the one before closing and perturbing."""
        return self.answers == self.play.before_top1[None, :]


def measure(
    problem: Problem, plays: Sequence[Play], cell: Cell, *, trials: int, seed: int
) -> list[Result]:
    """Perturb, search, compare: one result per play, all under the same noise.

    Gaussian cells run ``trials`` times, codecs (which are exact) once.

    Raises:
        OptionError: an unknown family, side, level or convention.
    """
    if cell.side not in ("queries", "candidates", "both"):
        raise OptionError(f"side '{cell.side}' is unknown; say queries, candidates or both")
    if cell.family == "gaussian":
        return _measure_gaussian(problem, plays, cell, trials=trials, seed=seed)
    return [_measure_codec(problem, play, cell) for play in plays]


def _measure_gaussian(
    problem: Problem, plays: Sequence[Play], cell: Cell, *, trials: int, seed: int
) -> list[Result]:
    dim = max([problem.queries.shape[1], *(play.stored_dims for play in plays)])
    totals = [_total(cell, play) for play in plays]
    total = max(totals, default=0.0)
    q_ratio = _ratio(_spread_total(cell, problem.candidates), total, problem.queries.shape[1], dim)
    n, k = len(problem.queries), len(problem.candidates)
    answers = np.empty((len(plays), trials, n), np.int64)
    overlaps = np.full(len(plays), np.nan)
    for trial in range(trials):
        on_queries = cell.side in ("queries", "both")
        on_candidates = cell.side in ("candidates", "both")

        def draw(rows: int, role: str, trial: int = trial) -> np.ndarray:
            return gaussian(rows, dim, total, seed=seed, trial=trial, role=role, level=cell.level)

        q_noise = draw(n, "query") if on_queries else None
        c_noise = draw(k, "candidate") if on_candidates else None
        for i, play in enumerate(plays):
            ratio = _ratio(totals[i], total, play.stored_dims, dim)
            noisy = _noisy(play, q_noise, c_noise, ratio, q_ratio)
            answers[i, trial] = problem.best(noisy, ties=c_noise is None or totals[i] == 0)
            if trial == 0:
                overlaps[i] = play.overlap(noisy)
    results = []
    for i, play in enumerate(plays):
        predicted = None
        plain = play.closer.memo == 0 and (play.bias is None or play.score == "dot")
        if cell.side == "candidates" and problem.lists is None and plain:
            kept = keep_probability(play.clean, play.score, totals[i])
            predicted = None if kept is None else float(kept.mean())
        results.append(Result(cell, play, answers[i], trials, float(overlaps[i]), None, predicted))
    return results


def _total(cell: Cell, play: Play) -> float:
    """E‖ε‖² of a cell for one closer: under ``spread`` relative to its own, mapped candidates."""
    return _spread_total(cell, play.candidates[:, : play.stored_dims])


def _spread_total(cell: Cell, stored: np.ndarray) -> float:
    spread = float(stored.var(axis=0).sum())
    return total_variance(cell.level, cell.convention or "total", stored.shape[1], spread)


def _ratio(own: float, total: float, own_dim: int, dim: int) -> np.floating | None:
    """What turns noise drawn with ``total`` over ``dim`` coordinates into that of ``own``."""
    if total == 0 or (own == total and own_dim == dim):
        return None
    return np.float32(np.sqrt(own / own_dim) / np.sqrt(total / dim))


def _noisy(
    play: Play,
    q_noise: np.ndarray | None,
    c_noise: np.ndarray | None,
    ratio: np.floating | None,
    q_ratio: np.floating | None,
) -> Ranking:
    """The search under noise.

    Noise on candidates hits what is stored: rows after the map, its memo coordinates apart. Noise
    on queries goes through the map's matrices, if it has any: the query is disturbed, then mapped.
    """
    q, c = play.queries.astype(np.float32), play.candidates.astype(np.float32)
    if q_noise is not None:
        matrices = [m.matrix for m in play.closer.query.steps if m.matrix is not None]
        own = q_ratio if matrices else ratio
        if own is not None:
            q_noise = q_noise * own
        for matrix in matrices:
            q_noise = q_noise @ matrix.T.astype(np.float32)
        q = q + q_noise
    if c_noise is not None:
        c_noise = c_noise[:, : play.stored_dims]
        c[:, : play.stored_dims] += c_noise if ratio is None else c_noise * ratio
    return _single(Ranking.of(q, c, play.score, play.bias))


def _single(ranking: Ranking) -> Ranking:
    """Linear terms in the rows' float32, so that score blocks stay float32."""

    def cut(terms: np.ndarray | None) -> np.ndarray | None:
        return None if terms is None else terms.astype(ranking.queries.dtype)

    return Ranking(ranking.queries, ranking.candidates, cut(ranking.scale), cut(ranking.offset))


def _measure_codec(problem: Problem, play: Play, cell: Cell) -> Result:
    """Stored rows (and queries, for ``both``) through a codec fitted on the calibration split."""
    q, c, size = play.queries, play.candidates, None
    if cell.side in ("candidates", "both"):
        c, codec = _through(cell, c, problem.calibration, play.stored_dims)
        size = float(codec.bytes_per_vector(play.stored_dims))
    if cell.side in ("queries", "both"):
        q, _ = _through(cell, q, problem.query_calibration, play.stored_dims)
    coded = Ranking.of(q, c, play.score, play.bias)
    return Result(cell, play, problem.best(coded)[None, :], 1, play.overlap(coded), size, None)


def _through(
    cell: Cell, rows: np.ndarray, calibration: np.ndarray, stored: int
) -> tuple[np.ndarray, UniformQuantiser | SignBits]:
    """Rows whose first ``stored`` coordinates went through the codec; the rest stays in float."""
    codec = _codec(cell, rows[calibration, :stored])
    coded = codec.through(rows[:, :stored])
    return (coded if stored == rows.shape[1] else np.hstack([coded, rows[:, stored:]])), codec


def _codec(cell: Cell, calibration: np.ndarray) -> UniformQuantiser | SignBits:
    if cell.family == "uniform-quantisation":
        return UniformQuantiser.fit(calibration, int(cell.level))
    if cell.family == "sign-bits":
        return SignBits.fit(calibration)
    raise OptionError(
        f"family '{cell.family}' is unknown; choose gaussian, uniform-quantisation or sign-bits"
    )


def overlap_at(clean: Ranking, perturbed: Ranking, k: int = OVERLAP_AT) -> float:
    """Mean share of the clean top k that is in the perturbed top k. NaN below 2k candidates."""
    if len(clean.candidates) < 2 * k:
        return float("nan")
    return _overlap(_top_of_head(clean, k), _top_of_head(perturbed, k))


def _top_of_head(ranking: Ranking, k: int) -> np.ndarray:
    """The k best rows, in no order, of the first 512 queries: enough for one column."""
    head = Ranking(ranking.queries[:512], ranking.candidates, ranking.scale, ranking.offset)
    return np.concatenate([np.argpartition(-s, k, axis=1)[:, :k] for _, s in head.score_blocks()])


def _overlap(top_a: np.ndarray, top_b: np.ndarray) -> float:
    return float((top_a[:, :, None] == top_b[:, None, :]).any(axis=2).mean())


def row_of(problem: Problem, result: Result, seed: int) -> dict[str, Any]:
    """One row of the table, with intervals that resample trials and queries."""
    play, cell, truth = result.play, result.cell, problem.truth
    consistency = share_over_trials(result.kept, seed=seed)
    judged = truth.judged
    has_truth = bool(judged.any())
    accuracy = agreement = clean_accuracy = None
    extra: dict[str, Any] = {}
    if has_truth:
        correct = np.stack([truth.correct(a) for a in result.answers])[:, judged]
        share = share_over_trials(correct, seed=seed)
        accuracy = float(share.mean)
        extra |= {"accuracy_lo": share.low, "accuracy_hi": share.high}
        clean_accuracy = float(truth.correct(play.clean_top1)[judged].mean())
    share = share_over_trials(result.agreed, seed=seed)
    agreement = float(share.mean)
    extra |= {"agreement_lo": share.low, "agreement_hi": share.high}
    clean = wilson(int(play.clean_agreement.sum()), len(play.clean_agreement))
    extra |= {"clean_agreement_lo": clean.low, "clean_agreement_hi": clean.high}
    extra["floats_beside"] = play.floats_beside
    values = (
        problem.direction, truth.task, play.score, play.closer.name, play.closer.strength,
        cell.side, cell.family, cell.level, cell.convention, result.trials, seed,
        len(play.queries), len(play.candidates), consistency.mean, consistency.low,
        consistency.high, result.predicted, accuracy, agreement, clean.mean, clean_accuracy,
        None if np.isnan(result.overlap) else result.overlap, result.bytes_per_vector,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True)) | extra


def grid(
    problem: Problem,
    closers: Iterable[Closer],
    cells: Sequence[Cell],
    *,
    trials: int,
    control_trials: int | None = None,
    seed: int = 0,
    on_cell: Callable[[Cell], None] | None = None,
) -> list[Result]:
    """Every closer through every cell. Noise is common to all closers of a cell.

    Results come closer by closer, each through the cells in their order.

    Args:
        closers: fitted for this direction; each is searched with its own score.
        trials: noise draws where candidates alone are hit; ``control_trials`` elsewhere
            (queries, both), by default the same.
        on_cell: called after each cell, for progress bars.
    """
    plays = plays_of(problem, closers)
    results = []
    for cell in cells:
        count = trials if cell.side == "candidates" else (control_trials or trials)
        results += measure(problem, plays, cell, trials=count, seed=seed)
        if on_cell is not None:
            on_cell(cell)
    order = {id(play): i for i, play in enumerate(plays)}
    return sorted(results, key=lambda r: order[id(r.play)])


def plays_of(problem: Problem, closers: Iterable[Closer]) -> list[Play]:
    """Every closer set up on a problem, each beside plain search under its own score."""
    befores: dict[str, np.ndarray] = {}
    plays = []
    for closer in closers:
        if closer.score not in befores:
            befores[closer.score] = plain_top1(problem, closer.score)
        plays.append(Play.of(problem, closer, befores[closer.score]))
    return plays


def gain(before: Result, after: Result, seed: int = 0) -> dict[str, float]:
    """How many flips a closer removes against another, with a paired 95 % interval.

    Both must have met the same cell with the same trials.
    """
    trials = min(before.trials, after.trials)
    change = paired_difference(before.kept[:trials], after.kept[:trials], seed=seed)
    return {"gain": change.mean, "gain_lo": change.low, "gain_hi": change.high}


__all__ = [
    "BIN_COUNTS", "COLUMNS", "GAUSSIAN_LEVELS", "Cell", "Play", "Problem", "Result",
    "default_cells", "gain", "grid", "measure", "overlap_at", "plain_top1", "plays_of", "row_of",
]  # fmt: skip

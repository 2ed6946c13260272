"""``stress``: will the answers change? Closers × perturbations × levels × seeds, as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.closers.many import fit_many
from isthmus.closers.registry import METHODS
from isthmus.core.checks import at_least, in_range
from isthmus.core.levels import usual_convention
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.core.threads import one_blas_thread
from isthmus.data.moments import Moments
from isthmus.data.overwriting import refuse_overwriting
from isthmus.data.records import Record
from isthmus.data.row_stats import InputWarning, worst_first
from isthmus.errors import OptionError
from isthmus.perturb.codecs.lint import OUTSIDE_VALUES
from isthmus.robustness.gallery import is_sampled, sampled_note, with_gallery
from isthmus.robustness.perturbations import (
    GAUSSIAN_LEVELS,
    SHARES_KEPT,
    Perturbation,
    check_noise,
    perturbations_of,
)
from isthmus.robustness.run import check_table_suffix, run_grid, write_table
from isthmus.robustness.table import averaged
from isthmus.search.opening import Right, item_notes
from isthmus.search.task import RetrievalTask

STRESSED = (
    "orthogonal-shift",
    "biased-shift",
    "center-queries",
    "center-both",
    "ridge-shift",
    "mean-shift",
    "centering",
)
"""Closers that a stress run takes besides plain search, unless others are named."""
MAX_QUERIES = 2000
MAX_CANDIDATES = 10_000
TRIALS = 60
LEAST_TRIALS = 8
NO_FIT_SHARE = {
    "pairs": "it is fitted on the scored queries' pairs; give paired rows and no fit share",
    "query_rows": "it is fitted on rows of the scored queries; give no fit share",
}
"""Why a closer that needs more than moments was not fitted."""


@dataclass(frozen=True, eq=False)
class StressTable(Record):
    """A stress run: the rows of the contract, and what a reader has to know besides.

    Attributes:
        table: a row per closer, strength, perturbation, level and seed (``docs/stress.md``).
        notes: closers left out and why, and codecs whose ranges do not fit the rows, in sentences.
        names: what the two sides are called. warnings: what is suspicious about what is right.
    """

    table: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    names: tuple[str, str] = ("queries", "candidates")
    warnings: Sequence[InputWarning] = ()

    def to_dict(self) -> dict[str, Any]:
        """Rows, notes and warnings, as plain values."""
        found = [warning.to_dict() for warning in self.warnings]
        return {"rows": self.rows(), "notes": list(self.notes), "warnings": found}

    def rows(self) -> list[dict[str, Any]]:
        """A row per closer, strength, perturbation, level and seed."""
        return [dict(row) for row in self.table]

    def averaged(self) -> list[dict[str, Any]]:
        """Rows that differ in their seed alone, as one."""
        return averaged(self.rows())

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """What a notebook shows: what survives of each closer under each perturbation."""
        shown = ("closer", "score", "family", "level", "side", "consistency", "gain", "accuracy")
        rows = [{name: row.get(name) for name in shown} for row in self.averaged()]
        return f"Answers of {self.names[0]} among {self.names[1]} that survive", rows

    def _save_page(self, path: Path) -> None:
        from isthmus.report.stress_page import write_stress_page

        queries, candidates = self.names
        found = [warning.to_dict() for warning in self.warnings]
        write_stress_page(
            path,
            self.averaged(),
            queries=queries,
            candidates=candidates,
            warnings=found,
            notes=self.notes,
        )


@one_blas_thread()
def stress(
    queries: Any,
    candidates: Any,
    *,
    relevance: Any = None,
    labels: Any = None,
    paired: bool | None = None,
    query_items: Any = None,
    candidate_items: Any = None,
    score: str = "cosine",
    perturb: str | Sequence[str] = "gaussian",
    closers: str | Sequence[str] = STRESSED,
    strengths: Sequence[float] | None = None,
    levels: Sequence[float] = GAUSSIAN_LEVELS,
    kept: Sequence[float] = SHARES_KEPT,
    targets: str | Sequence[str] = "candidates",
    convention: str | None = None,
    calibration: str | None = None,
    rescored: int = 0,
    trials: int | None = None,
    seeds: int = 1,
    controls: bool = False,
    fit_share: float = 0.0,
    max_queries: int = MAX_QUERIES,
    max_candidates: int = MAX_CANDIDATES,
    engine: Any = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> StressTable:
    """Fit closers, disturb what is searched, search again and count the answers that survive.

    Args:
        queries, candidates: (n, d) and (K, d) arrays or tensors, paths, globs or ``RowSource``.
        relevance, labels, paired: what is right, see :func:`isthmus.open_task`.
        query_items, candidate_items: names of items, arrays or files of them: rows with one name
            are one item. Rows that repeat an earlier row exactly are one by themselves.
        score: how you search today: dot, cosine or euclidean.
        perturb: families: noise (gaussian, uniform, …), cuts (truncation, …) or codecs by name.
        closers: besides plain search. strengths: of each; None takes each closer's own default.
        levels: variances of noise. kept: dimensions that cuts keep, or shares below 1.
        targets: what is hit: candidates, queries, both, shared (one draw for all candidates).
        convention: what a level is: total, coordinate, spread or relative; None: total for rows of
            unit norm, else relative.
        calibration: rows that codecs are fitted on: own, other or union.
        rescored: codecs only: so many of the best by code are ranked again in float.
        trials: draws per level; None: Gaussian noise goes by its law where there is one, which few
            draws check, and other noise is drawn 60 times, less often for large inputs, a third on
            queries or both.
        seeds: seeds 0, 1 … of noise and codec rows. controls: also close along other vectors.
        fit_share: part of the queries that closers are fitted on and that is not scored.
        max_queries, max_candidates: most that are searched, seeded samples.
        engine: what sums and searches rows that are many (:func:`isthmus.engines.open_engine`).
        out: ``.parquet`` or ``.json`` file of the table; a run that was killed goes on.
        progress: called with (what, done, all).

    Cost: one pass over all rows for their moments, then closers × perturbations × trials × seeds
    exact searches.

    Raises:
        IsthmusError: rows or options that are refused; the sentence says why.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> pictures = rng.normal(size=(60, 16)) + 1
    >>> table = stress(pictures - 2, pictures, perturb="sq8", closers="center-queries")
    >>> [(row["closer"], row["score"], row["flip_reference"]) for row in table.rows()]
    [('none', 'cosine', 'own'), ('none', 'dot', 'own'), ('center-queries', 'dot', 'own')]
    """
    perturbations = perturbations_of(
        _several(perturb),
        levels=levels,
        kept=kept,
        targets=_several(targets),  # type: ignore[arg-type]
        convention=convention or "total",
        calibration=calibration,
        rescored=rescored,
    )
    check_noise(levels, convention or "total")
    check_counts(fit_share, trials, max_queries, max_candidates, seeds)
    path = None if out is None else Path(out)
    right = Right(relevance, labels, paired, query_items, candidate_items)
    if path is not None:
        check_table_suffix(path)
        refuse_overwriting(
            {"out": path}, {"queries": queries, "candidates": candidates} | vars(right)
        )
    say = progress or quiet
    names = _name_of(queries, "queries"), _name_of(candidates, "candidates")
    task, found = right.open(
        queries,
        candidates,
        names,
        score=score,
        direction="a_to_b",
        max_rows=max_candidates,
        summarised=True,
        engine=engine,
        progress=say,
    )
    asked = _Asked(
        tuple(perturbations),
        convention is None,
        tuple(_several(closers)),
        strengths,
        controls,
        fit_share,
        max_queries,
        trials,
        seeds,
    )
    rows, notes = asked.measured(task.distinct(), names[1], path, engine, say)
    return StressTable(rows, notes, names, worst_first(found))


@dataclass(frozen=True)
class _Asked:
    """What is asked of :func:`stress`, checked. ``usual``: levels mean what is usual."""

    perturbations: tuple[Perturbation, ...]
    usual: bool
    closers: tuple[str, ...]
    strengths: Sequence[float] | None
    controls: bool
    fit_share: float
    max_queries: int
    trials: int | None
    seeds: int

    def measured(
        self, task: RetrievalTask, name: str, path: Path | None, engine: Any, say: Progress
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """The rows of the table, written to ``path``, and what has to be known besides.

        ``name`` of the candidates.
        """
        scored, moments = task.scored(self.fit_share, self.max_queries, stream("audit.split", 0))
        fitted = self._fitted(task, scored, moments)
        count = self.trials or trials_for(len(scored.queries), len(scored.candidates))
        rows = run_grid(
            {seed: reseeded(scored, seed) for seed in range(self.seeds)},
            fitted,
            self._of_rows(task),
            trials=count,
            control_trials=max(1, count // 3),
            by_law=self.trials is None,
            out=path,
            say=lambda done, of: say("stress", done, of),
        )
        rows, whole = with_gallery(rows, scored, fitted, engine=engine, progress=say)
        seen = (w.text for w in item_notes(task))
        notes = (*seen, *left_out(self.closers, fitted), *range_notes(rows))
        if is_sampled(scored):
            assert scored.candidate_input is not None
            there = scored.candidate_input.source.rows
            notes += (sampled_note(len(scored.candidates), there, name),)
        if path is not None and whole is not None:
            write_table(path, rows)
        return rows, notes

    def _of_rows(self, task: RetrievalTask) -> list[Perturbation]:
        if not self.usual:
            return list(self.perturbations)
        usual = usual_convention(task.unit_rows)
        return [
            replace(p, convention=usual) if p.kind == "noise" else p for p in self.perturbations
        ]

    def _fitted(self, task: RetrievalTask, scored: RetrievalTask, moments: Moments) -> list[Closer]:
        return fit_many(
            self.closers,
            moments,
            task.candidate_moments,
            score=task.score,
            strengths=self.strengths,
            normalised=task.normalised,
            # both are of the queries that are scored, which a fit share keeps out of the fit
            pairs=None if self.fit_share else task.pair,
            query_rows=None if self.fit_share else scored.queries[scored.query_calibration],
            with_controls=self.controls,
        )


def reseeded(task: RetrievalTask, seed: int) -> RetrievalTask:
    """The same rows, scored alike, with the codec rows that another seed draws; 0: as it is.

    Which queries closers are fitted on must not depend on the seed of the noise: they are fitted
    once for all seeds.
    """
    return task if seed == 0 else task.calibrated(stream("stress.codec-rows", seed))


def trials_for(queries: int, candidates: int, most: int = TRIALS, least: int = LEAST_TRIALS) -> int:
    """``most`` draws up to 500 × 500, then fewer as the product grows, at least ``least``."""
    return int(np.clip(most * 500 * 500 / (queries * candidates), least, most))


def check_counts(
    fit_share: float,
    trials: int | None,
    max_queries: int = MAX_QUERIES,
    max_candidates: int = MAX_CANDIDATES,
    seeds: int = 1,
) -> None:
    """Refuse shares and counts that make no sense.

    Raises:
        OptionError: as above.
    """
    in_range(fit_share, "fit_share", "bad-share", least=0, below=1)
    for name, count in (("trials", trials), ("seeds", seeds)):
        if count is not None:
            at_least(count, 1, name, "bad-number")
    if min(max_queries, max_candidates) < 2:
        raise OptionError(
            "bad-number", "at least 2 queries and 2 candidates are needed to see a flip"
        )


def left_out(asked: Sequence[str], fitted: Sequence[Closer]) -> list[str]:
    """A sentence for every closer that was asked for and could not be fitted."""
    found = {closer.name for closer in fitted}
    return [
        f"{name} is left out: {NO_FIT_SHARE[need]}"
        for name in asked
        for need in METHODS[name].needs
        if name not in found
    ]


def range_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for every codec and closer whose ranges do not fit the rows that are stored."""
    found = {
        (row["family"], row["closer"], row["score"]): row["codec_outside"]
        for row in rows
        if row.get("codec_outside", 0) > OUTSIDE_VALUES
    }
    return [
        f"{family}, {closer} by {score}: {outside:.1%} of the stored values lie outside the "
        "ranges it was fitted on and saturate; fit them on rows like these (calibration)"
        for (family, closer, score), outside in found.items()
    ]


def _several(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(dict.fromkeys(given))


def _name_of(given: Any, name: str) -> str:
    """What a page calls a side: its file's name, or its role."""
    is_path = isinstance(given, (str, os.PathLike))
    return Path(given).stem if is_path else name

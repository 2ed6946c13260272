"""Stress of the inputs themselves: rows before and after a picture or a text was perturbed.

Nothing is encoded here. Rows of the clean and of the perturbed inputs come in, and out come

* the same row of the table as for embedding noise (:func:`measure_inputs`), and
* a diagnosis (:func:`diagnose`): where the perturbation moved the rows (inside the candidates'
  span, outside it, along the gap; a shift shared by all or one's own), hence whether theory says
  that a closing should help, to be printed next to what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from isthmus.data.records import Record
from isthmus.errors import OptionError, ShapeError
from isthmus.robustness import ClosedSearch, Perturbation, Result
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

InputTarget = Literal["queries", "candidates"]
InputBias = Literal["clean", "again"]
HELPS_BELOW = 0.95


@dataclass(frozen=True)
class Diagnosis(Record):
    """Where a perturbation moved rows of its target, and what theory expects of a closing.

    Shares are of the mean squared length of the moves. ``in_span`` and ``off_span`` (they add to
    one) are relative to the candidates' differences; ``along_gap`` is the part along the gap;
    ``shared`` the part that is one and the same shift for all rows, to which rankings are blind
    when it hits candidates. ``disturbance`` is the variance that the rows' own moves add to a
    score; ``disturbance_ratio`` divides what is left of it after query centring by what it was:
    below one a closing with a candidate bias should help, at one it cannot.
    """

    target: str
    energy: float
    in_span: float = 0.0
    off_span: float = 0.0
    along_gap: float = 0.0
    shared: float = 0.0
    disturbance: float = 0.0
    disturbance_ratio: float = 1.0
    helps: bool = False
    words: str = "nothing moved, so nothing can flip"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and the sentence; ``target`` is called ``side``, as in the table."""
        found = super().to_dict()
        return {"side": found.pop("target"), **found}


def diagnose(
    clean: np.ndarray,
    perturbed: np.ndarray,
    task: RetrievalTask,
    *,
    target: InputTarget,
    rank: int | None = None,
) -> Diagnosis:
    """Split the measured perturbation covariance and say what theory expects.

    Args:
        clean, perturbed: (m, d) rows of the perturbed side, before and after (several
            perturbations of one row may be stacked; row i belongs to row i).
        task: the clean search. target: which side was perturbed.
        rank: directions that count as the candidates' span; None: the exact rank.

    Raises:
        ShapeError: clean and perturbed differ in shape.
    """
    if clean.shape != perturbed.shape:
        raise ShapeError(
            "unequal-shapes",
            f"clean rows have shape {clean.shape}, perturbed {perturbed.shape}; expected row i of "
            "one to be row i of the other",
        )
    moves = perturbed - clean
    energy = float((moves**2).sum(axis=1).mean())
    if energy == 0:
        return Diagnosis(target, 0.0)
    hull, queries = task.candidate_moments, task.queries
    basis = hull.spectrum[1][:, : hull.rank if rank is None else rank]
    in_span = float(((moves @ basis) ** 2).sum(axis=1).mean()) / energy
    gap = queries.mean(axis=0) - task.candidates.mean(axis=0)
    length = float(np.linalg.norm(gap))
    along = float(((moves @ gap) ** 2).mean()) / length**2 / energy if length else 0.0
    mean_move = moves.mean(axis=0)
    shared = float(mean_move @ mean_move) / energy
    own = np.cov(moves.T, ddof=0).reshape(len(gap), len(gap))
    before, after = (
        float(np.einsum("nd,de,ne->n", rows, own, rows).mean())
        for rows in (queries, queries - queries.mean(axis=0))
    )
    ratio = after / before if before > 0 and target == "candidates" else 1.0
    helps = ratio < HELPS_BELOW
    words = _words(shared, ratio, helps) if target == "candidates" else QUERIES_MOVED
    shares = in_span, 1 - in_span, along, shared
    return Diagnosis(target, energy, *shares, before, ratio, helps, words)


QUERIES_MOVED = (
    "the queries moved: score differences change by ⟨e, x_j - x_1⟩, whatever the gap, so no "
    "closing that keeps clean answers can help"
)


def _words(shared: float, ratio: float, helps: bool) -> str:
    return (
        f"the candidates moved on their own by {1 - shared:.0%} of the energy; after query "
        f"centring {ratio:.0%} of the disturbance is left, so a closing whose bias comes from the "
        f"clean candidates should {'help' if helps else 'hardly help'}; where it is computed from "
        "the perturbed ones, scores are those of plain search and nothing changes"
    )


def measure_inputs(
    search: ClosedSearch,
    perturbation: Perturbation,
    perturbed: Sequence[np.ndarray],
    *,
    bias: InputBias = "clean",
) -> Result:
    """Answers with one side's rows replaced by those of perturbed inputs.

    Args:
        search: a closer set up on the clean task.
        perturbation: what was done to the inputs; its target is the side that is replaced.
        perturbed: one (n, d) or (K, d) array per draw (trial), rows as they enter the closer.
        bias: for candidates: the bias of the clean rows (an index that kept it), or computed
            ``again`` from the perturbed rows (an index built from them).

    Raises:
        OptionError: an unknown target or bias. ShapeError: rows that do not fit.
    """
    task, target = search.task, perturbation.target
    if target not in ("queries", "candidates") or bias not in ("clean", "again"):
        raise OptionError(
            "unknown-input-target",
            f"target '{target}', bias '{bias}': say queries or candidates, clean or again",
        )
    wanted = getattr(task, target).shape
    answers, overlap = [], float("nan")
    for trial, rows in enumerate(perturbed):
        if rows.shape != wanted:
            raise ShapeError(
                "unequal-shapes", f"perturbed {target} have shape {rows.shape}, expected {wanted}"
            )
        rows = rows.astype(np.float64)
        q, c, added = search.queries, search.candidates, search.bias
        if target == "queries":
            q = np.asarray(search.closer.query(rows))
        else:
            c = np.asarray(search.closer.candidate(rows))
            if added is not None and bias == "again":
                added = search.closer.candidate_bias(rows)
        ranking = Ranking.of(q, c, search.score, added)
        answers.append(task.best(ranking))
        if trial == 0:
            overlap = search.overlap(ranking)
    return Result(perturbation, search, np.stack(answers), len(answers), overlap, None, None)

"""Stress of the inputs themselves: rows before and after a picture or a text was perturbed.

Nothing is encoded here. Rows of the clean and of the perturbed inputs come in, and out come

* the same row of the table as for embedding noise (:func:`measure_inputs`), and
* a diagnosis (:func:`diagnose`): where the perturbation moved the rows (inside the candidates'
  span, outside it, along the gap; a shift shared by all or one's own), hence whether theory says
  that a closing should help, to be printed beside what happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from isthmus.data.moments import Moments
from isthmus.errors import OptionError, ShapeError
from isthmus.robustness import ClosedSearch, Perturbation, Result
from isthmus.search.scores import Ranking
from isthmus.search.task import RetrievalTask

InputSide = Literal["queries", "candidates"]
Bias = Literal["clean", "again"]


@dataclass(frozen=True)
class Diagnosis:
    """Where a perturbation moved rows of one side, and what theory expects of a closing.

    Shares are of the mean squared length of the moves. ``in_span`` and ``off_span`` (they add to
    one) are relative to the candidates' differences; ``along_gap`` is the part along the gap;
    ``shared`` the part that is one and the same shift for all rows, to which rankings are blind
    when it hits candidates. ``disturbance`` is the variance that the rows' own moves add to a
    score; ``disturbance_ratio`` divides what is left of it after query centring by what it was:
    below one a stored-bias closing should help, at one it cannot.
    """

    side: str
    energy: float
    in_span: float
    off_span: float
    along_gap: float
    shared: float
    disturbance: float
    disturbance_ratio: float
    helps: bool
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and the sentence."""
        return asdict(self)


def diagnose(
    clean: np.ndarray,
    perturbed: np.ndarray,
    queries: np.ndarray,
    candidates: np.ndarray,
    *,
    side: InputSide,
    rank: int | None = None,
) -> Diagnosis:
    """Split the measured perturbation covariance and say what theory expects.

    Args:
        clean, perturbed: (m, d) rows of the perturbed side, before and after (several
            perturbations of one row may be stacked; row i belongs to row i).
        queries: (n, d). candidates: (K, d): the clean search.
        side: which side was perturbed.
        rank: directions that count as the candidates' span; None: the exact rank.

    Raises:
        ShapeError: clean and perturbed differ in shape.
    """
    if clean.shape != perturbed.shape:
        raise ShapeError(
            f"clean rows have shape {clean.shape}, perturbed {perturbed.shape}; expected row i of "
            "one to be row i of the other"
        )
    moves = perturbed - clean
    energy = float((moves**2).sum(axis=1).mean())
    hull = Moments.of(candidates, precise=True)
    gap = queries.mean(axis=0) - candidates.mean(axis=0)
    if energy == 0:
        return Diagnosis(
            side, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, False, "nothing moved, so nothing can flip"
        )
    kept = hull.rank if rank is None else rank
    basis = hull.spectrum[1][:, :kept]
    in_span = float(((moves @ basis) ** 2).sum(axis=1).mean()) / energy
    length = float(np.linalg.norm(gap))
    along = float(((moves @ gap) ** 2).mean()) / length**2 / energy if length else 0.0
    mean_move = moves.mean(axis=0)
    shared = float(mean_move @ mean_move) / energy
    own = np.cov(moves.T, ddof=0).reshape(len(gap), len(gap))
    before = float(np.einsum("nd,de,ne->n", queries, own, queries).mean())
    centred = queries - queries.mean(axis=0)
    after = float(np.einsum("nd,de,ne->n", centred, own, centred).mean())
    ratio = after / before if before > 0 else 1.0
    if side == "queries":
        return Diagnosis(
            side,
            energy,
            in_span,
            1 - in_span,
            along,
            shared,
            before,
            1.0,
            False,
            "the queries moved: score differences change by ⟨e, x_j - x_1⟩, whatever the gap, so "
            "no closing that keeps clean answers can help",
        )
    helps = ratio < 0.95
    words = (
        f"the candidates moved on their own by {1 - shared:.0%} of the energy; after query "
        f"centring {ratio:.0%} of the disturbance is left, so a closing whose stored numbers come "
        f"from the clean candidates should {'help' if helps else 'hardly help'}; where they are "
        "computed from the perturbed ones, scores are those of plain search and nothing changes"
    )
    return Diagnosis(side, energy, in_span, 1 - in_span, along, shared, before, ratio, helps, words)


def measure_inputs(
    task: RetrievalTask,
    search: ClosedSearch,
    perturbed: Sequence[np.ndarray],
    *,
    side: InputSide,
    family: str,
    level: float,
    bias: Bias = "clean",
) -> Result:
    """Answers with one side's rows replaced by those of perturbed inputs.

    Args:
        task, search: the clean direction, and a closer set up on it.
        perturbed: one (n, d) or (K, d) array per draw (trial), rows as they enter the closer.
        side: which side they replace.
        bias: for candidates: stored numbers of the clean rows (an index that kept them), or
            computed ``again`` from the perturbed rows (an index built from them).

    Raises:
        OptionError: an unknown side or bias. ShapeError: rows that do not fit.
    """
    if side not in ("queries", "candidates") or bias not in ("clean", "again"):
        raise OptionError(
            f"side '{side}', bias '{bias}': say queries or candidates, clean or again"
        )
    wanted = task.queries.shape if side == "queries" else task.candidates.shape
    answers, overlap = [], float("nan")
    for trial, rows in enumerate(perturbed):
        if rows.shape != wanted:
            raise ShapeError(f"perturbed {side} have shape {rows.shape}, expected {wanted}")
        rows = rows.astype(np.float64)
        q, c, stored = search.queries, search.candidates, search.bias
        if side == "queries":
            q = np.asarray(search.closer.query(rows))
        else:
            c = np.asarray(search.closer.candidate(rows))
            if stored is not None and bias == "again":
                stored = search.closer.candidate_bias(rows)
        ranking = Ranking.of(q, c, search.score, stored)
        answers.append(task.best(ranking))
        if trial == 0:
            overlap = search.overlap(ranking)
    perturbation = Perturbation(family, side, level, "input")
    return Result(perturbation, search, np.stack(answers), len(answers), overlap, None, None)

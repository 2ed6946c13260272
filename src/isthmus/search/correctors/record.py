"""The frozen record of a correction: apply, search, save and load. Nothing is fitted here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from isthmus.core.arrays import Array, namespace, row_norms, unit
from isthmus.data.saved import Parts, SavedRecord
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import SCORES, Ranking, TopK, top1, top_k


@dataclass(frozen=True, eq=False)
class Corrector(SavedRecord):
    """A fitted, frozen correction of scores. Build one with :func:`fit_corrector`; holds no rows.

    Attributes:
        name: its name in the table :data:`CORRECTORS`.
        score: the score it was fitted for.
        offset: (K,) float64, added to the ranking of each candidate, in units of the score.
        active: (K,) bool, or None. Where given, only queries whose plain first answer is one of
            these candidates are corrected (:meth:`search`).
        facts: the options of the fit and the size of the bank.
    """

    KIND: ClassVar[str] = "corrector"
    MADE_BY: ClassVar[str] = "Corrector.save"
    changes_answers: ClassVar[bool] = True

    name: str
    score: str
    offset: np.ndarray
    active: np.ndarray | None = None
    facts: Mapping[str, float] = field(default_factory=dict)

    def apply(self, ranking: Ranking) -> Ranking:
        """The ranking with the offset added; rows are shared, not copied. O(K).

        Under the cosine score queries are normalised (a copy where they are not unit rows), since
        a ranking leaves their norm out and the offset is in units of the cosine.

        Raises:
            ShapeError: another number of candidates than fitted.
            OptionError: a ranking by another score, or a corrector that acts on some queries only
                (use :meth:`search`).
        """
        if self.active is not None:
            raise OptionError(
                "corrects-some",
                f"{self.name} corrects some queries and leaves others, which no single ranking "
                "does; call its search(ranking, k)",
            )
        return self._corrected(ranking)

    def search(self, ranking: Ranking, k: int) -> TopK:
        """The k best candidates of each query after the correction (``scores.top_k``).

        Queries that are left alone (``active``) keep plain scores, the others have corrected ones.
        """
        if self.active is None:
            return top_k(self.apply(ranking), k)
        corrected = self._corrected(ranking)
        act = self.active[top1(ranking)]
        parts = {}
        for on, one in ((False, ranking), (True, corrected)):
            places = np.flatnonzero(act == on)
            if len(places):
                parts[on] = places, top_k(replace(one, queries=_taken(one.queries, places)), k)
        places = np.concatenate([where for where, _ in parts.values()])
        back = np.argsort(places)
        found = [found for _, found in parts.values()]
        rows, scores, ties = (
            np.concatenate([getattr(part, name) for part in found])[back]
            for name in ("rows", "scores", "ties")
        )
        return TopK(rows, scores, ties)

    def _corrected(self, ranking: Ranking) -> Ranking:
        count = int(ranking.candidates.shape[0])
        if count != len(self.offset):
            raise ShapeError(
                "bias-length",
                f"{count} candidates, but {self.name} was fitted for {len(self.offset)}; fit it "
                "for the candidates that are searched",
            )
        if ranking.score != self.score:
            raise OptionError(
                "score-mismatch",
                f"{self.name} was fitted for the {self.score} score and the ranking is by "
                f"{ranking.score}; use one score for both",
            )
        queries = ranking.queries
        if self.score == "cosine":
            norms = row_norms(queries)
            xp = namespace(norms)
            if bool(xp.any(xp.abs(norms - 1) > 1e-6)):
                if ranking.offset is not None:
                    raise OptionError(
                        "not-normalised",
                        "the ranking adds candidate biases to cosines of queries that are not "
                        "normalised, so their units are unknown; normalise the queries first",
                    )
                queries = unit(queries)
        return replace(ranking, queries=queries).with_bias(self.offset)

    def to_dict(self) -> dict[str, Any]:
        """What is to be read of it, without its arrays."""
        return {"name": self.name, "score": self.score, "facts": dict(self.facts)}

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        tensors = {"offset": self.offset} | ({} if self.active is None else {"active": self.active})
        return self.to_dict(), tensors

    @classmethod
    def _from_parts(cls, parts: Parts) -> Corrector:
        offset = parts.array("offset", None).astype(np.float64)
        active = parts.array("active", len(offset)) if "active" in parts.arrays else None
        if active is not None and active.dtype != bool:
            raise ValueError(f"active has dtype {active.dtype}")
        name, score = parts.text("name"), parts.text("score", *SCORES)
        return cls(name, score, offset, active, parts.facts())


def _taken(rows: Array, places: np.ndarray) -> Array:
    if isinstance(rows, np.ndarray):
        return rows[places]
    xp = namespace(rows)
    return xp.take(rows, xp.asarray(places.tolist()), axis=0)

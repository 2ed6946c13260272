"""The saved calibration: thresholds, and the null distributions as tables of counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Any, ClassVar, Literal, Self

import numpy as np

from isthmus._version import __version__
from isthmus.closers.closer import Closer
from isthmus.core.checks import at_least, one_of
from isthmus.data.labels import names_of
from isthmus.data.saved import Parts, SavedRecord
from isthmus.deploy.thresholds.decisions import Best, Decisions, decisions
from isthmus.deploy.thresholds.mapping import closed, opened
from isthmus.deploy.thresholds.nulls import Null
from isthmus.errors import OptionError, ShapeError
from isthmus.search.scores import SCORES

Per = Literal["pair", "search"]


@dataclass(frozen=True, eq=False)
class Calibration(SavedRecord):
    """What score means a match, for one model, score and dimension.

    Attributes:
        model: what the user calls the model, or None. score: dot, cosine or euclidean (scores are
            then -‖q - x‖). dim: dimensions of the rows as given. closer: the closer's name, whose
            maps come first, or None. candidates: K, which ``per="search"`` is true for.
        false_match_rate: the stated rate. thresholds: per ``pair`` and per ``search``; a score
            *above* it is a match. nulls: the null distributions, of the fitted half.
        figures: everything measured, plain numbers.
        by_size: size -> null distribution of the best of that many non-matching candidates.
        kinds: kind of query -> the same of its queries alone.
    """

    KIND: ClassVar[str] = "calibration"
    MADE_BY: ClassVar[str] = "isthmus calibrate --out"
    SUFFIXES: ClassVar[tuple[str, ...]] = (".json", ".parquet")

    model: str | None
    score: str
    dim: int
    closer: str | None
    candidates: int
    false_match_rate: float
    thresholds: Mapping[str, float]
    nulls: Mapping[str, Null]
    figures: Mapping[str, Any]
    by_size: Mapping[int, Null] = field(default_factory=dict)
    kinds: Mapping[str, Mapping[int, Null]] = field(default_factory=dict)

    def decide(
        self,
        queries: Any,
        candidates: Any = None,
        *,
        kind: Any = None,
        size: int | None = None,
        closer: Any = None,
    ) -> Decisions:
        """For each query a match or nothing, with the p-value of its best candidate.

        The p-value is conformal: at most the chance that the best of as many candidates, none of
        which matches, scores as high for another query of the kind. It is a match where the
        p-value is at most ``false_match_rate``.

        Args:
            queries: rows (n, d), with ``candidates`` (m, d) that are searched (a filtered part of
                the store, or all), arrays, tensors, paths, globs or ``Rows``. Without candidates:
                scores (n, m), NaN where a candidate was filtered out, or the best scores (n,).
            kind: one kind for all, (n,) kinds, or a ``Path`` of a file of them; None: the null of
                all kinds together, whose rate holds for their mixture only.
            size: how many different candidates were searched; None: as many as were given, or
                ``self.candidates`` for best scores.
            closer: the closer that this was calibrated through, or its file; for rows.

        Raises:
            OptionError: a kind that was not calibrated, a size below 1, rows through no closer or
            another. ShapeError: another dimension. LabelsError: kinds of other rows. ValuesError,
            FileError: rows that cannot be scored.

        Cost: O(n m d) for rows. Source: Vovk, Gammerman & Shafer 2005.
        """
        if size is not None:
            at_least(size, 1, "size", "bad-size")
        if candidates is None:
            best = Best.given(queries)
            given = np.where(best.size == 0, self.candidates, best.size)
            if np.ndim(queries) == 2:
                given = best.size  # NaN throughout: nothing was searched
            twins = (given > self.candidates) & (given <= self.figures["candidates"])
            best = Best(best.score, best.answer, np.where(twins, self.candidates, given))
        else:
            best = self._search(queries, candidates, closer)
        if size is not None:
            best = Best(best.score, best.answer, np.where(best.size == 0, 0, size))
        names = None
        if kind is not None:
            rows = len(best.score)
            one = not isinstance(kind, PathLike) and (isinstance(kind, str) or np.ndim(kind) == 0)
            names = np.full(rows, str(kind)) if one else names_of(kind, rows, "kinds")
        tables = {"": self.by_size or {self.candidates: self.nulls["search"]}, **self.kinds}
        return decisions(best, tables, names, self.false_match_rate)

    def _search(self, queries: Any, candidates: Any, closer: Any) -> Best:
        """The best candidate of each query, scored as it was calibrated."""
        if closer is not None and not isinstance(closer, Closer):
            closer = Closer.load(closer)
        name = None if closer is None else closer.name
        if name != self.closer:
            raise OptionError(
                "calibration-of-another-closer",
                f"rows go through {name or 'no closer'}, but the calibration is of "
                f"{self.closer or 'no closer'}; give that one as closer",
            )
        task = opened(queries, candidates, self.score, closer, {"paired": False})
        self.check(dim=task.queries.shape[1])
        task, bias = closed(task, closer)
        return Best.searched(task.queries, task.candidates, task.score, bias)

    def p_value(self, scores: Any, per: Per = "pair") -> np.ndarray:
        """Chance that a non-match scores as high, at most; ``scores`` of any shape.

        ``pair``: of one pair taken at random. ``search``: of the best of this many candidates.
        A p-value at or below ``false_match_rate`` is a score above the threshold, and the other way
        round.

        Raises:
            OptionError: ``per`` is neither.
        """
        return self._null(per).p_value(scores)

    def is_match(self, scores: Any, per: Per = "pair") -> np.ndarray:
        """Whether scores lie above the threshold, bool of their shape. Raises OptionError."""
        self._null(per)
        return np.asarray(scores, np.float64) > self.thresholds[per]

    def _null(self, per: str) -> Null:
        one_of(per, self.nulls, "per")
        return self.nulls[per]

    def check(
        self, *, dim: int | None = None, score: str | None = None, model: str | None = None
    ) -> Self:
        """This calibration, if it is for such rows.

        Raises:
            ShapeError: another dimension. OptionError: another score or model.
        """
        if dim is not None and dim != self.dim:
            raise ShapeError(
                "unequal-dimensions",
                f"rows of {dim} dimensions, but the calibration is of {self.dim}; expected rows of "
                "the same model: calibrate anew",
            )
        for what, got, own in (("score", score, self.score), ("model", model, self.model)):
            if got is not None and got != own:
                raise OptionError(
                    f"calibration-of-another-{what}",
                    f"{what} '{got}', but the calibration is of {what} '{own}'; a threshold means "
                    "nothing elsewhere: calibrate anew",
                )
        return self

    def to_dict(self) -> dict[str, Any]:
        """What it is about, then ``figures``."""
        about = ("model", "score", "dim", "closer")
        return {**{name: getattr(self, name) for name in about}, **self.figures}

    def rows(self) -> list[dict[str, Any]]:
        """Per pair and per search: the threshold, its interval, and both rates held out."""
        found = []
        for per in self.thresholds:
            part = self.figures[per]
            low, high = part["threshold_ci"]
            line = {"per": per, "threshold": part["threshold"], "low": low, "high": high}
            judged = part["held_out"]
            rates = {name: judged[name] for name in ("false_match_rate", "match_rate")}
            found.append(line | {"resolved": part["resolved"]} | rates)
        return found

    def card(self) -> tuple[str, list[dict[str, Any]]]:
        """The stated rate, and the thresholds."""
        return f"A match by {self.score}, false-match rate {self.false_match_rate:g}", self.rows()

    def _parts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("nulls", "by_size"):
            parts[name] = {key: null.to_dict() for key, null in getattr(self, name).items()}
        parts["kinds"] = {
            kind: {size: null.to_dict() for size, null in sizes.items()}
            for kind, sizes in self.kinds.items()
        }
        return {"version": __version__, **parts}, {}

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        dim: int | None = None,
        score: str | None = None,
        model: str | None = None,
    ) -> Self:
        """Read what :meth:`save` wrote, for rows of this dimension, score and model, where given.

        Raises:
            FileError: no such file. CorruptFile: something else, or a part is missing.
            ShapeError, OptionError: as :meth:`check`.
        """
        return super().load(path).check(dim=dim, score=score, model=model)

    @classmethod
    def _from_parts(cls, parts: Parts) -> Calibration:
        model, closer = (parts.value(name) for name in ("model", "closer"))
        if not all(name is None or isinstance(name, str) for name in (model, closer)):
            raise ValueError(f"model is {model!r}, closer {closer!r}")
        thresholds, nulls = Parts.of(parts.value("thresholds")), parts.value("nulls")
        every = parts.fields  # files of version 0.1 have neither sizes nor kinds
        found = cls(
            model,
            parts.text("score", *SCORES),
            parts.count("dim", 1),
            closer,
            parts.count("candidates", 1),
            parts.number("false_match_rate", 0, 1),
            {per: thresholds.number(per) for per in ("pair", "search")},
            {per: Null.read(nulls[per]) for per in ("pair", "search")},
            dict(parts.value("figures")),
            _sizes(every.get("by_size", {})),
            {str(kind): _sizes(sizes) for kind, sizes in every.get("kinds", {}).items()},
        )
        found.rows()  # the figures that every reader looks at are there
        Parts.of(found.figures).count("candidates", 1)
        return found


def _sizes(stored: Mapping[str, Any]) -> dict[int, Null]:
    sizes = Parts.of({size: int(size) for size in stored})
    return {sizes.count(size, 1): Null.read(table) for size, table in stored.items()}

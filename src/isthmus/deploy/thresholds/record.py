"""The saved calibration: thresholds, and the null distributions as tables of counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy as np

from isthmus._version import __version__
from isthmus.data import write_json
from isthmus.data.records import Record
from isthmus.errors import CorruptFile, FileError, OptionError, ShapeError

TAIL = 1000
GRID = 1000
COLUMNS = ("values", "at_least", "above")
Per = Literal["pair", "search"]


@dataclass(frozen=True, eq=False)
class Null:
    """N null scores as a table: all up to 2,000, else the 1,000 largest and 1,000 spread over all.

    ``values`` (t,) rise, all different; ``at_least`` (t,): how many null scores are ≥ each,
    ``above``: how many are greater. Between stored values counts are the larger neighbour's, so
    p-values are exact in the tail and never too small.
    """

    count: int
    values: np.ndarray
    at_least: np.ndarray
    above: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> Null:
        """Keep what p-values need of scores (N,)."""
        rising = np.sort(scores)
        count = len(rising)
        spread = GRID if count > TAIL + GRID else count
        rest = np.linspace(0, count - 1, spread).round().astype(np.int64)
        kept = np.unique(np.concatenate([rest, np.arange(max(0, count - TAIL), count)]))
        values = np.unique(rising[kept])
        at_least = count - np.searchsorted(rising, values, "left")
        above = count - np.searchsorted(rising, values, "right")
        return cls(count, values, at_least, above)

    def p_value(self, scores: Any) -> np.ndarray:
        """(1 + null scores ≥ s) / (N + 1), of the shape of ``scores``; NaN for NaN."""
        asked = np.asarray(scores, np.float64)
        place = np.searchsorted(self.values, asked, "left")
        below = np.where(place > 0, self.above[np.maximum(place, 1) - 1], self.count)
        here = np.minimum(place, len(self.values) - 1)
        count = np.where(self.values[here] == asked, self.at_least[here], below)
        return np.where(np.isnan(asked), np.nan, (1 + count) / (self.count + 1))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists."""
        return {"count": self.count} | {name: getattr(self, name).tolist() for name in COLUMNS}

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Null:
        """Back from plain lists; ValueError where they are no such table."""
        values, *counts = (np.array(table[name]) for name in COLUMNS)
        if not len(values) or any(values.shape != column.shape for column in counts):
            raise ValueError("a null distribution whose columns differ in length")
        if not (np.diff(values) > 0).all():
            raise ValueError("a null distribution whose values do not rise")
        at_least, above = (column.astype(np.int64) for column in counts)
        return cls(int(table["count"]), values.astype(np.float64), at_least, above)


@dataclass(frozen=True, eq=False)
class Calibration(Record):
    """What score means a match, for one model, score and dimension.

    Attributes:
        model: what the user calls the model, or None. score: dot, cosine or euclidean (scores are
            then -‖q - x‖). dim: dimensions of the rows as given. closer: the closer's name, whose
            maps come first, or None. candidates: K, which ``per="search"`` is true for.
        false_match_rate: the stated rate. thresholds: per ``pair`` and per ``search``; a score
            *above* it is a match. nulls: the null distributions, of the fitted half.
        figures: everything measured, plain numbers.
    """

    model: str | None
    score: str
    dim: int
    closer: str | None
    candidates: int
    false_match_rate: float
    thresholds: Mapping[str, float]
    nulls: Mapping[str, Null]
    figures: Mapping[str, Any]

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
        if per not in self.nulls:
            raise OptionError("unknown-per", f"per '{per}' is unknown; say pair or search")
        return self.nulls[per]

    def check(
        self, *, dim: int | None = None, score: str | None = None, model: str | None = None
    ) -> Calibration:
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

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it next to its place and rename it there: the whole as ``.json``, which
        :meth:`load` reads, or the thresholds as a table, ``.parquet``."""
        if Path(path).suffix.lower() != ".json":
            return super().save(path)
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        parts["nulls"] = {per: null.to_dict() for per, null in self.nulls.items()}
        write_json(path, {"isthmus": "calibration", "schema": 1, "version": __version__, **parts})
        return Path(path)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        dim: int | None = None,
        score: str | None = None,
        model: str | None = None,
    ) -> Calibration:
        """Read what :meth:`save` wrote, for rows of this dimension, score and model, where given.

        Raises:
            FileError: no such file. CorruptFile: something else, or a part is missing.
            ShapeError, OptionError: as :meth:`check`.
        """
        stored = _read(path)
        try:
            found = cls(
                stored["model"],
                str(stored["score"]),
                int(stored["dim"]),
                stored["closer"],
                int(stored["candidates"]),
                float(stored["false_match_rate"]),
                {per: float(stored["thresholds"][per]) for per in ("pair", "search")},
                {per: Null.read(stored["nulls"][per]) for per in ("pair", "search")},
                dict(stored["figures"]),
            )
        except (KeyError, TypeError, ValueError) as missing:
            raise CorruptFile(
                "broken-calibration",
                f"'{fspath(path)}' is a calibration with a part missing or unreadable ({missing}); "
                "expected a whole one: calibrate anew",
            ) from None
        return found.check(dim=dim, score=score, model=model)


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    expected = "expected a file written by 'isthmus calibrate --out'"
    try:
        content = Path(path).read_bytes()
    except OSError as refused:
        raise FileError(
            "unreadable-file", f"'{fspath(path)}' cannot be read ({refused.strerror}); {expected}"
        ) from None
    try:
        stored = json.loads(content)
    except ValueError:
        raise CorruptFile("not-json", f"'{fspath(path)}' is no JSON; {expected}") from None
    if not isinstance(stored, dict) or stored.get("isthmus") != "calibration":
        raise CorruptFile("not-a-calibration", f"'{fspath(path)}' is no calibration; {expected}")
    return stored

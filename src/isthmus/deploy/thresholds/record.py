"""The saved calibration: thresholds, and the null distributions as tables of counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Literal

import numpy as np

from isthmus._version import __version__
from isthmus.data import write_json
from isthmus.errors import CorruptFile, FileError, IsthmusError, OptionError, ShapeError

TAIL = 1000
GRID = 1000
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
        return {
            "count": self.count,
            "values": self.values.tolist(),
            "at_least": self.at_least.tolist(),
            "above": self.above.tolist(),
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Null:
        """Back from plain lists; ValueError where they are no such table."""
        values = np.array(told["values"], np.float64)
        counts = [np.array(told[key], np.int64) for key in ("at_least", "above")]
        if not len(values) or values.shape != counts[0].shape or values.shape != counts[1].shape:
            raise ValueError("a null distribution whose columns differ in length")
        if not (np.diff(values) > 0).all():
            raise ValueError("a null distribution whose values do not rise")
        return cls(int(told["count"]), values, *counts)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What score means a match, for one model, score and dimension.

    Attributes:
        model: what the user calls the model, or None. score: dot, cosine or euclidean (scores are
            then -‖q - x‖). dim: dimensions of the rows as given. closer: the closer's name, whose
            maps come first, or None. candidates: K, which ``per="search"`` is true for.
        rate: the stated false-match rate. thresholds: per ``pair`` and per ``search``; a score
            *above* it is a match. nulls: the null distributions, of the fitted half.
        figures: everything measured, plain numbers.
    """

    model: str | None
    score: str
    dim: int
    closer: str | None
    candidates: int
    rate: float
    thresholds: Mapping[str, float]
    nulls: Mapping[str, Null]
    figures: Mapping[str, Any]

    def p_value(self, scores: Any, per: Per = "pair") -> np.ndarray:
        """Chance that a non-match scores as high, at most; ``scores`` of any shape.

        ``pair``: of one pair taken at random. ``search``: of the best of this many candidates.
        A p-value at or below ``rate`` is a score above the threshold, and the other way round.

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
            raise OptionError(f"per '{per}' is unknown; say pair or search")
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
                f"rows of {dim} dimensions, but the calibration is of {self.dim}; expected rows of "
                "the same model: calibrate anew"
            )
        for what, got, own in (("score", score, self.score), ("model", model, self.model)):
            if got is not None and got != own:
                raise OptionError(
                    f"{what} '{got}', but the calibration is of {what} '{own}'; a threshold means "
                    "nothing elsewhere: calibrate anew"
                )
        return self

    def save(self, path: str | PathLike[str]) -> None:
        """Write as JSON, beside and renamed."""
        write_json(
            path,
            {
                "isthmus": "calibration",
                "schema": 1,
                "version": __version__,
                "model": self.model,
                "score": self.score,
                "dim": self.dim,
                "closer": self.closer,
                "candidates": self.candidates,
                "false_match_rate": self.rate,
                "thresholds": dict(self.thresholds),
                "figures": dict(self.figures),
                "nulls": {per: null.to_dict() for per, null in self.nulls.items()},
            },
        )

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
        told = _read(path)
        try:
            found = cls(
                told["model"],
                str(told["score"]),
                int(told["dim"]),
                told["closer"],
                int(told["candidates"]),
                float(told["false_match_rate"]),
                {per: float(told["thresholds"][per]) for per in ("pair", "search")},
                {per: Null.read(told["nulls"][per]) for per in ("pair", "search")},
                dict(told["figures"]),
            )
        except IsthmusError:
            raise
        except (KeyError, TypeError, ValueError) as missing:
            raise CorruptFile(
                f"'{fspath(path)}' is a calibration with a part missing or unreadable ({missing}); "
                "expected a whole one: calibrate anew"
            ) from None
        return found.check(dim=dim, score=score, model=model)


def _read(path: str | PathLike[str]) -> dict[str, Any]:
    expected = "expected a file written by 'isthmus calibrate --out'"
    try:
        with open(path, encoding="utf-8") as stream:
            told = json.load(stream)
    except IsthmusError:
        raise
    except OSError as refused:
        raise FileError(
            f"'{fspath(path)}' cannot be read ({refused.strerror}); {expected}"
        ) from None
    except ValueError:
        raise CorruptFile(f"'{fspath(path)}' is no JSON; {expected}") from None
    if not isinstance(told, dict) or told.get("isthmus") != "calibration":
        raise CorruptFile(f"'{fspath(path)}' is no calibration; {expected}")
    return told

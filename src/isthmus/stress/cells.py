"""What a cell of the grid is: one perturbation of stored rows or queries, at one level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import OptionError

Side = Literal["queries", "candidates", "both", "shared"]

SIDES = ("queries", "candidates", "both", "shared")
NOISE = ("gaussian", "uniform", "covariance", "in-span", "off-span", "along-gap")
"""Additive families, at equal E‖ε‖²; ``uniform`` draws each coordinate from a box."""
CUTS = ("dropped-dimensions", "truncation", "random-projection")
"""Families that leave dimensions out; the level is how many are kept, or a share below 1."""
PLAIN_CODECS = ("uniform-quantisation", "sign-bits")
"""The two codecs of the default grid; all of ``perturb.codecs`` are families by their name."""
CALIBRATIONS = ("own", "other", "union")

GAUSSIAN_LEVELS = (0.005, 0.022, 0.04)
BIN_COUNTS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Cell:
    """One perturbation at one level.

    Attributes:
        family: one of :data:`NOISE`, :data:`CUTS`, :data:`PLAIN_CODECS`, or a codec's name
            (inputs have their own families).
        side: what is hit. ``shared`` is one draw of noise that all candidates have in common.
        level: a variance for noise, bins for uniform-quantisation, dimensions kept for cuts, 1 for
            codecs.
        convention: of a variance (``total``, ``coordinate``, ``spread``); for codecs, the rows
            their ranges and codebooks come from: ``own`` modality (the default), ``other``, or
            ``union`` of both.
        rescored: codecs only: so many of the best by code are ranked again in float.
    """

    family: str
    side: Side
    level: float
    convention: str | None = None
    rescored: int = 0

    @property
    def kind(self) -> Literal["noise", "cut", "codec"]:
        """Which room plays it."""
        if self.family in NOISE:
            return "noise"
        return "cut" if self.family in CUTS else "codec"

    @property
    def codec(self) -> str:
        """The codec's name in the table of ``perturb.codecs``."""
        if self.family == "uniform-quantisation":
            return f"bins-{self.level:.0f}"
        return "sign" if self.family == "sign-bits" else self.family


def check_cell(cell: Cell) -> Cell:
    """Refuse a family, side, level or convention that is unknown or makes no sense together.

    Raises:
        OptionError: as above.
    """
    from isthmus.perturb.codecs import find_codec

    if cell.side not in SIDES:
        raise OptionError(f"side '{cell.side}' is unknown; say {', '.join(SIDES[:-1])} or shared")
    if cell.side == "shared" and cell.kind != "noise":
        raise OptionError(f"{cell.family} has no shared side; that is for noise")
    if cell.kind == "cut" and not cell.level > 0:
        raise OptionError(f"{cell.family} at level {cell.level:g}; expected dimensions to keep")
    if cell.family == "random-projection" and cell.side != "both":
        raise OptionError("random-projection takes both sides to fewer dimensions; say side both")
    if cell.kind == "codec":
        try:
            find_codec(cell.codec)
        except OptionError:
            raise OptionError(
                f"family '{cell.family}' is unknown; choose one of "
                f"{', '.join((*NOISE, *CUTS, *PLAIN_CODECS))}, or a codec such as rabitq, sq8, "
                "sign, pq32x8"
            ) from None
        if cell.convention is not None and cell.convention not in CALIBRATIONS:
            raise OptionError(
                f"calibration '{cell.convention}' is unknown; choose one of "
                f"{', '.join(CALIBRATIONS)}"
            )
    elif cell.rescored:
        raise OptionError(f"{cell.family} has nothing to rescore; that is for codecs")
    return cell


def default_cells(
    levels: Sequence[float] = GAUSSIAN_LEVELS, convention: str = "total"
) -> list[Cell]:
    """The grid of ``isthmus audit``: noise on each side, quantised and sign-coded candidates."""
    sides: tuple[Side, ...] = ("candidates", "queries", "both")
    cells = [Cell("gaussian", side, level, convention) for side in sides for level in levels]
    cells += [Cell("uniform-quantisation", "candidates", float(b)) for b in BIN_COUNTS]
    stored: tuple[Side, ...] = ("candidates", "both")
    return cells + [Cell("sign-bits", side, 1.0) for side in stored]


def cells_of(
    families: Iterable[str],
    *,
    levels: Sequence[float] = GAUSSIAN_LEVELS,
    kept: Sequence[float] = (0.5, 0.25),
    sides: Sequence[Side] = ("candidates",),
    convention: str = "total",
    calibration: str | None = None,
    rescored: int = 0,
) -> list[Cell]:
    """Cells from a few words, as ``isthmus stress`` takes them.

    Args:
        families: names as :class:`Cell` has them. ``levels`` go to noise, ``kept`` (dimensions, or
            shares below 1) to cuts, which are always on both sides; ``uniform-quantisation`` gets
            256, 128, 64 and 32 bins, other codecs one cell each.
        sides: of noise and codecs; codecs leave out sides they have no use for.

    Raises:
        OptionError: as :func:`check_cell`.
    """
    cells = []
    for family in families:
        kind = Cell(family, "candidates", 1.0).kind
        if kind == "noise":
            cells += [Cell(family, side, level, convention) for side in sides for level in levels]
        elif kind == "cut":
            cells += [Cell(family, "both", float(level)) for level in kept]
        else:
            counts = BIN_COUNTS if family == "uniform-quantisation" else (1,)
            hit = [side for side in sides if side != "shared"]
            cells += [
                Cell(family, side, float(count), calibration, rescored)
                for side in hit
                for count in counts
            ]
    return [check_cell(cell) for cell in cells]

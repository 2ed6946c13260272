"""What a perturbation of the grid is: one perturbation of stored rows or queries, at one level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from isthmus.errors import OptionError
from isthmus.perturb.families import FAMILIES, Target, codec_of

TARGETS = ("queries", "candidates", "both", "shared")
CALIBRATIONS = ("own", "other", "union")

GAUSSIAN_LEVELS = (0.005, 0.022, 0.04)
BIN_COUNTS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Perturbation:
    """One perturbation at one level.

    Attributes:
        family: a name of the registry :data:`~isthmus.perturb.families.FAMILIES`, or a codec's
            name (inputs have their own families).
        target: what is hit. ``shared`` is one draw of noise that all candidates have in common.
        level: a variance for noise, bins for uniform-quantisation, dimensions kept for cuts, 1 for
            codecs.
        convention: of a variance (``total``, ``coordinate``, ``spread``); for codecs, the rows
            their ranges and codebooks come from: ``own`` modality (the default), ``other``, or
            ``union`` of both.
        rescored: codecs only: so many of the best by code are ranked again in float.
    """

    family: str
    target: Target
    level: float
    convention: str | None = None
    rescored: int = 0

    @property
    def kind(self) -> Literal["noise", "cut", "codec"]:
        """What it is: additive noise, dimensions left out, or a codec.

        Raises:
            OptionError: there is no such family.
        """
        return FAMILIES[self.family].kind

    @property
    def codec(self) -> str:
        """The codec's name in the registry of ``perturb.codecs``."""
        return codec_of(self.family, self.level)


def check_perturbation(perturbation: Perturbation) -> Perturbation:
    """Refuse a family, side, level or convention that is unknown or makes no sense together.

    Raises:
        OptionError: as above.
    """
    if perturbation.target not in TARGETS:
        raise OptionError(
            f"side '{perturbation.target}' is unknown; say {', '.join(TARGETS[:-1])} or shared"
        )
    if perturbation.target == "shared" and perturbation.kind != "noise":
        raise OptionError(f"{perturbation.family} has no shared side; that is for noise")
    if perturbation.kind == "cut" and not perturbation.level > 0:
        raise OptionError(
            f"{perturbation.family} at level {perturbation.level:g}; expected dimensions to keep"
        )
    if perturbation.family == "random-projection" and perturbation.target != "both":
        raise OptionError("random-projection takes both sides to fewer dimensions; say side both")
    if perturbation.kind == "codec":
        if perturbation.convention is not None and perturbation.convention not in CALIBRATIONS:
            raise OptionError(
                f"calibration '{perturbation.convention}' is unknown; choose one of "
                f"{', '.join(CALIBRATIONS)}"
            )
    elif perturbation.rescored:
        raise OptionError(f"{perturbation.family} has nothing to rescore; that is for codecs")
    return perturbation


def default_perturbations(
    levels: Sequence[float] = GAUSSIAN_LEVELS, convention: str = "total"
) -> list[Perturbation]:
    """The grid of ``isthmus audit``: noise on each side, quantised and sign-coded candidates."""
    sides: tuple[Target, ...] = ("candidates", "queries", "both")
    perturbations = [
        Perturbation("gaussian", side, level, convention) for side in sides for level in levels
    ]
    perturbations += [
        Perturbation("uniform-quantisation", "candidates", float(b)) for b in BIN_COUNTS
    ]
    stored: tuple[Target, ...] = ("candidates", "both")
    return perturbations + [Perturbation("sign-bits", side, 1.0) for side in stored]


def perturbations_of(
    families: Iterable[str],
    *,
    levels: Sequence[float] = GAUSSIAN_LEVELS,
    kept: Sequence[float] = (0.5, 0.25),
    sides: Sequence[Target] = ("candidates",),
    convention: str = "total",
    calibration: str | None = None,
    rescored: int = 0,
) -> list[Perturbation]:
    """Cells from a few words, as ``isthmus stress`` takes them.

    Args:
        families: names as :class:`Perturbation` has them. ``levels`` go to noise, ``kept``
        (dimensions, or
            shares below 1) to cuts, which are always on both sides; ``uniform-quantisation`` gets
            256, 128, 64 and 32 bins, other codecs one perturbation each.
        sides: of noise and codecs; codecs leave out sides they have no use for.

    Raises:
        OptionError: as :func:`check_perturbation`.
    """
    perturbations = []
    for family in families:
        kind = Perturbation(family, "candidates", 1.0).kind
        if kind == "noise":
            perturbations += [
                Perturbation(family, side, level, convention) for side in sides for level in levels
            ]
        elif kind == "cut":
            perturbations += [Perturbation(family, "both", float(level)) for level in kept]
        else:
            counts = BIN_COUNTS if family == "uniform-quantisation" else (1,)
            hit = [side for side in sides if side != "shared"]
            perturbations += [
                Perturbation(family, side, float(count), calibration, rescored)
                for side in hit
                for count in counts
            ]
    return [check_perturbation(perturbation) for perturbation in perturbations]

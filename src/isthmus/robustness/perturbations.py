"""What a perturbation is: one family of disturbances of candidates or queries, at one level."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isthmus.core.checks import one_of
from isthmus.core.levels import total_variance
from isthmus.errors import OptionError
from isthmus.perturb.families import FAMILIES, Target, codec_of

FlipReference = Literal["own", "today"]
"""What an answer is compared with: ``own``, the same closer's undisturbed answer, or ``today``,
that of plain exact search."""

TARGETS = ("queries", "candidates", "both", "shared")
CALIBRATIONS = ("own", "other", "union")

MOST_NOISE = 1e12
"""Beyond it nothing of the rows is left, and at last squares leave their range."""
GAUSSIAN_LEVELS = (0.005, 0.022, 0.04)
BIN_COUNTS = (256, 128, 64, 32)
SHARES_KEPT = (0.5, 0.25)


@dataclass(frozen=True)
class Perturbation:
    """One perturbation at one level.

    Attributes:
        family: a name of the registry :data:`~isthmus.perturb.families.FAMILIES` (inputs have
            their own families).
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

    @property
    def flip_reference(self) -> FlipReference:
        """What advice about it counts a flip against: a code replaces today's exact search."""
        return "today" if self.kind == "codec" else "own"


def check_perturbation(perturbation: Perturbation) -> Perturbation:
    """Refuse a family, target, level or convention that is unknown or makes no sense together.

    Raises:
        OptionError: as above.
    """
    family, target, level = perturbation.family, perturbation.target, perturbation.level
    offered = FAMILIES[family].targets
    one_of(target, TARGETS, "target")
    if target not in offered:
        raise OptionError(
            "target-not-offered",
            f"{family} cannot hit the target '{target}'; choose one of {', '.join(offered)}",
        )
    if perturbation.kind == "cut" and not (np.isfinite(level) and level > 0):
        raise OptionError(
            "bad-level", f"{family} at level {level:g}; expected how many dimensions to keep"
        )
    if perturbation.kind != "codec":
        if perturbation.rescored:
            raise OptionError(
                "rescored-codecs", f"{family} has nothing to rescore; that is for codecs"
            )
    elif perturbation.convention is not None and perturbation.convention not in CALIBRATIONS:
        raise OptionError(
            "unknown-calibration",
            f"calibration '{perturbation.convention}' is unknown; choose one of "
            f"{', '.join(CALIBRATIONS)}",
        )
    return perturbation


def default_perturbations(
    levels: Sequence[float] = GAUSSIAN_LEVELS, convention: str = "total"
) -> list[Perturbation]:
    """The grid of ``isthmus audit``: noise on each side, quantised and sign-coded candidates."""
    targets: tuple[Target, ...] = ("candidates", "queries", "both")
    noise = perturbations_of(["gaussian"], levels=levels, targets=targets, convention=convention)
    bins = perturbations_of(["uniform-quantisation"])
    return noise + bins + perturbations_of(["sign-bits"], targets=("candidates", "both"))


def perturbations_of(
    families: Iterable[str],
    *,
    levels: Sequence[float] = GAUSSIAN_LEVELS,
    kept: Sequence[float] = SHARES_KEPT,
    targets: Sequence[Target] = ("candidates",),
    convention: str = "total",
    calibration: str | None = None,
    rescored: int = 0,
) -> list[Perturbation]:
    """The perturbations of some families, as ``isthmus stress`` takes them.

    Args:
        families: names as :class:`Perturbation` has them. ``levels`` go to noise, ``kept``
            (dimensions, or shares below 1) to cuts, which always hit both sides;
            ``uniform-quantisation`` gets 256, 128, 64 and 32 bins, other codecs one perturbation.
        targets: of noise and codecs; codecs leave out targets they have no use for.

    Raises:
        OptionError: as :func:`check_perturbation`.
    """
    found = []
    for family in families:
        kind = Perturbation(family, "candidates", 1.0).kind
        if kind == "noise":
            found += [
                Perturbation(family, t, level, convention) for t in targets for level in levels
            ]
        elif kind == "cut":
            found += [Perturbation(family, "both", float(level)) for level in kept]
        else:
            counts = BIN_COUNTS if family == "uniform-quantisation" else (1,)
            found += [
                Perturbation(family, target, float(count), calibration, rescored)
                for target in targets
                if target != "shared"
                for count in counts
            ]
    return [check_perturbation(perturbation) for perturbation in found]


def perturbations_at(
    family: str,
    target: str,
    levels: float | Sequence[float] | None = None,
    convention: str | None = None,
) -> tuple[Perturbation, ...]:
    """One family on one target at some levels; None takes the usual ones.

    Raises:
        OptionError: anything unknown, or a level of something that has none.
    """
    kind = check_perturbation(Perturbation(family, target, 1.0)).kind  # type: ignore[arg-type]
    given = None if levels is None else tuple(np.atleast_1d(np.asarray(levels, float)).tolist())
    bins = family == "uniform-quantisation"
    if given == ():
        raise OptionError(
            "no-level", "no level was given; expected one number or more, such as 0.022"
        )
    if given is not None and kind == "codec" and not bins:
        raise OptionError("no-levels-of", f"{family} has no level; leave it out")
    if kind != "noise" and convention is not None:
        raise OptionError(
            "no-convention-of", f"{family} has no level convention; that is for noise"
        )
    if kind == "noise":
        check_noise(given or (), convention or "total")
    usual = {"noise": GAUSSIAN_LEVELS, "cut": SHARES_KEPT, "codec": BIN_COUNTS if bins else (1,)}
    return tuple(
        check_perturbation(
            Perturbation(
                family,
                target,  # type: ignore[arg-type]
                float(level),
                (convention or "total") if kind == "noise" else None,
            )
        )
        for level in given or usual[kind]
    )


def check_noise(levels: Sequence[float], convention: str) -> None:
    """Refuse an unknown convention, and levels that are not variances above 0.

    Raises:
        OptionError: as above.
    """
    total_variance(0.0, convention, 1, 0.0)  # refuses another convention
    if any(not 0 < level <= MOST_NOISE for level in levels):
        raise OptionError(
            "bad-level",
            f"levels {tuple(levels)}: expected variances above 0, such as 0.022, and "
            f"at most {MOST_NOISE:g}",
        )

"""Every family of perturbations of rows by its name: noise, cuts, and all codecs.

Third parties add a :class:`NoiseFamily` by the entry point group ``isthmus.noises``, a
:class:`CutFamily` by ``isthmus.cuts``, and a codec by ``isthmus.codecs``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from isthmus.core.registry import Registry
from isthmus.perturb.codecs.table import CODECS
from isthmus.perturb.noise import Draw, box, normal
from isthmus.perturb.shapes import Met, Shape, covariance_shape, line_shape, span_shape

Target = Literal["queries", "candidates", "both", "shared"]
Kind = Literal["noise", "cut", "codec"]
CODED: tuple[Target, ...] = ("queries", "candidates", "both")


@dataclass(frozen=True, eq=False)
class NoiseFamily:
    """Additive noise; its levels are variances, E‖ε‖² by the level convention.

    Attributes:
        words: what it does, in a line.
        draw: (generator, shape) -> white noise, float32 of mean 0 and variance 1. It is called
            once per block of rows, so that no number depends on how the work is cut.
        shape: (:class:`~isthmus.perturb.shapes.Met`) -> the directions that the noise takes;
            None: all alike.
        targets: what it can hit.
    """

    words: str
    draw: Draw = normal
    shape: Callable[[Met], Shape] | None = None
    targets: tuple[Target, ...] = (*CODED, "shared")

    @property
    def gaussian(self) -> bool:
        """Whether the draws are Gaussian, which the formulas need."""
        return self.draw is normal


@dataclass(frozen=True, eq=False)
class CutFamily:
    """Fewer dimensions; its levels are how many are kept, or shares below 1.

    Attributes:
        words: what it does, in a line.
        cut: (generator, d, kept) -> the coordinates that stay, (kept,) whole numbers, or a matrix
            (d, kept) that rows of both sides are multiplied with.
        random: whether it draws; if not, one trial says all.
        targets: what it can hit; ``("both",)`` for a matrix.
    """

    words: str
    cut: Callable[[np.random.Generator, int, int], np.ndarray]
    random: bool = True
    targets: tuple[Target, ...] = CODED


NOISES: Registry[NoiseFamily] = Registry("noise", group="isthmus.noises", kind=NoiseFamily)
"""Noise at equal E‖ε‖²."""
CUTS: Registry[CutFamily] = Registry("cut", group="isthmus.cuts", kind=CutFamily)


@dataclass(frozen=True)
class PerturbationFamily:
    """What all families have: a name as ``isthmus stress --perturb`` takes it, and targets.

    ``kind`` is ``noise``, ``cut`` or ``codec`` (level 1, or the bins of ``uniform-quantisation``).
    """

    name: str
    kind: Kind
    words: str
    targets: tuple[Target, ...] = CODED


class _Families(Registry[PerturbationFamily]):
    """Every noise, cut and codec is a family by its name; ours come first."""

    def add(self, kind: Kind, name: str, entry: NoiseFamily | CutFamily) -> None:
        """Enter a noise or a cut."""
        words = f"{kind}: {entry.words}"
        self.register(name, PerturbationFamily(name, kind, words, entry.targets))

    def _known(self, name: str) -> str | None:
        found = super()._known(name)
        if found is None and name in CODECS:
            found = super()._known(CODECS.canonical(name))
        return found

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for name in [name for name in CODECS if name not in self._entries]:
            self.register(name, PerturbationFamily(name, "codec", CODECS[name].words))
        tables: tuple[tuple[Kind, Registry[Any]], ...] = (("noise", NOISES), ("cut", CUTS))
        for kind, table in tables:
            for name in [name for name in table if name not in self._entries]:
                self.add(kind, name, table[name])


FAMILIES = _Families("family", group="isthmus.noises")


for _name, _noise in {
    "gaussian": NoiseFamily("the same variance in every coordinate"),
    "uniform": NoiseFamily("each coordinate from a box", draw=box),
    "covariance": NoiseFamily(
        "with the covariance of the rows", shape=lambda met: covariance_shape(met.calibration)
    ),
    "in-span": NoiseFamily(
        "inside the span of the candidates' differences",
        shape=lambda met: span_shape(met.candidates, inside=True),
    ),
    "off-span": NoiseFamily(
        "outside the span of the candidates' differences",
        shape=lambda met: span_shape(met.candidates, inside=False),
    ),
    "along-gap": NoiseFamily("along the gap vector", shape=lambda met: line_shape(met.gap)),
}.items():
    NOISES.register(_name, _noise)
    FAMILIES.add("noise", _name, _noise)
for _name, _cut in {
    "dropped-dimensions": CutFamily(
        "some coordinates are left out at random",
        lambda rng, dim, kept: rng.permutation(dim)[:kept],
    ),
    "truncation": CutFamily(
        "the last coordinates are left out", lambda rng, dim, kept: np.arange(kept), random=False
    ),
    "random-projection": CutFamily(
        "rows are projected at random to fewer dimensions",
        lambda rng, dim, kept: rng.standard_normal((dim, kept)) / np.sqrt(kept),
        targets=("both",),
    ),
}.items():
    CUTS.register(_name, _cut)
    FAMILIES.add("cut", _name, _cut)


def codec_of(family: str, level: float) -> str:
    """The codec's name that a family of codecs means at a level.

    >>> codec_of("uniform-quantisation", 64), codec_of("sign-bits", 1), codec_of("sq8", 1)
    ('bins-64', 'sign', 'sq8')
    """
    found = CODECS.canonical(family)
    if family in CODECS.aliases:
        return found.replace("<n>", f"{level:.0f}")
    return family

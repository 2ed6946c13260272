"""Every family of perturbations of rows by its name: noise, cuts, and all codecs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isthmus.core.registry import Registry
from isthmus.perturb.codecs.table import CODECS

Target = Literal["queries", "candidates", "both", "shared"]
CODED: tuple[Target, ...] = ("queries", "candidates", "both")


@dataclass(frozen=True)
class PerturbationFamily:
    """One family.

    Attributes:
        name: as ``isthmus stress --perturb`` takes it.
        kind: ``noise`` (levels are variances), ``cut`` (levels are dimensions kept, or shares below
            1) or ``codec`` (level 1, or the bins of ``uniform-quantisation``).
        words: what it does, in a line. targets: what it can hit.
    """

    name: str
    kind: Literal["noise", "cut", "codec"]
    words: str
    targets: tuple[Target, ...] = CODED


class _Families(Registry[PerturbationFamily]):
    """Noise and cuts are registered here; every codec is a family by its name."""

    def _known(self, name: str) -> str | None:
        found = super()._known(name)
        if found is None and name in CODECS:
            found = super()._known(CODECS.canonical(name))
        return found

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for name, codec in CODECS.items():
                self.register(name, PerturbationFamily(name, "codec", codec.words))


FAMILIES = _Families("family", group="isthmus.codecs")
"""Every family; noise comes at equal E‖ε‖²."""

for _name, _words in (
    ("gaussian", "the same variance in every coordinate"),
    ("uniform", "each coordinate from a box"),
    ("covariance", "with the covariance of the rows"),
    ("in-span", "inside the span of the candidates' differences"),
    ("off-span", "outside the span of the candidates' differences"),
    ("along-gap", "along the gap vector"),
):
    FAMILIES.register(
        _name, PerturbationFamily(_name, "noise", f"noise: {_words}", (*CODED, "shared"))
    )
for _name, _words in (
    ("dropped-dimensions", "some coordinates are left out at random"),
    ("truncation", "the last coordinates are left out"),
    ("random-projection", "rows are projected at random to fewer dimensions"),
):
    _targets: tuple[Target, ...] = ("both",) if _name == "random-projection" else CODED
    FAMILIES.register(_name, PerturbationFamily(_name, "cut", f"cut: {_words}", _targets))


def codec_of(family: str, level: float) -> str:
    """The codec's name that a family of codecs means at a level.

    >>> codec_of("uniform-quantisation", 64), codec_of("sign-bits", 1), codec_of("sq8", 1)
    ('bins-64', 'sign', 'sq8')
    """
    found = CODECS.canonical(family)
    if family in CODECS.aliases:
        return found.replace("<n>", f"{level:.0f}")
    return family

"""Perturbed pictures: the 19 families of ImageNet-C, compression and rescaling.

``ImagePerturbation("fog", 3).apply(image, seed=0, index=17)`` gives picture 17 under fog of
severity 3. The result depends on the picture, the seed, the index, the family and the level, and
on nothing else: not on the order, the batch or the threads.

Sources: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions
and perturbations" (2019), for the families and severities; Michaelis et al. (2019) for the
library's handling of other sizes.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from isthmus.core.checks import one_of
from isthmus.core.libraries import library
from isthmus.errors import OptionError, ShapeError
from isthmus.perturb import _corruptions, _recode

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageFamily:
    """One row of :data:`IMAGE_FAMILIES`.

    ``group``: noise, blur, weather, digital, validation, codec or rescale. ``unit``: what the
    level is: severity (1 to 5), quality (1 to 100, lower is worse) or factor (1 or more).
    ``levels``: the usual levels, mild to harsh. ``random``: whether the seed matters.
    ``lengths``: whether it measures in pixels and so sees small pictures enlarged. ``extra``:
    what to install. ``what``: the family in words.
    """

    name: str
    group: str
    unit: str
    levels: tuple[int | float, ...]
    random: bool
    lengths: bool
    extra: str
    what: str


_SEVERITIES = (1, 2, 3, 4, 5)
_QUALITIES = (90, 70, 50, 30, 10)
_FACTORS = (1.5, 2, 3, 4, 8)

_IMAGENET_C = (
    ("gaussian_noise", "noise", True, False, "normal noise on every channel"),
    ("shot_noise", "noise", True, False, "Poisson noise of a dim exposure"),
    ("impulse_noise", "noise", True, False, "salt and pepper"),
    ("defocus_blur", "blur", False, True, "out of focus"),
    ("glass_blur", "blur", True, True, "seen through frosted glass"),
    ("motion_blur", "blur", True, True, "moved while exposing"),
    ("zoom_blur", "blur", False, True, "zoomed while exposing"),
    ("snow", "weather", True, True, "falling snow"),
    ("frost", "weather", True, True, "ice crystals on the lens"),
    ("fog", "weather", True, True, "fog in front"),
    ("brightness", "digital", False, False, "brighter"),
    ("contrast", "digital", False, False, "less contrast"),
    ("elastic_transform", "digital", True, True, "small regions stretched"),
    ("pixelate", "digital", False, False, "shrunk, then enlarged into blocks"),
    ("jpeg_compression", "digital", False, False, "JPEG at qualities 25 to 7"),
    ("speckle_noise", "validation", True, False, "noise in proportion to the brightness"),
    ("gaussian_blur", "validation", False, True, "Gaussian blur"),
    ("spatter", "validation", True, True, "drops of water, then mud"),
    ("saturate", "validation", False, False, "less colour, then more"),
)

_FILTERS = ("nearest", "box", "bilinear", "bicubic", "lanczos")


def _families() -> dict[str, ImageFamily]:
    rows = [
        ImageFamily(name, group, "severity", _SEVERITIES, rnd, lengths, "corruptions", what)
        for name, group, rnd, lengths, what in _IMAGENET_C
    ]
    still = False, False, "images"
    for codec, label in (("jpeg", "JPEG"), ("webp", "lossy WebP")):
        rows.append(ImageFamily(codec, "codec", "quality", _QUALITIES, *still, f"{label} and back"))
    for name in _FILTERS:
        what = f"scaled down and up again ({name})"
        rows.append(ImageFamily(f"rescale_{name}", "rescale", "factor", _FACTORS, *still, what))
    return {row.name: row for row in rows}


IMAGE_FAMILIES: Mapping[str, ImageFamily] = MappingProxyType(_families())
"""Every family of image perturbation by name."""


@dataclass(frozen=True)
class ImagePerturbation:
    """One family at one level (see :class:`ImageFamily` for what the level is).

    Raises :class:`~isthmus.errors.OptionError` for an unknown family or a level outside its
    range. Making one imports nothing; the first ``apply`` of an ImageNet-C family imports the
    library, some seconds.
    """

    family: str
    level: int | float

    def __post_init__(self) -> None:
        one_of(self.family, IMAGE_FAMILIES, "image family", "unknown-family")
        _check_level(self.family, IMAGE_FAMILIES[self.family].unit, self.level)

    def apply(self, image: Image, seed: int, index: int) -> Image:
        """An RGB image -> a new RGB image of the same size; the given one is left alone.

        ``seed`` and ``index`` (of the image in its set) are whole numbers from 0 up. Cost: codecs
        and rescaling about a millisecond at 224 x 224 pixels; ImageNet-C families about 1 to
        100 ms and some 100 bytes a pixel on the way, one at a time however many threads call
        (use processes for more). Raises :class:`~isthmus.errors.MissingExtra` without the
        library, :class:`~isthmus.errors.OptionError` for an image that is not RGB, and
        :class:`~isthmus.errors.ShapeError` for one without pixels or too large for its codec.
        """
        row = IMAGE_FAMILIES[self.family]
        _check_image(image)
        if row.group == "codec":
            return _recode.recode(image, row.name.upper(), int(self.level))
        if row.group == "rescale":
            return _recode.rescale(image, self.level, row.name.removeprefix("rescale_"))
        return _corruptions.corrupt(
            image, row.name, int(self.level), seed, index, lengths=row.lengths
        )

    def describe(self) -> str:
        """The perturbation in words, such as ``fog, severity 3 of 5 (fog in front)``."""
        row = IMAGE_FAMILIES[self.family]
        of = {"severity": " of 5", "quality": " of 100", "factor": ""}[row.unit]
        return f"{row.name}, {row.unit} {self.level:g}{of} ({row.what})"


def _check_level(family: str, unit: str, level: int | float) -> None:
    if unit == "factor":
        wanted = "a finite number from 1 up"
        good = (
            isinstance(level, int | float)
            and not isinstance(level, bool)
            and 1 <= level < float("inf")
        )
    else:
        top = 5 if unit == "severity" else 100
        wanted = f"a whole number from 1 to {top}"
        try:
            good = not isinstance(level, bool) and 1 <= operator.index(level) <= top  # type: ignore[arg-type]
        except TypeError:
            good = False
    if not good:
        raise OptionError("bad-level", f"the {unit} of {family} is {level!r}, expected {wanted}")


def _check_image(image: Image) -> None:
    pillow = library("PIL.Image", "perturbing images", "pillow", "images")
    if not isinstance(image, pillow.Image):
        raise OptionError(
            "not-an-image",
            f"the image is a {type(image).__name__}, expected a PIL image in mode RGB; "
            "an array becomes one with PIL.Image.fromarray",
        )
    if image.mode != "RGB":
        raise OptionError(
            "image-mode",
            f"the image is in mode {image.mode}, expected RGB; "
            "image.convert('RGB') makes it so (and drops transparency)",
        )
    if min(image.size) == 0:
        raise ShapeError(
            "empty-image", f"the image is {image.width} x {image.height}, expected some pixels"
        )

"""The ImageNet-C families through imagecorruptions-imaug, made repeatable and of any size.

The library draws from three places: NumPy's global generator (most families), a fresh generator
of the operating system's entropy unless a seed is passed (``impulse_noise``, ``glass_blur``), and
numba's own generator, which that seed sets (``glass_blur``). Here each call seeds all of them
from (seed, index, family, severity) while it holds a lock, and puts NumPy's global state back.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import IsthmusError, MissingExtra
from isthmus.perturb._seeds import item_seeds

if TYPE_CHECKING:
    from PIL.Image import Image

WORK_SIDE = 224
"""The side, in pixels, for which the severities of ImageNet-C were chosen."""

MAX_WORK_SIDE = 1024
"""Enlarging stops here: a very thin picture would take gigabytes (fog fills a whole square)."""

_TAKES_SEED = frozenset({"impulse_noise", "glass_blur"})
_LOCK = threading.Lock()


def corrupt(
    image: Image, family: str, severity: int, seed: int, index: int, *, lengths: bool
) -> Image:
    """RGB in, RGB of the same size out; ``lengths``: the family measures lengths in pixels.

    A family with lengths sees a small picture enlarged (see :func:`enlargement`). One call at a
    time: it takes the lock, since the library's generator is global.
    """
    from PIL import Image as pil_image

    functions = _library()
    width, height = image.size
    factor = enlargement(width, height) if lengths else 1
    if family == "pixelate":  # it shrinks to a quarter and rounds down
        factor = math.ceil(4 / min(width, height))
    if factor > 1:
        size = (width * factor, height * factor)
        image = image.resize(size, pil_image.Resampling.NEAREST)
    state = item_seeds(seed, index, "image", family, severity).generate_state(8)
    extra = {"seed": int(state[0])} if family in _TAKES_SEED else {}
    with _LOCK:
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(state)  # noqa: NPY002
        try:
            with np.errstate(invalid="ignore", divide="ignore"):
                pixels = np.asarray(functions[family](image, severity, **extra), dtype=np.float64)
        finally:
            np.random.set_state(before)  # noqa: NPY002
    # Where no drop falls on the picture, spatter divides 0 by 0: the pixel stays what it was.
    pixels = np.where(np.isnan(pixels), np.asarray(image), pixels)
    out = pil_image.fromarray(pixels.astype(np.uint8))
    return out.reduce(factor) if factor > 1 else out


def enlargement(width: int, height: int) -> int:
    """The whole factor that brings the shorter side nearest to :data:`WORK_SIDE`, at least 1.

    Each pixel is repeated and the result averaged back over the same squares, so that enlarging
    alone changes nothing. Pictures with both sides from 150 pixels up keep their size.
    """
    wanted = round(WORK_SIDE / min(width, height))
    return max(1, min(wanted, MAX_WORK_SIDE // max(width, height)))


def _library() -> Mapping[str, Callable[..., Any]]:
    try:
        import imagecorruptions
    except ModuleNotFoundError as error:
        if error.name == "imagecorruptions":
            raise MissingExtra(
                "image corruption", "imagecorruptions-imaug", "corruptions"
            ) from error
        raise _broken(error) from error
    except ImportError as error:
        raise _broken(error) from error
    functions: Mapping[str, Callable[..., Any]] = imagecorruptions.corruption_dict
    return functions


def _broken(error: ImportError) -> IsthmusError:
    return IsthmusError(
        "library-broken",
        f"the package 'imagecorruptions-imaug' is installed but cannot be imported ({error}); "
        "a missing libGL or libgthread comes with the system's OpenCV packages",
    )

"""Pictures to the emoji models' input, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 32
"""Side of the models' input in pixels."""


def small(image: Image) -> Image:
    """An RGB image of any size as the 32 x 32 picture the models see.

    A picture that is not square is first padded with white to a square, then scaled with
    Pillow's area-aware bilinear filter. A picture of that size comes back as it is.
    """
    from PIL import Image as pil

    side = max(image.size)
    if image.size != (side, side):
        square = pil.new("RGB", (side, side), (255, 255, 255))
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square
    if side != SIZE:
        image = image.resize((SIZE, SIZE), pil.Resampling.BILINEAR)
    return image if image.mode == "RGB" else image.convert("RGB")


def pixels(images: Sequence[Image]) -> np.ndarray:
    """RGB images of any size -> (b, 3, 32, 32) uint8, each as :func:`small` makes it."""
    out = np.empty((len(images), SIZE, SIZE, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        out[i] = np.asarray(small(image))
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2))

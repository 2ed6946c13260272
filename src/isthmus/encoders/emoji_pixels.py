"""Pictures to the emoji models' input, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 32
"""Side of the models' input in pixels."""


def pixels(images: Sequence[Image]) -> np.ndarray:
    """RGB images of any size -> (b, 3, 32, 32) uint8.

    A picture that is not square is first padded with white to a square, then scaled with
    Pillow's area-aware bilinear filter.
    """
    from PIL import Image as pil

    out = np.empty((len(images), 3, SIZE, SIZE), dtype=np.uint8)
    for i, image in enumerate(images):
        side = max(image.size)
        if image.size != (side, side):
            square = pil.new("RGB", (side, side), (255, 255, 255))
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            image = square
        if side != SIZE:
            image = image.resize((SIZE, SIZE), pil.Resampling.BILINEAR)
        out[i] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    return out

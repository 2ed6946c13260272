"""What a product does to a picture on its way: compress it, shrink it, blow it up. Pillow only."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from isthmus.errors import OptionError, ShapeError

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST = {"JPEG": 65_535, "WEBP": 16_383}


def recode(image: Image, codec: str, quality: int) -> Image:
    """Encode with ``codec`` ("JPEG" or "WEBP", lossy) at ``quality`` 1 to 100 and decode again.

    Pillow's other settings are left at their defaults: JPEG halves the colour's resolution.
    """
    from PIL import Image as pil_image
    from PIL import features

    if codec == "WEBP" and not features.check("webp"):
        raise OptionError(
            "no-webp",
            "this Pillow was built without WebP; install Pillow's own wheel, "
            "or use the family 'jpeg'",
        )
    if max(image.size) > _LONGEST[codec]:
        raise ShapeError(
            "image-too-large",
            f"the image is {image.width} x {image.height}, and {codec} takes sides "
            f"of up to {_LONGEST[codec]} pixels; shrink it first",
        )
    buffer = io.BytesIO()
    image.save(buffer, codec, quality=quality)
    with pil_image.open(buffer) as coded:
        return coded.convert("RGB")


def rescale(image: Image, factor: float, resampling: str) -> Image:
    """Divide each side by ``factor`` (1 or more; rounded, at least one pixel) and restore it.

    The same filter serves both ways. Going down, Pillow widens every filter but the nearest
    neighbour to the size of the new pixel, so that nothing aliases.
    """
    from PIL import Image as pil_image

    how = pil_image.Resampling[resampling.upper()]
    small = tuple(max(1, round(side / factor)) for side in image.size)
    if small == image.size:
        return image.copy()
    return image.resize((small[0], small[1]), how).resize(image.size, how)

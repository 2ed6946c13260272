"""Any image file to an upright RGB picture, the way a person sees it, or one sentence why not."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from isthmus.core.libraries import library
from isthmus.errors import FileError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 178_956_970
"""Images with more pixels are refused before they are decoded (a square of 13,377 a side)."""


ORIENTATION = 0x0112
"""The number of the orientation's EXIF tag."""


PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
"""How files of the two commonest formats begin: of one frame, but for an animated PNG."""

PNG_END, JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
"""How whole files of them end."""

SMALL_FILE = 65_536
"""Files of this many bytes and fewer are read whole before they are looked at."""

READ_ONLY = os.O_RDONLY | getattr(os, "O_BINARY", 0)


class UnreadableImage(FileError):
    """A file is not an image, is truncated, or would unpack to an unreasonable size."""


def open_image(item: Image | str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Image:
    """A path or a PIL image -> an RGB image, fully decoded and upright.

    The EXIF orientation is applied; transparency (an alpha channel, a transparent palette entry
    or colour) is composited on white; 16-bit gray is scaled to 8 bits, not clipped; gray,
    palette, CMYK and YCbCr are converted. Of several frames the first is taken. Raises
    :class:`UnreadableImage` with one sentence for a file that is missing, not an image,
    truncated, or larger than ``max_pixels``. Costs 3 bytes a pixel, up to 12 on the way. An RGB
    image given in memory comes back as it is.
    """
    label = "an image given in memory"
    pil_image = _pil()
    if isinstance(item, pil_image.Image):
        return _decoded(item, label, max_pixels)
    label = os.fspath(cast("str", item))
    try:
        image = _opened(pil_image, cast("str", item))
    except FileNotFoundError:
        raise UnreadableImage("no-such-file", f"{label} does not exist") from None
    except IsADirectoryError:
        raise UnreadableImage(
            "is-a-folder", f"{label} is a folder, expected an image file"
        ) from None
    except pil_image.UnidentifiedImageError:
        raise UnreadableImage("wrong-kind", f"{label} is not an image in a known format") from None
    except pil_image.DecompressionBombError as error:
        raise UnreadableImage(
            "too-many-pixels", f"{label} is refused as a decompression bomb: {error}"
        ) from None
    except Exception as error:  # decoders raise what they like on a broken header
        raise UnreadableImage("damaged-file", f"{label} cannot be opened: {error}") from error
    with image:
        decoded = _decoded(image, label, max_pixels, from_file=True)
        # it is closed on the way out; pixels of a file of one frame stay
        one = image.format in ("PNG", "JPEG") and not getattr(image, "is_animated", False)
        return decoded.copy() if decoded is image and not one else decoded


@cache
def _pil() -> Any:
    return library("PIL.Image", "Reading images", "pillow", "images")


@cache
def _png_file() -> Any:
    from PIL.PngImagePlugin import PngImageFile

    return PngImageFile


def _opened(pil_image: Any, item: str | os.PathLike[str]) -> Image:
    """Pillow's image of a file, not yet decoded. A small file is read in one go.

    For thumbnails the calls to the system, and finding the format, cost as much as unpacking.
    """
    handle = os.open(item, READ_ONLY)
    try:
        data = os.read(handle, SMALL_FILE + 1)
    finally:
        os.close(handle)
    if len(data) <= SMALL_FILE:
        if data.startswith(PNG) and data.endswith(PNG_END):
            if _pixels_of_png(data) <= MAX_PIXELS // 2:
                with suppress(SyntaxError):  # a broken header, which Pillow names below
                    return _png_file()(io.BytesIO(data))
        elif data.startswith(JPEG) and data.endswith(JPEG_END):
            return _quietly(pil_image, io.BytesIO(data), ("JPEG",))
    return _quietly(pil_image, item, None)


def _quietly(pil_image: Any, item: Any, formats: tuple[str, ...] | None) -> Image:
    """Without Pillow's warning of large images, whose limit here is a refusal of our own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pil_image.DecompressionBombWarning)
        return pil_image.open(item, formats=formats)


def _pixels_of_png(data: bytes) -> int:
    """What the header says; Pillow has nothing to warn of below half of our limit."""
    return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big")


def _decoded(image: Image, label: str, max_pixels: int, *, from_file: bool = False) -> Image:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise UnreadableImage(
            "too-many-pixels",
            f"{label} is {image.width} x {image.height} = {pixels:,} pixels, more than the "
            f"{max_pixels:,} that are allowed (a decompression bomb?)",
        )
    if pixels == 0:
        raise UnreadableImage(
            "no-pixels", f"{label} has no pixels ({image.width} x {image.height})"
        )
    try:
        image.load()
        if from_file and image.format == "PNG" and image.mode == "RGB" and not image.info:
            return image  # nothing to turn, see through or convert
        # a PNG file keeps its EXIF data in `info`, even where they come after the pixels
        plain = from_file and image.format == "PNG" and not image.info
        return _to_rgb(image if plain else _upright(image))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like on broken data
        raise UnreadableImage("damaged-file", f"{label} cannot be decoded: {error}") from error


def _upright(image: Image) -> Image:
    """Apply the EXIF orientation; EXIF data that cannot be parsed is no reason to refuse."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
    except Exception:
        return image


def _to_rgb(image: Image) -> Image:
    """Any decoded mode -> RGB."""
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_gray(image)
    if ("A" in image.mode.upper() and image.mode != "LAB") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = _pil().new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _deep_gray(image: Image) -> Image:
    """16-bit, 32-bit and float gray -> 8 bits a channel.

    A 16-bit value v becomes v / 257, so 65535 is white; files of 16 bits may reach us in 32-bit
    integers, so integers within 16 bits are read the same way. Floats within [0, 1] are times
    255, within [0, 255] as they are. Anything else (negative, or wider) is stretched from its
    least to its greatest value.
    """
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("it holds NaN or infinity")
    see_through = image.info.get("transparency")
    clear = values == see_through if isinstance(see_through, int) else None
    if low >= 0 and image.mode == "F" and high <= 255:
        values *= 255 if high <= 1 else 1
    elif low >= 0 and high <= 65535:
        values /= 257
    elif high > low:
        values = (values - low) * (255 / (high - low))
    else:
        values = np.full_like(values, 255 if high > 0 else 0)
    if clear is not None:
        values[clear] = 255
    return _pil().fromarray(np.rint(values).astype(np.uint8)).convert("RGB")

"""The emoji world: 1,906 emoji in two independent drawings, with names, tags and languages.

Row i of everything here (names, tags, pictures of either drawing) is emoji i. Reading the names
needs the standard library and NumPy; the pictures need Pillow.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isthmus.core.checks import one_of
from isthmus.core.libraries import library
from isthmus.errors import CorruptFile, FileError, IsthmusError, OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

DATA = Path(__file__).parent / "emoji_data"
DRAWINGS = ("google", "twitter")
HELD_OUT_PERCENT = 15


def data_file(name: str) -> Path:
    """The path of a shipped file. Raises :class:`FileError` if the installation lacks it."""
    path = DATA / name
    if not path.is_file():
        raise FileError(
            "no-such-file", f"the emoji world's file '{name}' is missing; install isthmus again"
        )
    return path


def is_held_out(hexcode: str) -> bool:
    """Whether an emoji is kept from training: 15 in 100 by a hash of its hexcode, for ever."""
    digest = hashlib.sha256(hexcode.encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big") % 100 < HELD_OUT_PERCENT


@dataclass(frozen=True)
class EmojiWorld:
    """Names, tags, categories and pictures, row i for emoji i (n = 1,906).

    ``names`` are the English labels, all different; ``tags`` English keywords; ``categories`` the
    nine group names and ``category_of`` (n,) int64 the group of each emoji. ``train`` (n,) bool
    marks the emoji whose Google drawings and English texts the shipped models were trained on;
    the rest, and every Twitter drawing, are unseen.
    """

    hexcodes: tuple[str, ...]
    names: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    categories: tuple[str, ...]
    category_of: np.ndarray
    train: np.ndarray
    tile: int
    columns: int
    labels: dict[str, tuple[str, ...]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.hexcodes)

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the 28 languages that :meth:`names_in` knows."""
        return tuple(self.labels)

    def names_in(self, language: str) -> tuple[str, ...]:
        """The labels in a language, for example ``"fr"``; n strings."""
        if language not in self.labels:
            known = ", ".join(self.labels)
            raise OptionError(
                "unknown-language", f"unknown language '{language}'; known are: {known}"
            )
        return self.labels[language]

    def texts(self) -> list[str]:
        """The caption of each emoji, used as query and as gallery: its English name alone.

        For example ``"grinning face"``. Captions hold no tags, so that a picture must be found
        by what it is called.
        """
        return list(self.names)

    def texts_with_tags(self) -> list[str]:
        """The longer caption, ``"NAME: TAG, TAG, ..."``, or ``"NAME"`` where there are no tags."""
        return [caption(name, tags) for name, tags in zip(self.names, self.tags)]

    def category_texts(self) -> list[str]:
        """The nine category names, the class texts of zero-shot classification."""
        return list(self.categories)

    def pictures(self, drawing: str) -> list[Image]:
        """n new RGB pictures of 64 x 64 pixels on white, from ``"google"`` or ``"twitter"``.

        Decodes the sprite once per process (about 0.2 s and 32 MB); raises
        :class:`MissingExtra` without Pillow and :class:`OptionError` for another name.
        """
        sheet = _sheet(drawing)
        size = self.tile
        boxes = (
            (i % self.columns * size, i // self.columns * size) for i in range(len(self.hexcodes))
        )
        return [sheet.crop((x, y, x + size, y + size)) for x, y in boxes]


def caption(name: str, tags: tuple[str, ...] | list[str]) -> str:
    """``"NAME: TAG, TAG"``, or ``"NAME"`` when there are no tags."""
    return f"{name}: {', '.join(tags)}" if tags else name


@lru_cache(maxsize=1)
def load_world() -> EmojiWorld:
    """Read the names (0.1 s, once per process; the same object afterwards)."""
    path = data_file("names.json.gz")
    try:
        record = json.loads(gzip.decompress(path.read_bytes()))
    except IsthmusError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise CorruptFile(
            "damaged-file", f"'{path.name}' is damaged ({error}); install isthmus again"
        ) from error
    codes = tuple(record["hexcodes"])
    category_of = np.asarray(record["category_of"], dtype=np.int64)
    train = np.array([not is_held_out(code) for code in codes])
    category_of.setflags(write=False)
    train.setflags(write=False)
    return EmojiWorld(
        hexcodes=codes,
        names=tuple(record["labels"]["en"]),
        tags=tuple(tuple(t) for t in record["tags"]),
        categories=tuple(record["categories"]),
        category_of=category_of,
        train=train,
        tile=int(record["tile"]),
        columns=int(record["columns"]),
        labels={code: tuple(names) for code, names in record["labels"].items()},
    )


@lru_cache(maxsize=2)
def _sheet(drawing: str) -> Image:
    """One sprite, decoded, composited on white, RGB."""
    one_of(drawing, DRAWINGS, "drawing")
    pillow = library("PIL.Image", "the emoji model", "pillow", "demo")
    with pillow.open(data_file(f"{drawing}.webp")) as sprite:
        sheet = sprite.convert("RGBA")
    white = pillow.new("RGBA", sheet.size, (255, 255, 255, 255))
    return pillow.alpha_composite(white, sheet).convert("RGB")

"""The demo's rows: both drawings and the names of every emoji, through the built-in model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.core.arrays import unit
from isthmus.core.progress import Progress
from isthmus.encoders import load_encoder
from isthmus.encoders.emoji_world import EmojiWorld, load_world
from isthmus.perturb.images import ImagePerturbation
from isthmus.perturb.text import TextPerturbation

SEEN, UNSEEN = "google", "twitter"
"""The drawing the models were trained on, and the one they never saw."""


@dataclass(frozen=True, eq=False)
class DemoRows:
    """Unit rows (n, d) float64 of n emoji, with the world and the encoder they came from."""

    world: EmojiWorld
    encoder: Any
    pictures: list[Any]
    unseen: np.ndarray
    seen: np.ndarray
    names: np.ndarray

    def images(self, pictures: list[Any]) -> np.ndarray:
        """Rows of other pictures, (m, d)."""
        return unit_rows(self.encoder.encode_images(pictures))

    def texts(self, texts: list[str]) -> np.ndarray:
        """Rows of other texts, (m, d)."""
        return unit_rows(self.encoder.encode_texts(texts))

    def changed_images(self, change: ImagePerturbation, seed: int) -> np.ndarray:
        """Rows of the pictures after a perturbation, (n, d)."""
        return self.images([change.apply(p, seed, i) for i, p in enumerate(self.pictures)])

    def changed_texts(self, edit: TextPerturbation, seed: int) -> np.ndarray:
        """Rows of the names after a perturbation, (n, d)."""
        texts = self.world.texts()
        return self.texts([edit.apply(t, seed, i).text for i, t in enumerate(texts)])


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Normalised float64 rows."""
    return np.asarray(unit(rows.astype(np.float64)))


def embed_world(encoder: str, progress: Progress) -> DemoRows:
    """Embed both drawings and all names; a few seconds.

    Raises:
        MissingExtra: ONNX Runtime or Pillow is not installed.
    """
    world = load_world()
    model = load_encoder(encoder)
    progress("embed", 0, 3)
    pictures = world.pictures(UNSEEN)
    unseen = unit_rows(model.encode_images(pictures))
    progress("embed", 1, 3)
    seen = unit_rows(model.encode_images(world.pictures(SEEN)))
    progress("embed", 2, 3)
    names = unit_rows(model.encode_texts(world.texts()))
    progress("embed", 3, 3)
    return DemoRows(world, model, pictures, unseen, seen, names)

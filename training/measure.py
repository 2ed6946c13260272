"""The figures of a pair of towers, from their rows; NumPy only, shared by training and export."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.encoders.emoji import EmojiEncoder
from isthmus.encoders.emoji_world import EmojiWorld, load_world

TIE = 1e-6


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def recall(queries: np.ndarray, gallery: np.ndarray, matches: np.ndarray) -> dict[str, float]:
    """R@1 and R@5 by cosine; ``matches[i]`` is the gallery row that is right for query i.

    Ties (within 1e-6) count against the model: some flags are the same drawing twice.
    """
    scores = unit(queries) @ unit(gallery).T
    own = scores[np.arange(len(matches)), matches]
    rank = (scores > own[:, None] - TIE).sum(1)
    return {"r1": round(float((rank <= 1).mean()), 4), "r5": round(float((rank <= 5).mean()), 4)}


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of the means of the normalised rows."""
    return round(float(np.linalg.norm(unit(a).mean(0) - unit(b).mean(0))), 4)


def figures(
    world: EmojiWorld,
    google: np.ndarray,
    twitter: np.ndarray,
    names: np.ndarray,
    tagged: np.ndarray,
    categories: np.ndarray,
) -> dict[str, Any]:
    """Everything that is stated about a model. The gallery is always that of all emoji."""
    everyone = np.arange(len(world))
    splits = {"all": everyone, "train": np.where(world.train)[0]}
    splits["held_out"] = np.where(~world.train)[0]
    out: dict[str, Any] = {}
    for drawing, rows in (("google", google), ("twitter", twitter)):
        for split, index in splits.items():
            out[f"{drawing}_{split}"] = {
                "image_to_text": recall(rows[index], names, index),
                "text_to_image": recall(names[index], rows, index),
                "image_to_tagged_text": recall(rows[index], tagged, index),
            }
        hit = (unit(rows) @ unit(categories).T).argmax(1) == world.category_of
        out[f"{drawing}_zero_shot"] = {
            "all": round(float(hit.mean()), 4),
            "held_out": round(float(hit[~world.train].mean()), 4),
        }
        out[f"{drawing}_gap"] = gap(rows, names)
    return out


def measured(name: str) -> dict[str, Any]:
    """The figures of an exported model through the package's own encoder."""
    world, encoder = load_world(), EmojiEncoder(name)
    return figures(
        world,
        encoder.encode_images(world.pictures("google")),
        encoder.encode_images(world.pictures("twitter")),
        encoder.encode_texts(world.texts()),
        encoder.encode_texts(world.texts_with_tags()),
        encoder.encode_texts(world.category_texts()),
    )

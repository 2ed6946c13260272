"""The emoji quiz: which of four names? Multiple choice in the form of A-OKVQA, on real pictures."""

from __future__ import annotations

import numpy as np

from isthmus.core.seeds import stream
from isthmus.encoders.emoji_world import EmojiWorld
from isthmus.search.relevance import Relevance, multiple_choice

OPTIONS = 4


def emoji_quiz(world: EmojiWorld, *, seed: int = 0) -> tuple[np.ndarray, Relevance]:
    """One question per emoji: its own name among three others of the same category.

    Returns:
        lists (n, 4) of name rows in seeded order, and what is right; as ``multiple_choice``.
    """
    lists = np.empty((len(world), OPTIONS), np.int64)
    right = np.empty(len(world), np.int64)
    for i in range(len(world)):
        rng = stream("demo.quiz", seed, i)
        alike = np.flatnonzero(world.category_of == world.category_of[i])
        others = rng.permutation(alike[alike != i])[: OPTIONS - 1]
        place = int(rng.integers(OPTIONS))
        lists[i] = np.insert(others, place, i)
        right[i] = place
    return multiple_choice(lists, right, len(world))

"""One random stream per item, so that order, batches and threads cannot change a result."""

from __future__ import annotations

import hashlib
import operator

import numpy as np

from isthmus.core.checks import at_least
from isthmus.errors import OptionError


def item_seeds(seed: int, index: int, *words: object) -> np.random.SeedSequence:
    """The seed sequence of item ``index`` under ``seed`` for what ``words`` name.

    The numbers and words are hashed together (SHA-256), so that neighbouring seeds and items
    share nothing and no large number can run into the next one.
    """
    parts = [str(_whole(seed, "seed")), str(_whole(index, "index")), *(str(w) for w in words)]
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return np.random.SeedSequence(int.from_bytes(digest, "big"))


def item_rng(seed: int, index: int, *words: object) -> np.random.Generator:
    """The generator of item ``index`` under ``seed`` for what ``words`` name."""
    return np.random.default_rng(item_seeds(seed, index, *words))


def _whole(value: int, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise OptionError(
            "bad-number", f"{name} is {value!r}, expected a whole number from 0 up"
        ) from None
    at_least(number, 0, name, "bad-number")
    return number

"""Text to hashed n-grams for the emoji models: pure Python and NumPy, the same on every run.

A text is lower-cased and cut into words; each word gives itself and its character trigrams
(with ``<`` and ``>`` as its borders), and each of these a 32-bit FNV-1a hash modulo the table's
size. Row 0 of the table is padding and stays zero.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

TABLE = 8192
MAX_GRAMS = 256
_WORD = re.compile(r"[^\W_]+")


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash of some bytes."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


@lru_cache(maxsize=65536)
def word_grams(word: str) -> tuple[int, ...]:
    """The table rows (1 to ``TABLE - 1``) of one lower-case word and its trigrams."""
    bordered = f"<{word}>"
    grams = [bordered] + [bordered[i : i + 3] for i in range(len(bordered) - 2)]
    return tuple(1 + fnv1a(g.encode()) % (TABLE - 1) for g in dict.fromkeys(grams))


def words(text: str) -> list[str]:
    """Lower-case words of a text: runs of letters and digits after NFKC; apostrophes split."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def tokenize(texts: Sequence[str]) -> np.ndarray:
    """Texts -> (b, longest) int64 table rows, padded with 0; at least one column.

    Texts are cut after 256 n-grams (about 45 words). A text without a letter or digit is all
    padding, and so the same text as the empty one.
    """
    rows = [[g for w in words(t) for g in word_grams(w)][:MAX_GRAMS] for t in texts]
    longest = max((len(r) for r in rows), default=0)
    out = np.zeros((len(rows), max(longest, 1)), dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out

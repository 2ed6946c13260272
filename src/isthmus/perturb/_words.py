"""Text cut into words and into user-perceived characters, and how many of them to edit."""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.errors import OptionError

_PIECES = re.compile(r"\s+|\S+")
_JOINER = "\u200d"


@dataclass(frozen=True)
class TextEdit:
    """A text after an edit, and what was done to it.

    ``note`` says it in words, ``edits`` counts it in the unit of the edit (words, marks, swaps),
    ``changed`` is whether the text differs from the one given.
    """

    text: str
    note: str
    changed: bool
    edits: int = 0


def edited(before: str, after: str, edits: int, done: Sequence[str], nothing: str) -> TextEdit:
    """Put a :class:`TextEdit` together; ``nothing`` is the note when there was no edit."""
    note = "; ".join(done) if done else f"unchanged: {nothing}"
    return TextEdit(after, note, after != before, edits)


def pieces(text: str) -> list[str]:
    """Runs of white space and words (runs of anything else), in order; joined they are the text."""
    return _PIECES.findall(text)


def clusters(text: str) -> list[str]:
    """User-perceived characters, nearly: a character with its combining marks and joined parts.

    Combining marks, variation selectors, zero-width joiners with what follows them, skin tones
    and the second half of a flag stay with their character. Joined they are the text.
    """
    if text.isascii():
        return list(text)
    out: list[str] = []
    for char in text:
        if out and _continues(out[-1], char):
            out[-1] += char
        else:
            out.append(char)
    return out


def _continues(cluster: str, char: str) -> bool:
    if unicodedata.category(char)[0] == "M" or char == _JOINER or cluster.endswith(_JOINER):
        return True
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":
        return True
    return _is_flag_half(char) and len(cluster) == 1 and _is_flag_half(cluster)


def _is_flag_half(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def is_letter(cluster: str) -> bool:
    """Whether a cluster is a letter of any script, marks included, and not joined to another."""
    return unicodedata.category(cluster[0])[0] == "L" and _JOINER not in cluster


def is_mark(cluster: str) -> bool:
    """Whether a cluster is a punctuation mark and nothing else (a keycap emoji is not)."""
    return len(cluster) == 1 and unicodedata.category(cluster)[0] == "P"


def how_many(level: int | float, available: int) -> int:
    """An int is a number of edits; a float from 0 to 1 is a share of what can be edited.

    A share is rounded up, so that a positive one edits something; a number is cut to what is
    there.
    """
    if not isinstance(level, bool):
        try:
            number = operator.index(level)  # type: ignore[arg-type]
        except TypeError:
            number = -1
            if isinstance(level, float | np.floating) and 0 <= level <= 1:
                number = math.ceil(float(level) * available - 1e-9)
        if number >= 0:
            return min(number, available)
    raise OptionError(
        "bad-level",
        f"the level is {level!r}, expected a whole number of edits from 0 up, "
        "or a share from 0.0 to 1.0",
    )


def choose(rng: np.random.Generator, level: int | float, candidates: Sequence[int]) -> list[int]:
    """``how_many`` of the candidates at random, in ascending order."""
    count = how_many(level, len(candidates))
    if count == 0:
        return []
    return sorted(candidates[i] for i in rng.permutation(len(candidates))[:count])

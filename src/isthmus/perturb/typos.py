"""Typing errors: a neighbouring key, two letters swapped, one left out, one doubled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from isthmus.core.checks import one_of
from isthmus.perturb._seeds import item_rng
from isthmus.perturb._words import TextEdit, choose, clusters, edited, is_letter, pieces

_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))


def _neighbours() -> dict[str, str]:
    """Keys at most 1.1 key widths away, on rows shifted as a QWERTY keyboard shifts them."""
    place = {
        key: (column + shift, float(row))
        for row, (keys, shift) in enumerate(_ROWS)
        for column, key in enumerate(keys)
    }
    return {
        key: "".join(
            other
            for other, (u, v) in place.items()
            if other != key and (x - u) ** 2 + (y - v) ** 2 <= 1.3
        )
        for key, (x, y) in place.items()
    }


NEIGHBOURS: Mapping[str, str] = MappingProxyType(_neighbours())
"""The letters a finger may hit instead, for each of a to z."""

_Places = Callable[[list[str]], list[int]]
_Edit = Callable[[list[str], int, np.random.Generator], list[str]]


def _keyboard_places(parts: list[str]) -> list[int]:
    return [i for i, part in enumerate(parts) if part.lower() in NEIGHBOURS]


def _keyboard(parts: list[str], at: int, rng: np.random.Generator) -> list[str]:
    near = NEIGHBOURS[parts[at].lower()]
    hit = near[rng.integers(len(near))]
    return [*parts[:at], hit.upper() if parts[at].isupper() else hit, *parts[at + 1 :]]


def _swap_places(parts: list[str]) -> list[int]:
    return [
        i
        for i in range(len(parts) - 1)
        if is_letter(parts[i]) and is_letter(parts[i + 1]) and parts[i] != parts[i + 1]
    ]


def _swap(parts: list[str], at: int, rng: np.random.Generator) -> list[str]:
    return [*parts[:at], parts[at + 1], parts[at], *parts[at + 2 :]]


def _letter_places(parts: list[str]) -> list[int]:
    return [i for i, part in enumerate(parts) if is_letter(part)]


def _drop_places(parts: list[str]) -> list[int]:
    places = _letter_places(parts)
    return places if len(places) > 1 else []


def _drop(parts: list[str], at: int, rng: np.random.Generator) -> list[str]:
    return [*parts[:at], *parts[at + 1 :]]


def _double(parts: list[str], at: int, rng: np.random.Generator) -> list[str]:
    return [*parts[: at + 1], *parts[at:]]


_KINDS: dict[str, tuple[_Places, _Edit]] = {
    "keyboard": (_keyboard_places, _keyboard),
    "swap": (_swap_places, _swap),
    "drop": (_drop_places, _drop),
    "double": (_letter_places, _double),
}

TYPO_KINDS = ("keyboard", "swap", "drop", "double", "any")
"""Kinds of typing error; "any" draws one of the others for each word."""


def typos(text: str, level: int | float, seed: int, index: int, *, kind: str = "any") -> TextEdit:
    """Misspell words, at most one error in each.

    ``level``: an int is the number of words to misspell, a float from 0 to 1 a share (rounded up)
    of the words that can be. Only letters are touched, with their accents: emoji, digits, marks
    and white space stay. ``keyboard`` needs an unaccented letter a to z, ``swap`` two differing
    neighbours, ``drop`` a second letter in the word. ``edits`` is the number of words changed.
    Raises :class:`~isthmus.errors.OptionError` for another kind or level. Time is linear in the
    text.
    """
    one_of(kind, TYPO_KINDS, "kind of typo", "unknown-typo")
    kinds = list(_KINDS) if kind == "any" else [kind]
    words = pieces(text)
    parts = [clusters(word) for word in words]
    places = [{k: found for k in kinds if (found := _KINDS[k][0](p))} for p in parts]
    rng = item_rng(seed, index, "typos", kind, level)
    done = []
    for at in choose(rng, level, [i for i, found in enumerate(places) if found]):
        offered = sorted(places[at])
        picked = offered[rng.integers(len(offered))]
        spots = places[at][picked]
        after = "".join(_KINDS[picked][1](parts[at], spots[rng.integers(len(spots))], rng))
        done.append(f"{picked}: {words[at]} -> {after}")
        words[at] = after
    return edited(text, "".join(words), len(done), done, "no word to misspell")

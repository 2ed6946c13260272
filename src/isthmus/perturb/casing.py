"""Letter case and punctuation."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.core.checks import one_of
from isthmus.perturb._seeds import item_rng
from isthmus.perturb._words import TextEdit, choose, clusters, edited, is_letter, is_mark, pieces

ADDED_MARKS = ".,;:!?"
"""The marks that :func:`add_punctuation` draws from."""


def _title(word: str) -> str:
    """The first letter upper (title form), the rest lower; don't becomes Don't."""
    for at, char in enumerate(word):
        if is_letter(char):
            return word[:at] + char.title() + word[at + 1 :].lower()
    return word


_CASES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "title": _title}

CASES = tuple(_CASES)
"""What :func:`change_case` can do: lower, upper, title."""


def change_case(text: str, level: int | float, seed: int, index: int, *, case: str) -> TextEdit:
    """Put words in lower, upper or title case.

    ``level``: an int is a number of words, a float a share (rounded up) of the words that would
    change; 1.0 is all of them. ``edits`` counts words. Case follows Unicode without a language,
    and can change the length (ß becomes SS).
    """
    one_of(case, CASES, "case")
    words = pieces(text)
    turn = _CASES[case]
    rng = item_rng(seed, index, "case", case, level)
    chosen = choose(rng, level, [i for i, word in enumerate(words) if turn(word) != word])
    done = [f"{case}: {words[i]} -> {turn(words[i])}" for i in chosen]
    for i in chosen:
        words[i] = turn(words[i])
    return edited(text, "".join(words), len(done), done, f"no word to put in {case} case")


def drop_punctuation(text: str, level: int | float, seed: int, index: int) -> TextEdit:
    """Leave out punctuation marks (Unicode categories P*), apostrophes and hyphens included.

    ``level``: an int is a number of marks, a float a share (rounded up) of those in the text.
    White space stays as it is, so a dash between words leaves two spaces. ``edits`` counts marks.
    """
    parts = clusters(text)
    rng = item_rng(seed, index, "drop_punctuation", level)
    gone = choose(rng, level, [i for i, part in enumerate(parts) if is_mark(part)])
    done = [f"dropped {parts[i]}" for i in gone]
    kept = set(range(len(parts))) - set(gone)
    after = "".join(parts[i] for i in sorted(kept))
    return edited(text, after, len(gone), done, "no mark to drop")


def add_punctuation(text: str, level: int | float, seed: int, index: int) -> TextEdit:
    """Put one of ``. , ; : ! ?`` after words that do not end in a mark.

    ``level``: an int is a number of words, a float a share (rounded up) of the words without a
    mark at the end. ``edits`` counts marks added.
    """
    words = pieces(text)
    rng = item_rng(seed, index, "add_punctuation", level)
    free = [i for i, w in enumerate(words) if not w.isspace() and not is_mark(clusters(w)[-1])]
    done = []
    for at in choose(rng, level, free):
        mark = ADDED_MARKS[rng.integers(len(ADDED_MARKS))]
        done.append(f"added {mark} after {words[at]}")
        words[at] += mark
    return edited(text, "".join(words), len(done), done, "no word to put a mark after")

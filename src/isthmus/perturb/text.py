"""Perturbed texts: other templates, typing errors, case, punctuation, synonyms, translations.

Every function takes a text, a level, a seed and the index of the text in its set, and returns a
:class:`TextEdit` that says what it did. The result depends on these and on nothing else: not on
the order, the batch or the threads.

Levels, the same everywhere: a whole number counts edits; a float from 0.0 to 1.0 is a share of
what can be edited, rounded up; 0 leaves the text as it is. (1 is one edit, 1.0 is all.)

``TextPerturbation("typo_swap", 0.5).apply(text, seed=0, index=17)`` is the same by name, for the
families of :data:`TEXT_FAMILIES`. Translations (:func:`translate`) and the order of answers
(:func:`reorder_options`) need data of their own and stand outside the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType

from isthmus.core.checks import one_of
from isthmus.perturb._words import TextEdit, how_many
from isthmus.perturb.casing import add_punctuation, change_case, drop_punctuation
from isthmus.perturb.options import OptionOrder, reorder_options
from isthmus.perturb.templates import PAPER_SWAP, TEMPLATES, swap_template, unwrap, wrap
from isthmus.perturb.translate import translate
from isthmus.perturb.typos import typos
from isthmus.perturb.wordnet import WordNet, synonyms

__all__ = [
    "PAPER_SWAP",
    "TEMPLATES",
    "TEXT_FAMILIES",
    "OptionOrder",
    "TextEdit",
    "TextFamily",
    "TextPerturbation",
    "WordNet",
    "add_punctuation",
    "change_case",
    "drop_punctuation",
    "reorder_options",
    "swap_template",
    "synonyms",
    "translate",
    "typos",
    "unwrap",
    "wrap",
]


@lru_cache(maxsize=1)
def _wordnet() -> WordNet:
    return WordNet()


def _synonyms(text: str, level: int | float, seed: int, index: int) -> TextEdit:
    return synonyms(text, level, seed, index, wordnet=_wordnet())


@dataclass(frozen=True)
class TextFamily:
    """One row of :data:`TEXT_FAMILIES`: ``unit`` is what an edit is, ``what`` the family in words.

    ``edit`` is called as ``edit(text, level, seed, index)``.
    """

    name: str
    unit: str
    what: str
    edit: Callable[[str, int | float, int, int], TextEdit]


_ROWS = (
    TextFamily("typo_keyboard", "words", "a neighbouring key", partial(typos, kind="keyboard")),
    TextFamily("typo_swap", "words", "two letters swapped", partial(typos, kind="swap")),
    TextFamily("typo_drop", "words", "a letter left out", partial(typos, kind="drop")),
    TextFamily("typo_double", "words", "a letter doubled", partial(typos, kind="double")),
    TextFamily("typo_any", "words", "typing errors of all kinds", partial(typos, kind="any")),
    TextFamily("case_lower", "words", "lower case", partial(change_case, case="lower")),
    TextFamily("case_upper", "words", "upper case", partial(change_case, case="upper")),
    TextFamily("case_title", "words", "title case", partial(change_case, case="title")),
    TextFamily("punctuation_drop", "marks", "punctuation left out", drop_punctuation),
    TextFamily("punctuation_add", "marks", "punctuation put in", add_punctuation),
    TextFamily("template", "templates", "another prompt template", swap_template),
    TextFamily("synonym", "words", "synonyms from WordNet", _synonyms),
)

TEXT_FAMILIES: Mapping[str, TextFamily] = MappingProxyType({row.name: row for row in _ROWS})
"""The text perturbations that need nothing but the text (synonyms also need WordNet's files)."""


@dataclass(frozen=True)
class TextPerturbation:
    """One family at one level; raises :class:`~isthmus.errors.OptionError` for others."""

    family: str
    level: int | float

    def __post_init__(self) -> None:
        one_of(self.family, TEXT_FAMILIES, "text family", "unknown-family")
        how_many(self.level, 0)

    def apply(self, text: str, seed: int, index: int) -> TextEdit:
        """A text -> the edited text with a note; ``seed`` and ``index`` count from 0."""
        return TEXT_FAMILIES[self.family].edit(text, self.level, seed, index)

    def describe(self) -> str:
        """The perturbation in words, such as ``typo_swap, 50% of the words (…)``."""
        row = TEXT_FAMILIES[self.family]
        share = isinstance(self.level, float)
        amount = f"{100 * self.level:.4g}% of the" if share else f"up to {self.level}"
        return f"{row.name}, {amount} {row.unit} ({row.what})"

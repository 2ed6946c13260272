"""Texts in another language, from a table that the data brings along."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.errors import OptionError
from isthmus.perturb._words import TextEdit, edited


def translate(text: str, language: str, tables: Mapping[str, Mapping[str, str]]) -> TextEdit:
    """Look a whole text up in the table of a language; a text that is not there stays.

    ``tables``: language -> text -> its translation. Nothing is guessed: put a name through this
    before wrapping it in a template. Raises :class:`~isthmus.errors.OptionError` for a language
    without a table. ``edits`` is 0 or 1.
    """
    if language not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise OptionError(
            "unknown-language", f"the language is {language!r}, expected one of: {known}"
        )
    after = tables[language].get(text)
    if after is None:
        return edited(text, text, 0, [], f"no {language} translation")
    done = [] if after == text else [f"{language}: {text} -> {after}"]
    return edited(text, after, len(done), done, f"the same in {language}")

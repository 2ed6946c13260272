"""Common checks of options: one line where a value comes in, one sentence where it is wrong.

Each returns the value that it was given, so that it can stand where the value is used.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TypeVar

from isthmus.errors import OptionError

T = TypeVar("T")
N = TypeVar("N", int, float)


def one_of(value: T, choices: Collection[T], what: str, code: str = "") -> T:
    """``value``, if it is one of ``choices``; else refused, by default as ``unknown-<what>``.

    >>> one_of("dot", ("dot", "cosine"), "score")
    'dot'
    """
    if value not in choices:
        listed = ", ".join(map(str, choices))
        text = f"{what} '{value}' is unknown{meant(value, choices)}; choose one of {listed}"
        raise OptionError(code or f"unknown-{what.replace(' ', '-')}", text)
    return value


def meant(value: object, choices: Iterable[object]) -> str:
    """`` (did you mean 'cosine'?)``, or nothing where no choice looks like ``value``.

    >>> meant("cosin", ("dot", "cosine")), meant("x", ("dot", "cosine"))
    (" (did you mean 'cosine'?)", '')
    """
    from difflib import get_close_matches

    near = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def in_range(
    value: N,
    name: str,
    code: str = "option-range",
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    hint: str = "",
) -> N:
    """``value``, if it is finite and within the limits that are given; else refused as ``code``.

    Args:
        name: what the number is called where it is given. hint: ends the sentence.

    >>> in_range(0.25, "floor", least=0, below=1)
    0.25
    """
    limits = (
        ("at least", least, operator.ge),
        ("above", above, operator.gt),
        ("at most", most, operator.le),
        ("below", below, operator.lt),
    )
    given = [(words, limit, holds) for words, limit, holds in limits if limit is not None]
    if not math.isfinite(value) or not all(holds(value, limit) for _, limit, holds in given):
        wanted = " and ".join(f"{words} {limit}" for words, limit, _ in given)
        raise OptionError(code, f"{name} {value}; expected {wanted or 'a finite number'}{hint}")
    return value


def share(value: float, name: str, code: str = "not-a-share", hint: str = "") -> float:
    """``value``, if it lies in 0 to 1; else refused."""
    return in_range(value, name, code, least=0, most=1, hint=hint)


def at_least(value: N, least: float, name: str, code: str = "number-too-small") -> N:
    """``value``, if it is finite and not below ``least``; else refused."""
    return in_range(value, name, code, least=least)


def ends_in(path: Path, suffixes: Collection[str], what: str, option: str = "") -> Path:
    """``path``, if it has one of the ``suffixes`` (lower case); else ``unknown-suffix``."""
    if path.suffix.lower() not in suffixes:
        expected = " or ".join(suffixes)
        raise OptionError(
            "unknown-suffix", f"{option}{path}: {what} is a {expected} file; name it so"
        )
    return path

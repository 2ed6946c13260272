"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

NOTHING = "–"


def number(value: Any, digits: int = 3) -> str:
    """A number rounded to ``digits`` decimals; a dash for None and NaN."""
    if not is_finite(value):
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def metric(value: Any) -> str:
    """A measure of any size: three decimals, four below a tenth."""
    return number(value, 4 if is_finite(value) and 0 < abs(value) < 0.1 else 3)


def significant(value: Any) -> str:
    """Three significant digits, for values of any size."""
    return f"{value:.3g}" if is_finite(value) else NOTHING


def percent(value: Any, digits: int = 1) -> str:
    """A share as a percentage that says 100 % and 0 % only of exactly one and zero."""
    if not is_finite(value):
        return NOTHING
    text = f"{value:.{digits}%}"
    if value < 1 and text == f"{1:.{digits}%}":
        return f"over {1 - 10 ** -(digits + 2):.{digits}%}"
    if value > 0 and text == f"{0:.{digits}%}":
        return f"under {10 ** -(digits + 2):.{digits}%}"
    return text


def said(value: Any) -> str:
    """Text as it is, a dash for None."""
    return NOTHING if value is None else str(value)


def interval(low_high: Any, text: Any = number) -> str:
    """``lo to hi``, or a dash."""
    if not isinstance(low_high, (list, tuple)) or len(low_high) != 2:
        return NOTHING
    return f"{text(low_high[0])} to {text(low_high[1])}"


def is_finite(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

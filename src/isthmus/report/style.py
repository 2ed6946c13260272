"""Colours and marks: one colour per closer, one mark per score, everywhere.

Colours differ under the common colour-vision deficiencies, and no two things differ by colour
alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CLOSER_COLOURS = {
    "none": "#5f6b76",
    "mean-shift": "#d55e00",
    "orthogonal-shift": "#0072b2",
    "center-queries": "#009e73",
}
OTHER_COLOURS = ("#aa4499", "#b8860b", "#56b4e9", "#882255", "#117733", "#000000")
SIDE_COLOURS = {"a": "#4b3fa7", "b": "#c2185b"}
SIDE_MARKS = {"a": "circle", "b": "diamond"}
SCORE_MARKS = {"cosine": "circle", "dot": "square", "euclidean": "triangle-up"}
SCORE_PATTERNS = {"cosine": "", "dot": "/", "euclidean": "."}
TODAY, CLOSED = "#5f6b76", "#009e73"
"""Search as it is, and with the closing advised."""
INK, GREY, GRID = "#1d2733", "#9aa5b0", "#e3e7eb"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colours(closers: Iterable[str]) -> dict[str, str]:
    """A colour for every closer name; names that are not known take the spare ones in order."""
    found: dict[str, str] = {}
    spare = 0
    for name in closers:
        if name in found:
            continue
        if name in CLOSER_COLOURS:
            found[name] = CLOSER_COLOURS[name]
        else:
            found[name] = OTHER_COLOURS[spare % len(OTHER_COLOURS)]
            spare += 1
    return found


def mark(score: str | None) -> str:
    """The marker of a score."""
    return SCORE_MARKS.get(score or "", "x")


BARS: dict[str, Any] = {"xaxis": {"type": "category"}, "bargap": 0.18}
"""Layout of grouped bars."""
SHARE = {"tickformat": ".0%"}
WHOLE = SHARE | {"range": [0, 1.04]}
"""Axes of shares."""


def layout(x: str, y: str, *, height: int = 260, **extra: Any) -> dict[str, Any]:
    """A bare layout: titles of the axes and a height; no legend unless ``extra`` asks for one."""
    titled = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    axes = {name: axis | extra.pop(name, {}) for name, axis in titled.items()}
    return {"height": height, **axes, **extra}

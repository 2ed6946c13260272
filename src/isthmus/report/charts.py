"""A plain chart of numbers: for notebooks, and as SVG for files that people open or print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from isthmus.report.style import OTHER_COLOURS, layout
from isthmus.report.svg import document
from isthmus.report.traces import Trace, intervals, points

COLOURS = ("#0072b2", "#d55e00", "#009e73", *OTHER_COLOURS)
HEIGHT = 360
Numbers = Sequence[float | None] | np.ndarray


@dataclass(frozen=True, eq=False)
class Series:
    """One curve, or one set of points, of a chart.

    Attributes:
        x, y: as many numbers each; one that is None or not finite is left out.
        mark: "line", "dashes" (a prediction) or "dots". colour: number of the colour; None: its
            place in the chart. low, high: ends of intervals, as many as ``y``, or None.
    """

    name: str
    x: Numbers
    y: Numbers
    mark: str = "line"
    colour: int | None = None
    low: Numbers | None = None
    high: Numbers | None = None

    def shade(self, place: int) -> str:
        """Its colour, where it is the chart's series number ``place``."""
        return COLOURS[(place if self.colour is None else self.colour) % len(COLOURS)]

    def trace(self, place: int) -> Trace:
        """The series as a trace of a figure."""
        colour = self.shade(place)
        ends = [[None] * len(self.x) if end is None else end for end in (self.low, self.high)]
        rows = [
            {"": _number(y), "_lo": _number(low), "_hi": _number(high)}
            for y, low, high in zip(self.y, *ends, strict=True)
        ]
        line = {"color": colour, "dash": "dash" if self.mark == "dashes" else None}
        drawn = points(
            self.name,
            [_number(x) for x in self.x],
            [row[""] for row in rows],
            {"color": colour, "size": 8},
            mode="markers" if self.mark == "dots" else "lines",
            line=line,
        )
        return drawn | {"name": escape(self.name, quote=False)} | intervals(rows, colour, "")


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class Chart:
    """A titled chart with two labelled axes; ``log_x`` and ``log_y`` make one logarithmic."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False

    def _repr_svg_(self) -> str:
        return self.to_svg()

    def to_svg(self) -> str:
        """The chart as one SVG document of 640 units of width, text as text."""
        traces = [series.trace(place) for place, series in enumerate(self.series)]
        axes: dict[str, Any] = {
            "xaxis": {"type": "log"} if self.log_x else {"tight": True},
            "yaxis": {"type": "log"} if self.log_y else {},
        }
        x, y = (escape(words, quote=False) for words in (self.x, self.y))
        drawn = layout(x, y, height=HEIGHT, showlegend=True, **axes)
        return document({"data": traces, "layout": drawn}, self.title)

"""A plain chart as SVG text, for files that people open, print or put into a page of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from isthmus.report.style import FONT, GREY, GRID, INK, OTHER_COLOURS

COLOURS = ("#0072b2", "#d55e00", "#009e73", *OTHER_COLOURS)
WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 16, 40, 52
LEGEND_LINE = 18
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

    def upward(self) -> list[Numbers]:
        """Everything that the upward axis must hold."""
        return [part for part in (self.y, self.low, self.high) if part is not None]


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
        across = _Axis.of([v for s in self.series for v in s.x], self.log_x, tight=True)
        upward = _Axis.of([v for s in self.series for part in s.upward() for v in part], self.log_y)
        legend = [(s, _colour(s, i)) for i, s in enumerate(self.series) if s.name]
        height = HEIGHT + LEGEND_LINE * ((len(legend) + 1) // 2)
        box = _Box(across, upward)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="{escape(FONT)}" font-size="12" '
            f'fill="{INK}" role="img"><title>{escape(self.title)}</title>',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            _text(LEFT, 22, self.title, size=14, weight="bold"),
            *box.grid(),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, self.x, anchor="middle"),
            _text(16, (TOP + HEIGHT - BOTTOM) / 2, self.y, anchor="middle", turned=True),
        ]
        for place, series in enumerate(self.series):
            parts += box.drawn(series, _colour(series, place))
        for i, (series, colour) in enumerate(legend):
            left = LEFT + (i % 2) * (WIDTH - LEFT - RIGHT) / 2
            top = HEIGHT + 6 + LEGEND_LINE * (i // 2)
            parts += [
                _swatch(left, top, series.mark, colour),
                _text(left + 30, top + 4, series.name),
            ]
        return "\n".join([*parts, "</svg>"]) + "\n"


def _colour(series: Series, place: int) -> str:
    return COLOURS[(place if series.colour is None else series.colour) % len(COLOURS)]


@dataclass(frozen=True)
class _Axis:
    """Where a number lies between the ends of its axis, from 0 to 1."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool

    @classmethod
    def of(cls, values: Numbers, log: bool, *, tight: bool = False) -> _Axis:
        seen = [v for v in values if v is not None and math.isfinite(v) and (v > 0 or not log)]
        if not seen:
            seen = [1.0]
        if log:
            first = math.floor(math.log10(min(seen)) + 1e-9)
            last = max(math.ceil(math.log10(max(seen)) - 1e-9), first + 1)
            each = max(1, round((last - first) / 6))
            ticks = tuple(10.0**k for k in range(first, last + 1, each))
            return cls(first, last, ticks, True)
        low, high = min(seen), max(seen)
        if low == high:
            low, high = low - 0.5, high + 0.5
        step = nice_step((high - low) / 5)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if tight:  # ends at the numbers themselves, ticks inside
            first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        else:
            low, high = first * step, last * step
        return cls(low, high, tuple(k * step for k in range(first, last + 1)), False)

    def place(self, value: float | None) -> float | None:
        if value is None or not math.isfinite(value) or (self.log and value <= 0):
            return None
        return ((math.log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def label(self, tick: float) -> str:
        return f"{0.0 if abs(tick) < 1e-12 * (self.high - self.low) else tick:.6g}"


def nice_step(step: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not below ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= step * (1 - 1e-9))


@dataclass(frozen=True)
class _Box:
    across: _Axis
    upward: _Axis

    def point(self, x: float | None, y: float | None) -> tuple[float, float] | None:
        right, up = self.across.place(x), self.upward.place(y)
        if right is None or up is None:
            return None
        return (
            LEFT + right * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP),
        )

    def grid(self) -> list[str]:
        """Light lines at the ticks, their numbers, and the two axes."""
        floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for tick in self.across.ticks:
            at = LEFT + (self.across.place(tick) or 0.0) * (right - LEFT)
            parts += [_line(at, TOP, at, floor, GRID)]
            parts += [_text(at, floor + 18, self.across.label(tick), anchor="middle")]
        for tick in self.upward.ticks:
            at = floor - (self.upward.place(tick) or 0.0) * (floor - TOP)
            parts += [_line(LEFT, at, right, at, GRID)]
            parts += [_text(LEFT - 8, at + 4, self.upward.label(tick), anchor="end")]
        return [*parts, _line(LEFT, TOP, LEFT, floor, GREY), _line(LEFT, floor, right, floor, GREY)]

    def drawn(self, series: Series, colour: str) -> list[str]:
        points = [self.point(x, y) for x, y in zip(series.x, series.y, strict=True)]
        parts: list[str] = []
        if series.low is not None and series.high is not None:
            for x, low, high in zip(series.x, series.low, series.high, strict=True):
                ends = self.point(x, low), self.point(x, high)
                if ends[0] and ends[1]:
                    parts.append(_line(*ends[0], *ends[1], colour, 1.2))
        known = [point for point in points if point]
        if series.mark == "dots":
            return parts + [_dot(x, y, colour) for x, y in known]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
        dashes = ' stroke-dasharray="6 4"' if series.mark == "dashes" else ""
        return [
            *parts,
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>',
        ]


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float = 1) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"/>'
    )


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'


def _swatch(x: float, y: float, mark: str, colour: str) -> str:
    if mark == "dots":
        return _dot(x + 12, y, colour)
    dashes = ' stroke-dasharray="6 4"' if mark == "dashes" else ""
    return _line(x, y, x + 24, y, colour, 2).replace("/>", f"{dashes}/>")


def _text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: str = "normal",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}"{turn}>{escape(words)}</text>'
    )

"""The frame of a chart: axes, ticks, grid, legend and where a value lies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import unescape
from typing import Any

from isthmus.report.scales import Scale, categories, scale_of, values_of
from isthmus.report.style import GREY, GRID, INK

HEADING = 32
"""Units of height for the title of a document."""


SMALL = 11


_LETTER = 0.56
"""Width of a letter over its size, about."""


class Frame:
    """The plot's area, its scales and what stands around it."""

    def __init__(
        self, traces: Sequence[dict[str, Any]], layout: dict[str, Any], width: int
    ) -> None:
        self.layout, self.traces, self.width = layout, traces, width
        self.x_axis, self.y_axis = layout.get("xaxis") or {}, layout.get("yaxis") or {}
        self.names = [t["name"] for t in traces if self._in_legend(t)]
        x_names = categories(traces, "x") if self.x_axis.get("type") == "category" else ()
        x_names = tuple(self.x_axis.get("categoryarray") or x_names)
        y_names = categories(traces, "y") if self.y_axis.get("type") == "category" else ()
        y_names = tuple(self.y_axis.get("categoryarray") or y_names)
        below = max((label.count("<br>") for label in x_names), default=0)
        rows = 1 + self._legend_places()[-1][1] if self.names else 0
        self.top = 12 + 16 * rows
        self.height = float(layout.get("height", 260)) + 16 * rows
        longest = max((_long(label) for label in y_names), default=0)
        self.left: float = 12 + (18 if self.y_axis.get("title", {}).get("text") else 0)
        self.left += min(longest * SMALL * _LETTER, width * 0.52) if y_names else 40
        self.right = width - 14
        x_title = 20 if self.x_axis.get("title", {}).get("text") else 0
        self.bottom = self.height - 24 - x_title - 14 * below
        self.x = scale_of(self.x_axis, values_of(traces, "x"), self.left, self.right, x_names)
        ends: tuple[float, float] = (self.bottom, self.top)
        if y_names and self.y_axis.get("autorange") == "reversed":
            ends = (self.top, self.bottom)
        self.y = scale_of(self.y_axis, values_of(traces, "y"), *ends, y_names)
        if self.y_axis.get("scaleanchor"):
            self._one_scale()

    @classmethod
    def of(cls, figure: dict[str, Any], width: int) -> Frame:
        """The frame of a figure that is ``width`` units wide."""
        return cls([t for t in figure["data"] if t.get("x") is not None], figure["layout"], width)

    def _one_scale(self) -> None:
        """Widen one of the two axes until a unit is as long on both."""
        across = (self.x.high - self.x.low) / (self.right - self.left)
        upward = (self.y.high - self.y.low) / (self.bottom - self.top)
        unit = max(across, upward)

        def widened(scale: Scale, axis: dict[str, Any]) -> Scale:
            middle = (scale.low + scale.high) / 2
            half = unit * abs(scale.end - scale.start) / 2
            ends = {"range": [middle - half, middle + half]}
            return scale_of(axis | ends, [], scale.start, scale.end, ())

        self.x, self.y = widened(self.x, self.x_axis), widened(self.y, self.y_axis)

    def _in_legend(self, trace: dict[str, Any]) -> bool:
        wanted = self.layout.get("showlegend") and trace.get("showlegend", True)
        return bool(wanted and trace.get("name"))

    def _legend_places(self) -> list[tuple[float, int]]:
        """(x, row) of each name."""
        places, x, row = [], 12.0, 0
        for name in self.names:
            wide = 26 + _long(name) * SMALL * _LETTER + 12
            if x + wide > self.width and x > 12:
                x, row = 12.0, row + 1
            places.append((x, row))
            x += wide
        return places

    @property
    def described(self) -> str:
        """What the axes and the curves are, for who cannot see them."""
        titles = [
            unescape(str((axis.get("title") or {}).get("text") or ""))
            for axis in (self.y_axis, self.x_axis)
        ]
        names = dict.fromkeys(unescape(str(t.get("name"))) for t in self.traces if t.get("name"))
        said = " against ".join(t for t in titles if t) or "A chart"
        return f"{said}. Shown: {', '.join(names)}." if names else f"{said}."

    def grid(self) -> Iterator[str]:
        """Light lines, tick labels, the axes and their titles."""
        for value, label in self.y.ticks:
            if (at := self.y.place(value)) is None:
                continue
            if not self.y.names:
                yield line_at(self.left, at, self.right, at, "gr", GRID)
            yield label_at(self.left - 6, at + 4, label, "end")
        for value, label in self.x.ticks:
            if (at := self.x.place(value)) is None:
                continue
            if not self.x.names:
                yield line_at(at, self.top, at, self.bottom, "gr", GRID)
            yield label_at(at, self.bottom + 15, label, "middle")
        yield line_at(self.left, self.bottom, self.right, self.bottom, "ax", GREY)
        yield line_at(self.left, self.top, self.left, self.bottom, "ax", GREY)
        if title := (self.x_axis.get("title") or {}).get("text"):
            yield label_at((self.left + self.right) / 2, self.height - 6, title, "middle")
        if title := (self.y_axis.get("title") or {}).get("text"):
            x, y = 13, (self.top + self.bottom) / 2
            turn = f' transform="rotate(-90 {x} {y:.1f})"'
            yield label_at(x, y, title, "middle", turn)

    def legend(self) -> Iterator[str]:
        """One line per named trace, above the plot."""
        traces = [t for t in self.traces if self._in_legend(t)]
        for trace, (x, row) in zip(traces, self._legend_places(), strict=True):
            y, marker = 10 + 16 * row, trace.get("marker") or {}
            colour = (trace.get("line") or {}).get("color") or marker.get("color") or INK
            if "lines" in trace.get("mode", ""):
                yield line_at(x, y, x + 20, y, "", colour, 2, (trace.get("line") or {}).get("dash"))
            if trace.get("type") == "bar":
                yield f'<rect x="{x}" y="{y - 5}" width="20" height="10" fill="{colour}"/>'
            elif "markers" in trace.get("mode", ""):
                yield mark_at(x + 10, y, str(marker.get("symbol", "circle")), colour, 8)
            yield label_at(x + 26, y + 4, trace["name"])


def _long(label: str) -> int:
    return max(len(unescape(re.sub(r"<[^>]+>", "", part))) for part in label.split("<br>"))


def label_at(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    """Text of one or more lines; ``<b>`` makes a line bold."""
    lines = []
    for i, line in enumerate(str(words).split("<br>")):
        bold = ' font-weight="600"' if "<b>" in line else ""
        text = re.sub(r"</?b>", "", line)
        down = f' x="{x:.1f}" dy="{13 * (i > 0)}"' if "<br>" in str(words) else ""
        lines.append(f"<tspan{down}{bold}>{text}</tspan>" if down or bold else text)
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="tx" x="{x:.1f}" y="{y:.1f}"{at}{more}>{"".join(lines)}</text>'


def line_at(
    x: float,
    y: float,
    to_x: float,
    to_y: float,
    kind: str,
    colour: str,
    width: float = 1,
    dash: str | None = None,
) -> str:
    named = f' class="{kind}"' if kind else ""
    dashes = ' stroke-dasharray="5 4"' if dash else ""
    return (
        f'<line{named} x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"{dashes}/>'
    )


def mark_at(x: float, y: float, symbol: str, colour: str, size: float, title: str = "") -> str:
    """A circle, square, triangle, diamond or cross; ``-open`` draws its outline."""
    shape, r = symbol.removesuffix("-open"), size / 2
    hollow = f'fill="none" stroke="{colour}" stroke-width="1.5"'
    paint = hollow if symbol.endswith("-open") else f'fill="{colour}"'
    end = f"><title>{title}</title></" if title else ""
    drawn = {
        "square": ("rect", f'x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r:g}" height="{2 * r:g}"'),
        "triangle-up": ("path", f'd="M{x:.1f} {y - r:.1f}l{r:g} {2 * r:g}h{-2 * r:g}z"'),
        "diamond": ("path", f'd="M{x:.1f} {y - r:.1f}l{r:g} {r:g}l{-r:g} {r:g}l{-r:g} {-r:g}z"'),
        "x": (
            "path",
            f'd="M{x - r:.1f} {y - r:.1f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} '
            f'{2 * r:g}" stroke="{colour}" stroke-width="2"',
        ),
    }
    tag, body = drawn.get(shape, ("circle", f'cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"'))
    return f"<{tag} {body} {paint}{end}{tag}>" if title else f"<{tag} {body} {paint}/>"

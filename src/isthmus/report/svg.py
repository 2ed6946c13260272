"""A figure (traces and layout, as :mod:`.figures` makes them) as SVG that needs no script.

Text is text, colours of text and lines follow the page (light, dark, print) by class, and every
mark says its numbers in a ``title`` that browsers show when it is pointed at. Labels of a figure
are escaped already (:func:`.traces.safe`), with ``<br>`` and ``<b>`` as their only markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from html import escape, unescape
from typing import Any

from isthmus.report.scales import Scale, categories, scale_of, values_of
from isthmus.report.style import FONT, GREY, GRID, INK

WIDTH, WIDE, DOCUMENT = 380, 620, 640
"""Units of width: a panel's, that of a figure that stands alone, and a document's."""
HEADING = 32
"""Units of height for the title of a document."""
SMALL = 11
_LETTER = 0.56
"""Width of a letter over its size, about."""
_TITLED = 400
"""Marks of one trace at most that carry their numbers; a cloud of points has none."""


def svg(figure: dict[str, Any], name: str, title: str = "", *, wide: bool = False) -> str:
    """The figure as one ``svg`` element.

    Args:
        figure: ``data`` and ``layout``. name: id, unique on its page. title: what it shows.
        wide: drawn for a column of its own.
    """
    frame = Frame.of(figure, WIDE if wide else WIDTH)
    shown = unescape(re.sub(r"<[^>]+>", " ", title)) or frame.described
    return (
        f'<svg viewBox="0 0 {frame.width} {frame.height:.0f}" class="fig" role="img" '
        f'aria-labelledby="{name}-t {name}-d" font-size="{SMALL}" fill="{INK}" '
        f'font-family="system-ui, sans-serif">{frame.drawn(name, shown)}</svg>'
    )


def document(figure: dict[str, Any], title: str) -> str:
    """The figure as a file of its own, on white, under its title (plain text, not escaped)."""
    frame = Frame.of(figure, DOCUMENT - 12)
    height = frame.height + HEADING
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-HEADING} {DOCUMENT} {height:.0f}" '
        f'width="{DOCUMENT}" height="{height:.0f}" role="img" font-size="{SMALL}" fill="{INK}" '
        f'font-family="{escape(FONT)}">'
        f'<rect y="{-HEADING}" width="{DOCUMENT}" height="{height:.0f}" fill="#ffffff"/>'
        f'<text x="12" y="-10" font-size="14" font-weight="bold" fill="{INK}">{escape(title)}'
        f"</text>{frame.drawn('chart', title)}</svg>\n"
    )


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
        rows = self._legend_rows()
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

    def drawn(self, name: str, title: str) -> str:
        """All that stands in the figure; ``name`` is an id, unique on its page."""
        parts = [
            f'<title id="{name}-t">{escape(title)}</title>',
            f'<desc id="{name}-d">{escape(self.described)}</desc>',
            *_patterns(self.traces, name),
            *self.grid(),
            '<g class="data">',
            *(part for i, trace in enumerate(self.traces) for part in _drawn(self, trace, i, name)),
            "</g>",
            *_notes(self, self.layout),
            *self.legend(),
        ]
        return "".join(parts)

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

    def _legend_rows(self) -> int:
        return 1 + self._legend_places()[-1][1] if self.names else 0

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
                yield _line(self.left, at, self.right, at, "gr", GRID)
            yield _label(self.left - 6, at + 4, label, "end")
        for value, label in self.x.ticks:
            if (at := self.x.place(value)) is None:
                continue
            if not self.x.names:
                yield _line(at, self.top, at, self.bottom, "gr", GRID)
            yield _label(at, self.bottom + 15, label, "middle")
        yield _line(self.left, self.bottom, self.right, self.bottom, "ax", GREY)
        yield _line(self.left, self.top, self.left, self.bottom, "ax", GREY)
        if title := (self.x_axis.get("title") or {}).get("text"):
            yield _label((self.left + self.right) / 2, self.height - 6, title, "middle")
        if title := (self.y_axis.get("title") or {}).get("text"):
            x, y = 13, (self.top + self.bottom) / 2
            turn = f' transform="rotate(-90 {x} {y:.1f})"'
            yield _label(x, y, title, "middle", turn)

    def legend(self) -> Iterator[str]:
        """One line per named trace, above the plot."""
        traces = [t for t in self.traces if self._in_legend(t)]
        for trace, (x, row) in zip(traces, self._legend_places(), strict=True):
            y, marker = 10 + 16 * row, trace.get("marker") or {}
            colour = (trace.get("line") or {}).get("color") or marker.get("color") or INK
            if "lines" in trace.get("mode", ""):
                yield _line(x, y, x + 20, y, "", colour, 2, (trace.get("line") or {}).get("dash"))
            if trace.get("type") == "bar":
                yield f'<rect x="{x}" y="{y - 5}" width="20" height="10" fill="{colour}"/>'
            elif "markers" in trace.get("mode", ""):
                yield mark_at(x + 10, y, str(marker.get("symbol", "circle")), colour, 8)
            yield _label(x + 26, y + 4, trace["name"])


def _long(label: str) -> int:
    return max(len(unescape(re.sub(r"<[^>]+>", "", part))) for part in label.split("<br>"))


def _label(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    """Text of one or more lines; ``<b>`` makes a line bold."""
    lines = []
    for i, line in enumerate(str(words).split("<br>")):
        bold = ' font-weight="600"' if "<b>" in line else ""
        text = re.sub(r"</?b>", "", line)
        down = f' x="{x:.1f}" dy="{13 * (i > 0)}"' if "<br>" in str(words) else ""
        lines.append(f"<tspan{down}{bold}>{text}</tspan>" if down or bold else text)
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="tx" x="{x:.1f}" y="{y:.1f}"{at}{more}>{"".join(lines)}</text>'


def _line(
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


def _patterns(traces: Sequence[dict[str, Any]], name: str) -> Iterator[str]:
    """Hatching of bars, so that scores are told apart without colour."""
    for i, trace in enumerate(traces):
        pattern = ((trace.get("marker") or {}).get("pattern") or {}).get("shape")
        if pattern:
            inner = '<path d="M-1 1l2 -2M0 6l6 -6M5 7l2 -2" stroke="#fff" stroke-width="1.2"/>'
            if pattern == ".":
                inner = '<circle cx="3" cy="3" r="1.3" fill="#fff"/>'
            yield (
                f'<pattern id="{name}-p{i}" width="6" height="6" patternUnits="userSpaceOnUse">'
                f'<rect width="6" height="6" fill="{trace["marker"]["color"]}"/>{inner}</pattern>'
            )


def _drawn(frame: Frame, trace: dict[str, Any], number: int, name: str) -> Iterator[str]:
    if trace.get("type") == "bar":
        yield from _bars(frame, trace, number, name)
        return
    points = [(frame.x.place(x), frame.y.place(y)) for x, y in zip(trace["x"], trace["y"])]
    line = trace.get("line") or {}
    if "lines" in trace.get("mode", ""):
        yield from _path(points, line)
    yield from _errors(frame, trace, points)
    if "markers" not in trace.get("mode", ""):
        return
    marker = trace.get("marker") or {}
    edge = marker.get("line") or {}
    group = f' opacity="{marker["opacity"]}"' if "opacity" in marker else ""
    if edge.get("color") == "#ffffff":
        group += ' class="halo" stroke="#ffffff" stroke-width="2"'
    yield f"<g{group}>" if group else ""
    if len(points) > _TITLED:
        yield _cloud(points, marker)
        yield "</g>" if group else ""
        return
    for (x, y), at, value in zip(points, trace["x"], trace["y"]):
        if x is not None and y is not None:
            said = f"{trace.get('name', '')}: {_said(frame, at, value)}"
            symbol = str(marker.get("symbol", "circle"))
            yield mark_at(x, y, symbol, str(marker.get("color", INK)), marker.get("size", 6), said)
    yield "</g>" if group else ""


def _cloud(points: list[tuple[float | None, float | None]], marker: dict[str, Any]) -> str:
    """Many marks as one path: lines of no length with round ends, or small diamonds."""
    size, colour = marker.get("size", 6), marker.get("color", INK)
    known = [(x, y) for x, y in points if x is not None and y is not None]
    if str(marker.get("symbol")) == "diamond":
        r = size / 2
        steps = "".join(
            f"M{x:.1f} {y - r:.1f}l{r:g} {r:g}l{-r:g} {r:g}l{-r:g} {-r:g}z" for x, y in known
        )
        return f'<path d="{steps}" fill="{colour}"/>'
    steps = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in known)
    return f'<path d="{steps}" stroke="{colour}" stroke-width="{size}" stroke-linecap="round"/>'


def _path(points: list[tuple[float | None, float | None]], line: dict[str, Any]) -> Iterator[str]:
    steps, joined = [], False
    for x, y in points:
        if x is None or y is None:
            joined = False
            continue
        steps.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}")
        joined = True
    dashes = ' stroke-dasharray="5 4"' if line.get("dash") else ""
    yield (
        f'<path d="{"".join(steps)}" fill="none" stroke="{line.get("color", INK)}" '
        f'stroke-width="{line.get("width", 2):g}"{dashes}/>'
    )


def _errors(
    frame: Frame, trace: dict[str, Any], points: list[tuple[float | None, float | None]]
) -> Iterator[str]:
    """Intervals, upward or across."""
    for key, scale in (("y", frame.y), ("x", frame.x)):
        error = trace.get(f"error_{key}") or {}
        ends = zip(trace[key], error.get("array") or [], error.get("arrayminus") or [])
        for (x, y), (value, above, below) in zip(points, ends):
            if None in (x, y, above, below):
                continue
            a, b = scale.place(value - below), scale.place(value + above)
            if None in (a, b):  # an end at or below 0 on a logarithmic axis
                continue
            line = (x, a, x, b) if key == "y" else (a, y, b, y)
            yield _line(*line, "", str(error.get("color", INK)), 1.2)  # type: ignore[arg-type]


def _bars(frame: Frame, trace: dict[str, Any], number: int, name: str) -> Iterator[str]:
    group = [t for t in frame.traces if t.get("type") == "bar"]
    place, count = group.index(trace), len(group)
    wide = frame.x.step * (1 - frame.layout.get("bargap", 0.2)) / count
    marker = trace.get("marker") or {}
    hatched = (marker.get("pattern") or {}).get("shape")
    fill = f"url(#{name}-p{number})" if hatched else marker.get("color", INK)
    floor = frame.y.place(0) or frame.bottom
    points: list[tuple[float | None, float | None]] = []
    texts = trace.get("text") or [""] * len(trace["x"])
    for at, value, text in zip(trace["x"], trace["y"], texts):
        middle, top = frame.x.place(at), frame.y.place(value)
        if middle is None or top is None:
            points.append((None, None))
            continue
        x = middle + (place - (count - 1) / 2) * wide
        points.append((x, top))
        yield (
            f'<rect x="{x - wide * 0.46:.1f}" y="{min(top, floor):.1f}" width="{wide * 0.92:.1f}" '
            f'height="{abs(floor - top):.1f}" fill="{fill}">'
            f"<title>{trace.get('name', '')}: {_said(frame, at, value)}</title></rect>"
        )
        if text:
            yield _label(x, top - 5, str(text), "middle")
    yield from _errors(frame, trace, points)


def _said(frame: Frame, x: Any, y: Any) -> str:
    def one(value: Any, axis: dict[str, Any]) -> str:
        if isinstance(value, int | float):
            return f"{value:.1%}" if "%" in axis.get("tickformat", "") else f"{value:.4g}"
        return re.sub(r"<[^>]+>", " ", str(value))

    return f"{one(x, frame.x_axis)}, {one(y, frame.y_axis)}"


def _notes(frame: Frame, layout: dict[str, Any]) -> Iterator[str]:
    """Dashed lines across, arrows, and short texts at places."""
    for shape in layout.get("shapes") or []:
        if (at := frame.y.place(shape["y0"])) is not None:
            yield _line(frame.left, at, frame.right, at, "ax", INK, 1.5, "dash")
    for note in layout.get("annotations") or []:
        inside = note.get("xref") != "paper"
        x = frame.x.place(note["x"]) if inside else frame.right
        y = frame.y.place(note["y"])
        if x is None or y is None:
            continue
        if note.get("showarrow"):
            yield _arrow(frame, note, x, y)
        else:
            words = note["text"].replace("<b>", "").replace("</b>", "")
            side = note.get("xanchor", "center" if inside else "right")
            anchor = {"left": "start", "center": "middle", "right": "end"}[side]
            bold = ' font-weight="600"' if "<b>" in note["text"] else ""
            halo = ' paint-order="stroke" stroke-width="4" stroke-linejoin="round"'
            yield _label(x, y - 8 - note.get("yshift", 0) / 2, words, anchor, bold + halo).replace(
                'class="tx"', 'class="tx ring"'
            )


def _arrow(frame: Frame, note: dict[str, Any], x: float, y: float) -> str:
    from_x, from_y = frame.x.place(note["ax"]), frame.y.place(note["ay"])
    if from_x is None or from_y is None:
        return ""
    length = math.hypot(x - from_x, y - from_y) or 1.0
    dx, dy = (x - from_x) / length, (y - from_y) / length
    tip_x, tip_y = x - 9 * dx, y - 9 * dy
    left = f"{tip_x - 9 * dx - 4 * dy:.1f} {tip_y - 9 * dy + 4 * dx:.1f}"
    right = f"{tip_x - 9 * dx + 4 * dy:.1f} {tip_y - 9 * dy - 4 * dx:.1f}"
    shaft = _line(from_x + 9 * dx, from_y + 9 * dy, tip_x - 6 * dx, tip_y - 6 * dy, "ink", INK, 2.5)
    return shaft + f'<path class="tx" d="M{tip_x:.1f} {tip_y:.1f}L{left}L{right}z" fill="{INK}"/>'


__all__ = ["mark_at", "svg"]

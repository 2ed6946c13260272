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

from isthmus.report.frame import HEADING, SMALL, Frame, label_at, line_at, mark_at
from isthmus.report.style import FONT, INK

WIDTH, WIDE, DOCUMENT = 380, 620, 640
"""Units of width: a panel's, that of a figure that stands alone, and a document's."""
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
        f'font-family="system-ui, sans-serif">{_inside(frame, name, shown)}</svg>'
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
        f"</text>{_inside(frame, 'chart', title)}</svg>\n"
    )


def _inside(frame: Frame, name: str, title: str) -> str:
    """All that stands in the figure; ``name`` is an id, unique on its page."""
    traces = enumerate(frame.traces)
    parts = [
        f'<title id="{name}-t">{escape(title)}</title>',
        f'<desc id="{name}-d">{escape(frame.described)}</desc>',
        *_patterns(frame.traces, name),
        *frame.grid(),
        '<g class="data">',
        *(part for i, trace in traces for part in _drawn(frame, trace, i, name)),
        "</g>",
        *_notes(frame, frame.layout),
        *frame.legend(),
    ]
    return "".join(parts)


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
            yield line_at(*line, "", str(error.get("color", INK)), 1.2)  # type: ignore[arg-type]


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
            yield label_at(x, top - 5, str(text), "middle")
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
            yield line_at(frame.left, at, frame.right, at, "ax", INK, 1.5, "dash")
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
            yield label_at(
                x, y - 8 - note.get("yshift", 0) / 2, words, anchor, bold + halo
            ).replace('class="tx"', 'class="tx ring"')


def _arrow(frame: Frame, note: dict[str, Any], x: float, y: float) -> str:
    from_x, from_y = frame.x.place(note["ax"]), frame.y.place(note["ay"])
    if from_x is None or from_y is None:
        return ""
    length = math.hypot(x - from_x, y - from_y) or 1.0
    dx, dy = (x - from_x) / length, (y - from_y) / length
    tip_x, tip_y = x - 9 * dx, y - 9 * dy
    left = f"{tip_x - 9 * dx - 4 * dy:.1f} {tip_y - 9 * dy + 4 * dx:.1f}"
    right = f"{tip_x - 9 * dx + 4 * dy:.1f} {tip_y - 9 * dy - 4 * dx:.1f}"
    shaft = line_at(
        from_x + 9 * dx, from_y + 9 * dy, tip_x - 6 * dx, tip_y - 6 * dy, "ink", INK, 2.5
    )
    return shaft + f'<path class="tx" d="M{tip_x:.1f} {tip_y:.1f}L{left}L{right}z" fill="{INK}"/>'

"""Charts on matplotlib axes, for notebooks and papers (extra ``plots``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.errors import MissingExtra, ShapeError
from isthmus.report.charts import Chart

MARKS = {"line": "-", "dashes": "--", "dots": "o"}
WIDE, HIGH = 5.6, 4.0


def draw(charts: Sequence[Chart], axes: Any = None) -> list[Any]:
    """Each chart on axes of its own, side by side: its lines, predictions as dashes, intervals.

    Args:
        axes: matplotlib axes, one or as many as charts; None: a new figure.

    Returns:
        The axes, in the order of the charts.

    Raises:
        MissingExtra: matplotlib is not installed. ShapeError: another number of axes.
    """
    try:
        from matplotlib import pyplot
    except ImportError as missing:
        raise MissingExtra("plot", "matplotlib", "plots") from missing
    if axes is None:
        size = (WIDE * len(charts), HIGH)
        _, axes = pyplot.subplots(1, len(charts), figsize=size, layout="constrained")
    found = list(np.atleast_1d(axes).ravel())
    if len(found) != len(charts):
        raise ShapeError("bad-shape", f"{len(found)} axes for {len(charts)} charts; give one each")
    for chart, ax in zip(charts, found, strict=True):
        _draw(chart, ax)
    return found


def _draw(chart: Chart, ax: Any) -> None:
    for place, series in enumerate(chart.series):
        colour = series.shade(place)
        x, y = (np.array(part, float) for part in (series.x, series.y))
        ax.plot(x, y, MARKS[series.mark], color=colour, label=series.name or "_", markersize=4)
        if series.low is not None and series.high is not None:
            ends = (np.array(part, float) for part in (series.low, series.high))
            ax.vlines(x, *ends, color=colour, linewidth=1)
    ax.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    if chart.log_x:
        ax.set_xscale("log")
    if chart.log_y:
        ax.set_yscale("log")
    if any(series.name for series in chart.series):
        ax.legend(fontsize="small")

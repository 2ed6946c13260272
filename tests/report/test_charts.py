"""Charts as SVG: marks stand where the ticks say, and user text is text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from isthmus.report.charts import Chart, Series

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series: Series, **axes: bool) -> ET.Element:
    return ET.fromstring(Chart("a < b & c", "x", "y", series, **axes).to_svg())


def dots(svg: ET.Element) -> list[tuple[float, float]]:
    """Dots of the plot, the one of the legend aside."""
    (data,) = (group for group in svg.iter(f"{SVG}g") if group.get("class") == "data")
    return [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in data.iter(f"{SVG}circle")]


def tick(svg: ET.Element, label: str, anchor: str) -> float:
    """Where the label of a tick stands: across, or upward at the foot of its letters."""
    key, down = ("x", 0) if anchor == "middle" else ("y", 4)
    found = (t for t in svg.iter(f"{SVG}text") if (t.text, t.get("text-anchor")) == (label, anchor))
    return float(next(found).get(key, "")) - down


@pytest.mark.parametrize("log", [False, True])
def test_dots_stand_where_the_ticks_say(log: bool) -> None:
    x, y = ([1, 10, 100], [1e-4, 1e-2, 1]) if log else ([0, 5, 10], np.array([0.0, 50.0, 100.0]))
    names = [("1", "0.0001"), ("10", "0.01"), ("100", "1")]
    if not log:
        names = [("0", "0"), ("", ""), ("10", "100")]
    svg = drawn(Series("s", x, y, "dots"), log_x=log, log_y=log)
    for found, (across, upward) in zip(dots(svg), names, strict=True):
        if across:
            wanted = tick(svg, across, "middle"), tick(svg, upward, "end")
            assert found == pytest.approx(wanted, abs=0.11)
    steps = np.diff(dots(svg), axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=0.11)
    assert svg.findtext(f"{SVG}title") == svg.findtext(f"{SVG}text") == "a < b & c"


def test_what_cannot_be_drawn_is_left_out() -> None:
    svg = drawn(Series("s", [0, 1, 2, 3], [1.0, None, float("nan"), 2.0], "dots"))
    assert len(dots(svg)) == 2
    assert dots(drawn(Series("", [], [], "dots"))) == []
    assert len(dots(drawn(Series("s", [0.0, 1.0], [0.0, 3.0], "dots"), log_y=True))) == 1


def test_intervals_and_predictions_can_be_told_apart() -> None:
    svg = drawn(
        Series("measured", [0, 1], [1, 2], "dots", low=[0.5, 1.5], high=[1.5, 2.5]),
        Series("predicted", [0, 1], [1, 2], "dashes", 0),
        Series("line", [0, 1], [1, 2]),
    )
    ends = [e for e in svg.iter(f"{SVG}line") if e.get("stroke-width") == "1.2"]
    assert len(ends) == 2
    data = [p for p in svg.iter(f"{SVG}path") if p.get("fill") == "none"]
    assert [p.get("stroke-dasharray") for p in data] == ["5 4", None]


def test_an_end_that_a_logarithmic_axis_cannot_show_is_left_out() -> None:
    ends = Series("s", [1, 2], [1.0, 2.0], "dots", low=[-1.0, 1.0], high=[3.0, 4.0])
    svg = drawn(ends, log_y=True)
    assert len([e for e in svg.iter(f"{SVG}line") if e.get("stroke-width") == "1.2"]) == 1
    assert len(dots(svg)) == 2

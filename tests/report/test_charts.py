"""Charts as SVG: marks stand where their numbers are, and user text is text."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from isthmus.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*series: Series, **axes: bool) -> ET.Element:
    return ET.fromstring(Chart("a < b & c", "x", "y", series, **axes).to_svg())


def dots(svg: ET.Element) -> list[tuple[float, float]]:
    """Dots of the plot, the one of the legend aside."""
    found = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in svg.iter(f"{SVG}circle")]
    return [(x, y) for x, y in found if y <= HEIGHT - BOTTOM]


def test_dots_are_placed_in_proportion() -> None:
    svg = drawn(Series("s", [0, 5, 10], np.array([0.0, 50.0, 100.0]), "dots"))
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    middle = ((LEFT + right) / 2, (TOP + floor) / 2)
    for found, wanted in zip(dots(svg), [(LEFT, floor), middle, (right, TOP)], strict=True):
        assert found == pytest.approx(wanted)
    assert svg.find(f"{SVG}title").text == "a < b & c"


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios() -> None:
    svg = drawn(Series("s", [1, 10, 100], [1e-4, 1e-2, 1], "dots"), log_x=True, log_y=True)
    steps = np.diff(dots(svg), axis=0)
    np.testing.assert_allclose(steps[0], steps[1], atol=0.11)


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
    dashed = [e.get("stroke-dasharray") for e in svg.iter(f"{SVG}polyline")]
    assert dashed == ["6 4", None]

"""Figures as SVG: places of marks against the axis' own ticks, and what every figure carries."""

from __future__ import annotations

import re
import xml.etree.ElementTree as tree
from typing import Any

import numpy as np
import pytest
from bench.flips_picture import picture

from isthmus.metrics.live_sample import live_sample
from isthmus.report.style import BARS, SHARE, layout
from isthmus.report.svg import svg
from isthmus.report.traces import bars, line, points


def parsed(figure: dict[str, Any]) -> tree.Element:
    return tree.fromstring(svg(figure, "f", "Title & more"))


def ticks(root: tree.Element, anchor: str, axis: str) -> dict[str, float]:
    """Label -> its place, of the tick labels that are anchored so."""
    found = {}
    for text in root.iter("text"):
        if text.get("text-anchor") == anchor and text.text and not text.get("transform"):
            found[text.text] = float(text.get(axis, "nan"))
    return found


def test_marks_lie_where_the_ticks_say() -> None:
    curve = line("one", "dot", "#123456", [0.0, 0.5, 1.0], [0.2, 0.4, 0.8])
    root = parsed({"data": [curve], "layout": layout("strength", "share", yaxis=SHARE)})
    across = ticks(root, "middle", "x")
    upward = {k: v - 4 for k, v in ticks(root, "end", "y").items()}
    marks = [r for r in root.iter("rect") if r.get("fill") == "#123456"]
    assert len(marks) == 3
    x = [float(m.get("x")) + float(m.get("width")) / 2 for m in marks]  # type: ignore[arg-type]
    y = [float(m.get("y")) + float(m.get("height")) / 2 for m in marks]  # type: ignore[arg-type]
    assert x == pytest.approx([across["0"], (across["0"] + across["1"]) / 2, across["1"]], abs=0.2)
    unit = upward["80%"] - upward["20%"]
    assert y == pytest.approx([upward["20%"], upward["20%"] + unit / 3, upward["80%"]], abs=0.2)
    assert marks[1].findtext("title") == "one: 0.5, 40.0%"


def test_bars_stand_on_zero_with_heights_in_proportion() -> None:
    rows = {"int8": {"consistency": 0.9}, "sign": {"consistency": 0.45}}
    trace = bars(rows, "none", "dot", "#111111", hatched=True)
    root = parsed({"data": [trace], "layout": layout("", "kept", **BARS)})
    drawn = [r for r in root.iter("rect") if r.get("fill") == "url(#f-p0)"]
    heights = [float(r.get("height")) for r in drawn]  # type: ignore[arg-type]
    assert heights[0] == pytest.approx(2 * heights[1], rel=0.01)
    feet = {float(r.get("y")) + float(r.get("height")) for r in drawn}  # type: ignore[arg-type]
    floor = max(float(line.get("y1")) for line in root.iter("line"))  # type: ignore[arg-type]
    assert max(abs(foot - floor) for foot in feet) < 0.2
    assert len(list(root.iter("pattern"))) == 1


def test_intervals_are_drawn_from_low_to_high() -> None:
    trace = points("p", [1.0], [0.5], {"color": "#222222"})
    trace["error_y"] = {"array": [0.1], "arrayminus": [0.3], "color": "#222222"}
    root = parsed({"data": [trace], "layout": layout("x", "y", yaxis={"range": [0, 1]})})
    (reach,) = [e for e in root.iter("line") if e.get("stroke") == "#222222"]
    low, high = float(reach.get("y1")), float(reach.get("y2"))  # type: ignore[arg-type]
    middle = float(next(root.iter("circle")).get("cy"))  # type: ignore[arg-type]
    assert low - middle == pytest.approx(3 * (middle - high), abs=0.3)


def test_a_figure_says_what_it_is_and_keeps_one_scale() -> None:
    trace = points("a & b", [0.0, 4.0], [0.0, 1.0], {"color": "#333333"})
    scale = {"yaxis": {"scaleanchor": "x"}, "showlegend": True}
    root = parsed({"data": [trace], "layout": layout("right", "up", **scale)})
    assert root.find("title").text == "Title & more"  # type: ignore[union-attr]
    assert "up against right" in root.findtext("desc", "")
    assert any(text.text == "a & b" for text in root.iter("text"))
    (a, b) = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("circle")][:2]  # type: ignore[arg-type]
    assert b[0] - a[0] == pytest.approx(4 * (a[1] - b[1]), rel=0.02)


def test_a_cloud_is_one_path() -> None:
    rng = np.random.default_rng(0)
    trace = points("cloud", rng.normal(size=900), rng.normal(size=900), {"color": "#444444"})
    drawn = svg({"data": [trace], "layout": layout("x", "y")}, "f")
    assert len(re.findall("h0", drawn)) == 900
    assert len(drawn) < 20_000


def test_live_sample_keeps_scores_and_the_gap_s_axis() -> None:
    rng = np.random.default_rng(1)
    queries, candidates = rng.normal(size=(70, 64)) + 1, rng.normal(size=(90, 64)) - 1
    means = queries.mean(axis=0), candidates.mean(axis=0)
    right = rng.integers(90, size=70)
    sample = live_sample(queries, candidates, right, *means, seed=0)
    rank = sample["rank"]
    q, x, mean = (unpacked(sample[k], rank) for k in ("queries", "candidates", "mean"))
    rows, stored = sample["query_rows"], sample["candidate_rows"]
    np.testing.assert_allclose(q @ x.T, queries[rows] @ candidates[stored].T, atol=1e-4)
    np.testing.assert_allclose(x @ mean[0], candidates[stored] @ means[0], atol=1e-4)
    gap = means[1] - means[0]
    np.testing.assert_allclose(q[:, 0], queries[rows] @ gap / np.linalg.norm(gap), atol=1e-5)
    assert set(right[rows]) <= set(stored)
    assert (len(rows), len(stored), rank) == (40, 80, 42)


def unpacked(text: str, rank: int) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float64).reshape(-1, rank)


@pytest.mark.parametrize("name", ["owl", "head shaking vertically", "x" * 60])
def test_a_long_name_in_the_picture_of_the_readme_stays_in_its_column(name: str) -> None:
    item = {"query": name} | {key: {"picture": "data:,"} for key in ("clean", "flipped", "closed")}
    gallery = {"family": "gaussian", "queries": 9, "flips_before": 3, "flips_after": 1}
    drawn = picture({"demo": {"flips": [gallery | {"shown": [item] * 2}]}})
    sizes = [float(size) for size in re.findall(r'y="58" font-size="([\d.]+)"', drawn)]
    assert len(sizes) == 2
    for size in sizes:  # no bold letter of a usual font is .63 of its size on average
        assert size == 14 or (len(name) + 2) * size * 0.63 <= 171

"""Charts on matplotlib axes: the numbers that are drawn are those of the chart.

``make test`` does without matplotlib, which takes seconds to install: what draws is slow.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import isthmus as im
from isthmus.lab.registry import Findings
from isthmus.report.axes import draw
from isthmus.report.charts import Chart, Series
from refusals import refused
from worlds import two_modalities

CHART = Chart(
    "rise",
    "strength",
    "share",
    [
        Series("measured", [0, 1], [0.5, None], "dots", 1, low=[0.4, None], high=[0.6, None]),
        Series("", [0.1, 1], [0.5, 0.7], "dashes"),
    ],
    log_x=True,
)


@pytest.fixture
def agg() -> Any:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    yield matplotlib
    from matplotlib import pyplot

    pyplot.close("all")


@pytest.mark.slow
def test_series_become_lines_and_intervals(agg: Any) -> None:
    (ax,) = draw([CHART])
    dots, dashes = ax.lines
    np.testing.assert_array_equal(dots.get_ydata(), [0.5, np.nan])
    assert (dots.get_marker(), dashes.get_linestyle()) == ("o", "--")
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("rise", "strength", "share")
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["measured"]
    assert len(ax.collections[0].get_segments()) == 2
    assert draw([CHART], ax) == [ax]
    with refused("bad-shape", "1 axes for 2 charts"):
        draw([CHART, CHART], ax)


@pytest.mark.slow
def test_findings_draw_the_figures_that_are_named(agg: Any) -> None:
    found = Findings("toy", "A toy.", 0, [], {"one": CHART, "two": CHART})
    assert len(found.plot()) == 2
    assert found.plot("two")[0].get_title() == "rise"
    with refused("unknown-figure", "one, two"):
        found.plot("three")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with refused("missing-extra", "isthmus[plots]"):
        draw([CHART])


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_an_audit_draws_the_paper_s_figure(agg: Any, no_verdict: None, paired: bool) -> None:
    a, b = two_modalities(40, 96, seed=5)
    audit = im.audit(a, b, trials=1, paired=paired)
    survive, right = audit.plot("b_to_a")
    curve = audit.report["directions"][1]["closing_curve"]
    own = [point for point in curve if point["closer"] == "orthogonal-shift"]
    labels = [line.get_label() for line in survive.lines]
    line = survive.lines[labels.index("orthogonal-shift")]
    assert list(line.get_ydata()) == [point["predicted_consistency"] for point in own]
    assert line.get_ydata()[-1] > line.get_ydata()[0]
    assert right.get_ylabel() == ("accuracy" if paired else "clean agreement")
    with refused("unknown-direction", "a_to_b"):
        audit.plot("c")

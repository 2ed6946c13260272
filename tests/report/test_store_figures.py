"""The ruler and the picture of bytes show the numbers of the report."""

from __future__ import annotations

from typing import Any

from isthmus.report.store_figures import bytes_figure, ruler_figure

RULER = [
    {"disturbance": "float16", "total_variance": 3e-8, "flips": 0.0},
    {"disturbance": "noise 0.005", "total_variance": 0.005, "flips": 0.1},
    {"disturbance": "one bit, sign", "total_variance": 0.6, "flips": 0.5},
]


def drawn(figure: Any) -> dict[str, list[tuple[Any, float]]]:
    return {
        str(t.get("name", "line")): list(zip(t["x"], t["y"], strict=True)) for t in figure["data"]
    }


def test_the_ruler_sets_noise_apart_from_codes() -> None:
    figure = ruler_figure({"ruler": RULER})
    assert drawn(figure) == {
        "Gaussian noise": [(0.005, 0.1)],
        "what is done to vectors": [(3e-8, 0.0), (0.6, 0.5)],
    }
    assert figure is not None
    assert figure["layout"]["xaxis"]["type"] == "log"
    notes = figure["layout"]["annotations"]
    assert [(n["text"], n["x"]) for n in notes] == [
        (r["disturbance"], r["total_variance"]) for r in RULER
    ]


def test_a_ruler_without_rows_is_not_drawn() -> None:
    assert ruler_figure({}) is None
    assert ruler_figure({"ruler": [RULER[0] | {"total_variance": 0.0}]}) is None
    assert ruler_figure({"ruler": [RULER[1] | {"flips": None}]}) is None


def test_bytes_against_answers_that_stay() -> None:
    def entry(name: str, size: float, before: float, after: float, state: str) -> dict[str, Any]:
        return {
            "disturbance": name,
            "bytes_per_vector": size,
            "flips_before": before,
            "flips_after": after,
            "state": state,
        }

    entries = [
        entry("float32, undisturbed", 2048.0, 0.0, 0.0, "safe as it is"),
        entry("one bit, rabitq", 72.0, 0.6, 0.4, "closing helps"),
        entry("noise 0.04", 0.0, 0.3, 0.2, "closing helps") | {"bytes_per_vector": None},
    ]
    found = drawn(bytes_figure({"verdict": entries}))
    assert found["today"] == [("one bit<br>rabitq<br>72 B", 0.4), ("float32<br>2,048 B", 1.0)]
    assert found["with the closing advised"] == [("one bit<br>rabitq<br>72 B", 0.6)]
    assert [y for _, y in found["line"]] == [0.4, 0.6]  # from today's mark to the closing's
    assert bytes_figure({"verdict": entries[:1]}) is None

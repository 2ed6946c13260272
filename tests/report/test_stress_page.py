"""The page of a stress table, and rows averaged over seeds, against the rows they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import Page, loads

import commands
from isthmus.report.stress_figures import level_figures, line_key, single_figures
from isthmus.report.stress_page import _page as figures_of
from isthmus.report.stress_page import stress_page, verdict_of, write_stress_page
from isthmus.report.words import closer_label
from isthmus.robustness import Perturbation, averaged, run_grid
from worlds import fitted, task_of, two_modalities

PERTURBATIONS = [
    Perturbation("gaussian", "candidates", 0.02, "total"),
    Perturbation("gaussian", "candidates", 0.05, "total"),
    Perturbation("gaussian", "queries", 0.02, "total"),
    Perturbation("sq8", "candidates", 1.0),
    Perturbation("truncation", "both", 8.0),
    Perturbation("truncation", "both", 4.0),
]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Two seeds of four closers, one of them at half its strength."""
    q, c = two_modalities(40, 16, seed=1)
    closers = [
        fitted("none", q, c),
        fitted("none", q, c, score="dot"),
        fitted("center-queries", q, c),
        fitted("ridge-shift", q, c),
        fitted("mean-shift", q, c, strength=0.5),
    ]
    tasks = {s: task_of(q, c, seed=s) for s in (0, 1)}
    return run_grid(tasks, closers, PERTURBATIONS, trials=4, control_trials=2)


def one_seed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return averaged([r for r in rows if r["seed"] == 0])


def test_averages_are_means_over_seeds(rows: list[dict[str, Any]]) -> None:
    found = averaged(rows)
    assert len(found) == len(rows) // 2 == 5 * len(PERTURBATIONS)
    first, second = rows[: len(found)], rows[len(found) :]
    differ = 0
    for mean, a, b in zip(found, first, second, strict=True):
        assert mean["seeds"] == 2
        assert (mean["closer"], mean["family"], mean["level"]) == (
            a["closer"],
            a["family"],
            a["level"],
        )
        for name in ("consistency", "accuracy", "agreement", "clean_agreement", "gain"):
            assert mean[name] == pytest.approx((a[name] + b[name]) / 2, abs=1e-15)
            differ += a[name] != b[name]
        assert mean["queries"] == a["queries"]
        assert isinstance(mean["queries"], int)
        assert mean["seed"] is mean["consistency_lo"] is mean["gain_hi"] is None
    assert differ > 10
    alone = one_seed(rows)
    assert [{k: v for k, v in r.items() if k != "seeds"} for r in alone] == first
    holes = [{"closer": "x", "gain": None}, {"closer": "x", "gain": 0.5}]
    assert averaged(holes) == [{"closer": "x", "gain": 0.5, "seeds": 2}]
    assert averaged([]) == []


def test_the_page_draws_the_rows_and_nothing_else(rows: list[dict[str, Any]]) -> None:
    table = one_seed(rows)
    page = Page(stress_page(table, queries="images", candidates="captions"))
    figures = list(figures_of(table, queries="images", candidates="captions")[1].values())
    assert len(figures) == 6  # noise, cuts and what has one level: what survives, and the gain
    for row in table:
        name, score = closer_label(row)
        label = f"{name} · {score}"
        drawn = {
            (x, y)
            for figure in figures
            for trace in figure["data"]
            if trace["name"] == label
            for x, y in zip(trace["x"], trace["y"], strict=True)
        }
        values = {y for _, y in drawn}
        assert row["consistency"] in values
        assert (row["gain"] in values) or name == "none"
        if (row["family"], row["side"]) == ("gaussian", "candidates"):
            assert (row["level"], row["consistency"]) in drawn
        shown = f"{row['consistency']:.3f}"
        assert shown in page.text
    assert page.text.count("mean-shift 0.5") > len(PERTURBATIONS)
    assert "images searched in captions" in page.text
    assert "40 queries · 40 candidates · 4 draws of the noise · retrieval" in page.text
    predicted = [t for f in figures for t in f["data"] if t["name"].endswith("predicted")]
    known = [
        r for r in table if r["predicted_consistency"] is not None and r["side"] == "candidates"
    ]
    assert sorted(y for t in predicted for y in t["y"]) == sorted(
        r["predicted_consistency"] for r in known if r["family"] == "gaussian"
    )


def test_intervals_reach_from_the_value_to_its_ends(rows: list[dict[str, Any]]) -> None:
    table = one_seed(rows)
    figure = level_figures(table)["Gaussian noise"][1]
    trace = next(t for t in figure["data"] if t["name"] == "center-queries · dot")
    own = [
        r
        for r in table
        if r["closer"] == "center-queries"
        and r["family"] == "gaussian"
        and r["side"] == "candidates"
    ]
    assert trace["y"] == [r["gain"] for r in own]
    np.testing.assert_allclose(
        np.add(trace["y"], trace["error_y"]["array"]), [r["gain_hi"] for r in own]
    )
    np.testing.assert_allclose(
        np.subtract(trace["y"], trace["error_y"]["arrayminus"]), [r["gain_lo"] for r in own]
    )
    assert not any(t["name"].startswith("none") for t in figure["data"])


def test_a_closer_keeps_its_colour_in_every_plot(rows: list[dict[str, Any]]) -> None:
    table = one_seed(rows)
    tint = {f"{p['name']} · {p['score']}": p["colour"] for p in line_key(table)}
    assert len(set(tint.values())) == 4  # plain search has one, whatever its score
    for figure in [f for own in level_figures(table).values() for f in own]:
        for trace in figure["data"]:
            name = trace["name"].removesuffix(", predicted")
            assert trace["marker"]["color"] == tint[name]
    for figure in single_figures(table):
        assert {t["name"]: t["marker"]["color"] for t in figure["data"]}.items() <= tint.items()


def test_strengths_are_told_apart() -> None:
    found = [
        {"closer": closer, "strength": strength, "score": "dot"}
        for closer, strength in (("none", 0.0), ("x", 0.0), ("x", 0.5), ("x", 1.0), ("x", -0.5))
    ]
    assert [closer_label(row)[0] for row in found] == ["none", "x 0", "x 0.5", "x", "x -0.5"]


def test_averages_over_seeds_have_no_intervals(rows: list[dict[str, Any]]) -> None:
    page = Page(stress_page(averaged(rows), queries="a", candidates="b"))
    assert "Averages over seeds, without intervals." in page.text
    assert "2 seeds" in page.text
    assert "95%" not in page.text
    for table, there in ((averaged(rows), False), (one_seed(rows), True)):
        figures = figures_of(table, queries="a", candidates="b")[1].values()
        assert any("error_y" in t for f in figures for t in f["data"]) == there


def test_names_of_files_are_shown_and_not_obeyed(rows: list[dict[str, Any]]) -> None:
    evil = "</script><script>alert(1)</script><b>"
    text = stress_page(one_seed(rows), queries=evil, candidates="captions")
    page = Page(text)
    assert evil in page.text
    assert sum("alert(1)" in s for s in page.raw["script"]) == 0
    assert [x for x in loads(page) if not x.startswith(("#", "data:"))] == []


def test_nothing_is_left_behind_where_it_cannot_be_written(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    from isthmus.errors import FileError

    (tmp_path / "folder.html").mkdir()
    with pytest.raises(FileError, match="is a folder"):
        write_stress_page(tmp_path / "folder.html", one_seed(rows), queries="a", candidates="b")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.html"]


def test_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    q, c = two_modalities(40, 16, seed=1)
    np.save("pictures.npy", q)
    np.save("texts.npy", c)
    words = ("--perturb", "gaussian,sq8", "--trials", "3", "--seeds", "2", "--page", "s.html")
    code, out, _ = commands.run(capsys, "stress", "pictures.npy", "texts.npy", *words)
    assert code == 0
    assert out.rstrip().endswith("Wrote s.html.")
    page = Page(Path("s.html").read_text(encoding="utf-8"))
    assert "Which answers survive: pictures searched in texts" in page.text
    assert page.source.count('class="fig"') == 4


def test_warnings_and_notes_stand_above_the_figures(rows: list[dict[str, Any]]) -> None:
    warnings = [
        {"code": "same-modality", "text": "means are near", "severity": "caution"},
        {"code": "pairs-slipped", "text": "the pairs <slip>", "severity": "broken"},
    ]
    text = stress_page(
        one_seed(rows), queries="a", candidates="b", warnings=warnings, notes=["ridge is left out"]
    )
    found = [text.index(x) for x in ("is meaningless", "means are near", "ridge is left out")]
    assert found == sorted(found)
    assert found[2] < text.index('id="numbers"')
    assert "the pairs &lt;slip&gt;" in text


def test_the_verdict_is_by_agreement_and_not_by_consistency(rows: list[dict[str, Any]]) -> None:
    """A closer that changes answers by itself and then holds them steady does not win."""

    def row(closer: str, agreement: float, consistency: float = 0.99) -> dict[str, Any]:
        ends = {"agreement_lo": agreement - 0.02, "agreement_hi": agreement + 0.02}
        shares = {"agreement": agreement, "consistency": consistency}
        return one_seed(rows)[0] | {"closer": closer, "strength": 1.0} | shares | ends

    def said(*others: dict[str, Any]) -> tuple[str, str, str]:
        (found,) = verdict_of([row("none", 0.7, 0.7), *others])
        return found["state"], found["after"], found["closer"]

    assert said(row("mean-shift", 0.5)) == ("do nothing", "70.0%", "")
    better = row("center-queries", 0.75, 0.75)
    assert said(row("mean-shift", 0.5), better)[:2] == ("closing helps", "75.0%")
    assert said(row("mean-shift", 0.73))[0] == "not clear"
    assert verdict_of([row("none", 0.996)])[0]["state"] == "safe as it is"


def test_rows_are_ranked_by_agreement_and_the_verdict_stands_first(
    rows: list[dict[str, Any]],
) -> None:
    one = one_seed(rows)
    page = figures_of(one, queries="q", candidates="c")[0]
    for title in dict.fromkeys((r["title"], r["level"]) for r in page["rows"]):
        kept = [r["agreement"] for r in page["rows"] if (r["title"], r["level"]) == title]
        assert kept == sorted(kept, reverse=True)
    text = stress_page(one, queries="q", candidates="c")
    assert text.index("Does closing help?") < text.index("<svg")
    for line in page["verdict"]:
        own = [r for r in one if r["family"] in line["name"] or "Gaussian" in line["name"]]
        assert line["after"] in {f"{r['agreement']:.1%}" for r in own}

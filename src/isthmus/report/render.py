"""``report.html``: one page that needs nothing but itself.

Figures are SVG and tables are HTML: without script everything but sliders, sorting and filters is
there. A content security policy in its head forbids every request, so the page loads nothing even
where a browser would like to.
"""

from __future__ import annotations

import os
import re
from typing import Any

from isthmus.data.atomic import plain
from isthmus.report import figures as draw
from isthmus.report import words
from isthmus.report.demo_words import inputs_figure
from isthmus.report.gap_words import gap_rows
from isthmus.report.plain import tamed
from isthmus.report.plots import Plots, script_json, template, write_page
from isthmus.report.store_figures import bytes_figure, ruler_figure, threshold_figure
from isthmus.report.style import INK, SIDE_COLOURS, colours, mark
from isthmus.report.verdict_words import (
    LEGEND,
    accuracy_rows,
    pool_rows,
    ruler_cells,
    score_rows,
    verdict_cells,
)

DEMO_CONTENTS = (("pictures", "Pictures"), ("perturbed", "Perturbed inputs"))
CONTENTS = (
    ("picture", "The gap"),
    ("closing", "Closing it"),
    ("ruler", "What noise is that?"),
    ("flips", "Noise"),
    ("flipped", "Which answers"),
    ("codecs", "Fewer bits"),
    ("thresholds", "Thresholds"),
    ("stress", "Every stress row"),
    ("numbers", "Gap in numbers"),
    ("mixed", "One pool"),
    ("radius", "Radius"),
    ("inputs", "Inputs"),
    ("words", "How to read this"),
)
QUANTILES = ("q05", "q25", "q50", "q75", "q95")


def write_html(path: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Write the page of ``report`` to ``path``, atomically. Raises FileError where it cannot."""
    write_page(path, render_html(report))


def render_html(report: dict[str, Any]) -> str:
    """The page of a ``report.json`` dict (schema 1), as text.

    Missing keys and nulls leave their place out or show a dash.
    """
    return template("page.html.j2").render(_page(tamed(plain(report)))[0])


def _page(report: dict[str, Any]) -> tuple[dict[str, Any], dict[str, draw.Figure]]:
    """Everything that the template shows, and the figures by element id."""
    plots, called = Plots(), words.names(report)
    picture = plots.add(draw.gap_figure(report), "The two clouds", wide=True)
    page = {
        "report": report,
        "contents": [*(DEMO_CONTENTS if report.get("demo") else ()), *CONTENTS],
        "demo": report.get("demo"),
        "demo_plot": plots.add(inputs_figure(report.get("demo") or {}), wide=True),
        "names": called,
        "facts": _facts(report, called),
        "tiles": _tiles(report, called),
        "broken": [w for w in report.get("warnings") or [] if words.is_broken(w)],
        "warnings": [w for w in report.get("warnings") or [] if not words.is_broken(w)],
        "picture": picture,
        "directions": [_direction(report, d, plots) for d in report.get("directions") or []],
        "gap_rows": gap_rows(report),
        "gap_sample": (report.get("gap") or {}).get("sample"),
        "mixed": report.get("mixed") or {},
        "mixed_plot": plots.add(draw.mixed_figure(report), wide=True),
        "closer_key": _closer_key(report),
        "convention": words.CONVENTION_WORDS,
        "verdict_legend": LEGEND,
        "pool": pool_rows(report),
        "pool_heading": ", ".join(re.split(r"  +", (pool_rows(report) or [""])[0][2:])),
    }
    return page, plots.figures


def _direction(report: dict[str, Any], direction: dict[str, Any], plots: Plots) -> dict[str, Any]:
    chosen = direction.get("recommendation") or {}
    clean = direction.get("clean") or {}
    main = draw.only_chosen(direction)
    closable = direction.get("closable") or {}
    return {
        "name": words.arrow(direction),
        "query": words.query_name(direction),
        "candidate": words.candidate_name(direction),
        "first_hit": words.first_hit(direction),
        "task": direction.get("task"),
        "score": direction.get("score"),
        "counts": f"{words.number(direction.get('queries'))} queries against "
        f"{words.number(direction.get('candidates'))} candidates",
        "clean": clean,
        "why_no_truth": clean.get("why_null"),
        "chosen": chosen,
        "acts": words.acts(direction),
        "sentence": words.sentence(direction),
        "verdict": verdict_cells(direction),
        "ruler": ruler_cells(direction),
        "beside_verdict": [*score_rows(direction), *accuracy_rows(direction)],
        "cost": words.cost_of(direction),
        "caveats": words.caveats(direction),
        "compared": words.compared(direction),
        "commands": words.commands(report, direction),
        "apply_note": words.chosen_closer(direction).get("use") or "",
        "guarantee": words.chosen_closer(direction).get("guarantee") or {},
        "closable": closable,
        "verdict_plot": plots.add(draw.verdict_figure(direction), "Answers that change"),
        "closing_plots": plots.add_all(draw.closing_figures(main)),
        "all_closing_plots": plots.add_all(draw.closing_figures(direction)),
        "closable_plot": plots.add(draw.closable_figure(direction), "What could be closed"),
        "flip_plots": plots.add_all(draw.flip_figures(main)),
        "all_flip_plots": plots.add_all(draw.flip_figures(direction)),
        "ruler_plot": plots.add(ruler_figure(direction), wide=True),
        "bytes_plot": plots.add(bytes_figure(direction), wide=True),
        "threshold_plot": plots.add(threshold_figure(direction)),
        "flipped": _flipped(direction),
        "codec_plots": plots.add_all(draw.codec_figures(main)),
        "all_codec_plots": plots.add_all(draw.codec_figures(direction)),
        "live": direction.get("live"),
        "live_json": script_json(_live(direction)),
        "key": _closer_key({"directions": [main]}),
        "predicted": any(
            r.get("predicted_consistency") is not None for r in direction.get("stress") or []
        ),
        "stress": [_stress_row(r, chosen) for r in direction.get("stress") or []],
        "controls": [_control_row(r) for r in direction.get("controls") or []],
        "radius": _radius(direction),
        "radius_score": (direction.get("radius") or {}).get("score") or {},
    }


def _live(direction: dict[str, Any]) -> dict[str, Any]:
    """The sample that the page shakes, with the colours of its two sides."""
    sides = (str(direction.get("query")), str(direction.get("candidate")))
    tints = [SIDE_COLOURS.get(side, INK) for side in sides]
    return {**(direction.get("live") or {}), "colours": tints}


def _stress_row(row: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    taken = chosen.get("closer"), chosen.get("score")
    return row | {
        "family_words": draw.family_label(row),
        "level_words": words.level_name(row),
        "ci": words.interval((row.get("consistency_lo"), row.get("consistency_hi"))),
        "recommended": (row.get("closer"), row.get("score")) == taken,
    }


def _flipped(direction: dict[str, Any]) -> dict[str, Any] | None:
    """The table of queries whose answer changes: ids where rows have them, else rows."""
    given = direction.get("flipped") or {}
    columns: list[list[Any]] = [
        given.get("query_ids") or given.get("queries") or [],
        given.get("answer_ids") or given.get("answers") or [],
        given.get("today") or [],
    ]
    if not all(columns):
        return None
    closed = given.get("closed")
    columns.append(closed or [None] * len(columns[0]))
    return {
        "rows": [(q, a, words.percent(t, 0), words.percent(c, 0)) for q, a, t, c in zip(*columns)],
        "of": given.get("of") or len(columns[0]),
        "disturbance": words.said(given.get("disturbance")),
        "acts": closed is not None,
    }


def _control_row(row: dict[str, Any]) -> dict[str, Any]:
    matched = row.get("convention") == "spread"
    return row | {
        "vector": words.control_words(row),
        "noise": f"{words.significant(row.get('level'))}{' of the variance' if matched else ''}",
        "gain_ci": words.interval((row.get("gain_lo"), row.get("gain_hi"))),
    }


def _radius(direction: dict[str, Any]) -> list[dict[str, Any]]:
    radius, table = direction.get("radius") or {}, []
    for key, label in (("query_l2", "of a query"), ("candidate_l2", "of the candidates")):
        for when in ("before", "after"):
            values = (radius.get(key) or {}).get(when)
            if values:
                shown = [words.number(values.get(q), 4) for q in QUANTILES]
                table.append({"label": label, "when": when, "values": shown})
    return table


def _facts(report: dict[str, Any], called: dict[str, str]) -> list[str]:
    """The line under the title."""
    inputs, facts = report.get("inputs") or {}, []
    for side in ("a", "b"):
        entry = inputs.get(side) or {}
        if entry.get("rows") is not None:
            facts.append(f"{words.number(entry['rows'])} {called[side]}")
    dims = {(inputs.get(side) or {}).get("dim") for side in ("a", "b")} - {None}
    facts += [f"{words.number(dim)} dimensions" for dim in dims]
    if "paired" in inputs:
        facts.append("paired rows" if inputs["paired"] else "rows not paired")
    if report.get("created"):
        facts.append(str(report["created"]).replace("T", " ").replace("+00:00", " UTC"))
    if report.get("isthmus"):
        facts.append(f"Isthmus {report['isthmus']}")
    return facts


def _tiles(report: dict[str, Any], called: dict[str, str]) -> list[dict[str, str]]:
    """The strip of key numbers; what is null is said to be so."""
    gap = report.get("gap") or {}
    spans, why = gap.get("intervals") or {}, gap.get("why_null") or {}
    severity = f"{gap['severity']}; " if gap.get("severity") else ""
    norm, pairs = gap.get("norm_ci"), spans.get("matched_cosine")
    tiles = [
        ("Gap", words.number(gap.get("norm")), f"{severity}{_span(norm)}"),
        (
            "Cosine of pairs",
            words.number(gap.get("matched_cosine")),
            why.get("matched_cosine") or _span(pairs),
        ),
    ]
    for d in report.get("directions") or []:
        clean = d.get("clean") or {}
        note = clean.get("why_null") or _span(clean.get("recall@1_ci"), words.percent)
        label = f"Clean {words.first_hit(d)}, {words.arrow(d)}"
        tiles.append((label, words.percent(clean.get("recall@1")), note))
    for d in report.get("directions") or []:
        share = words.percent((d.get("closable") or {}).get("exact_share"))
        note = "of the squared gap, with no ranking changed"
        tiles.append((f"Closable share, {words.arrow(d)}", share, note))
    return [{"label": label, "value": value, "note": note} for label, value, note in tiles]


def _span(low_high: Any, text: Any = words.number) -> str:
    return f"95% interval {words.interval(low_high, text)}"


def _closer_key(report: dict[str, Any]) -> list[dict[str, str]]:
    """What each line in the plots is: colour, marker, closer, score."""
    pairs: dict[tuple[str, str], None] = {}
    says: dict[str, str] = {}
    for direction in report.get("directions") or []:
        pairs |= dict.fromkeys(words.closers_of(direction))
        entries = direction.get("closers") or []
        says |= {str(e.get("name")): e.get("words") or "" for e in entries}
    tint = colours(name for name, _ in pairs)
    return [
        {
            "name": name,
            "score": score,
            "colour": tint[name],
            "mark": mark(score),
            "words": says.get(name, ""),
        }
        for name, score in pairs
    ]

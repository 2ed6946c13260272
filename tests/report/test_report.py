"""The report: page, picture, terminal table and Markdown say what the dict says, safely."""

from __future__ import annotations

import copy
import html
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.closers.registry import METHODS
from isthmus.data.atomic import plain
from isthmus.metrics.picture import gap_picture
from isthmus.report.markdown import render_markdown
from isthmus.report.numbers import number, percent
from isthmus.report.overview import BY_DOT
from isthmus.report.render import _page, render_html, script_json, write_html
from isthmus.report.table import print_summary
from isthmus.report.words import arrow, caveats, commands, flips, judged_on_a_code, sentence
from isthmus.workflows.audits import audit
from worlds import leave_verdict_out

EVIL = "<script>alert(1)</script>"
ROWS, DIM = 60, 8


def two_sides(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(60, 8) unit rows each, correlated pairs, a gap between them."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(ROWS, DIM))
    offset = 2.5 * np.eye(DIM)[0]
    a = shared + 0.3 * rng.normal(size=(ROWS, DIM)) + offset
    b = shared + 0.3 * rng.normal(size=(ROWS, DIM)) - offset
    return tuple(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))  # type: ignore


def report_of(
    *, names: tuple[str, str] = ("images", "captions"), paired: bool = True, verdict: bool = False
) -> Any:
    a, b = two_sides()
    if not paired:
        b = b[:50]
    with pytest.MonkeyPatch.context() as patch:
        if not verdict:
            leave_verdict_out(patch)
        report = audit(a, b, names=names, trials=3, paired=paired).report
    report["picture"] = gap_picture(a, b, a.mean(axis=0), b.mean(axis=0), seed=0, paired=paired)
    return report


@pytest.fixture(scope="module")
def report() -> Any:
    return report_of(verdict=True)


@pytest.fixture(scope="module")
def evil_report() -> Any:
    evil = report_of(names=(EVIL, "b & <img src=//x.example/y>"))
    evil["warnings"].append({"code": EVIL, "text": f"a warning with {EVIL} in it"})
    for direction in evil["directions"]:
        direction["recommendation"]["reason"] += f" {EVIL}"
    return evil


class Page(HTMLParser):
    """Tags with attributes, visible text, and the texts of style and script elements."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = page
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.shown: list[str] = []
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw else ""
        if self._inside:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data
        else:
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())


def figures_of(report: Any) -> dict[str, Any]:
    """The figures behind a page, by element id."""
    return _page(plain(report))[1]


def loads(page: Page) -> list[str]:
    """Everything a browser would fetch or link to: attributes and style sheets."""
    found = [
        value or ""
        for tag, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
    ]
    styles = " ".join(page.raw["style"]) + " ".join(a.get("style") or "" for _, a in page.tags)
    found += re.findall(r"url\(\s*['\"]?([^'\")]+)", styles)
    return found + re.findall(r"@import\s+['\"]?([^'\";]+)", styles)


def test_page_has_no_outside_address(report: Any) -> None:
    page = Page(render_html(report))
    outside = [x for x in loads(page) if not x.startswith(("#", "data:"))]
    assert outside == []
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert "default-src 'none'" in (policy or "")
    assert not re.search(r"https?://|//cdn", " ".join(page.raw["script"] + page.raw["style"]))


def test_figures_are_there_without_script_and_the_page_is_small(report: Any) -> None:
    source = render_html(report)
    figures = figures_of(report)
    assert len(figures) > 10
    for name in figures:
        assert f'<title id="{name}-t">' in source
        assert f'<desc id="{name}-d">' in source
    assert len(source.encode()) < 500_000


def test_headings_do_not_skip_a_level(report: Any) -> None:
    levels = [
        int(tag[1]) for tag, _ in Page(render_html(report)).tags if re.fullmatch("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.slow
def test_texts_are_shown_and_escaped(evil_report: Any) -> None:
    source = render_html(evil_report)
    page = Page(source)
    assert "<script>alert" not in source
    assert "<img" not in source
    assert [t for t, _ in page.tags].count("script") == 3
    for warning in evil_report["warnings"]:
        assert " ".join(warning["text"].split()) in page.text
        assert warning["code"] in page.text
    for direction in evil_report["directions"]:
        assert " ".join(direction["recommendation"]["reason"].split()) in page.text
        assert sentence(direction) in page.text
    assert EVIL in page.text


def test_names_in_plots_cannot_be_markup(evil_report: Any) -> None:
    """A name in a label must come out as it was written."""
    drawn = " ".join(re.findall(r"<svg.*?</svg>", render_html(evil_report), re.S))
    assert "<script" not in drawn
    assert "<img" not in drawn
    assert html.escape(EVIL, quote=False) in drawn


def test_script_json_cannot_end_its_element() -> None:
    value = {"a": "</script><!-- \u2028 & ]]>"}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_numbers_shown_are_the_rounded_numbers_of_the_dict(report: Any) -> None:
    page, gap = Page(render_html(report)).text, report["gap"]
    assert f"{gap['norm']:.3f}" in page
    assert f"{gap['matched_cosine']:.3f}" in page
    for direction in report["directions"]:
        assert f"{direction['clean']['recall@1']:.1%}" in page
        assert f"{direction['closable']['exact_share']:.1%}" in page
        row = direction["stress"][-1]
        assert f"{row['consistency_lo']:.3f} to {row['consistency_hi']:.3f}" in page


def test_figures_hold_the_numbers_of_the_dict(report: Any) -> None:
    figures = figures_of(report).values()
    rows = [
        r
        for r in report["directions"][0]["stress"]
        if (r["family"], r["side"], r["closer"]) == ("gaussian", "candidates", "center-queries")
    ]
    wanted = [r["consistency"] for r in rows], [r["predicted_consistency"] for r in rows]
    drawn = [trace["y"] for f in figures for trace in f["data"]]
    assert wanted[0] in drawn
    assert wanted[1] in drawn
    curve = report["directions"][1]["closing_curve"]
    assert [p["gap"] for p in curve if p["closer"] == "mean-shift"] in drawn


def test_one_colour_per_closer_in_all_plots(report: Any) -> None:
    seen: dict[str, set[str]] = {}
    for figure in figures_of(report).values():
        for trace in figure["data"]:
            name = trace.get("name", "").split(" ·")[0]
            colour = trace.get("marker", {}).get("color")
            if name in ("none", "mean-shift", "orthogonal-shift", "center-queries"):
                seen.setdefault(name, set()).add(colour)
    assert all(len(c) == 1 for c in seen.values())
    assert len({next(iter(c)) for c in seen.values()}) == len(seen) == 4


def test_unpaired_input_renders_with_reasons() -> None:
    unpaired = report_of(paired=False)
    page = Page(render_html(unpaired)).text
    assert "needs pairs: row i of a belonging to row i of b" in page
    assert "no pairs, labels or relevance say what is right" in page
    assert "nan" not in page.lower().split()
    assert "None" not in page
    for verbose in (False, True):
        print_summary(unpaired, _console(io.StringIO()), verbose=verbose)
    assert "needs pairs" in render_markdown(unpaired)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every dict entry, one list element deep."""
    found = []
    if isinstance(value, dict):
        for key, item in value.items():
            found += [(*path, key), *_leaves(item, (*path, key))]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        found += _leaves(value[0], (*path, 0))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["missing", "null"])
def test_any_key_may_be_missing_or_null(report: Any, how: str) -> None:
    """Take each key out in turn; the page, the table and Markdown must still come."""
    small = copy.deepcopy(report)
    small["directions"] = small["directions"][:1]
    for key, value in small["directions"][0].items():
        if isinstance(value, list):
            small["directions"][0][key] = value[:: len(value) // 3 + 1]
    small["picture"] = {side: {"x": [0.0], "y": [0.0]} for side in ("a", "b")}
    paths = [p for p in _leaves(small) if p[0] != "picture" or len(p) == 1]
    assert len(paths) > 150
    failed = []
    for path in paths:
        broken = copy.deepcopy(small)
        holder: Any = broken
        for step in path[:-1]:
            holder = holder[step]
        if how == "missing":
            del holder[path[-1]]
        else:
            holder[path[-1]] = None
        try:
            assert "None" not in render_html(broken)
            render_markdown(broken)
            for verbose in (False, True):
                print_summary(broken, _console(io.StringIO()), verbose=verbose)
        except Exception as error:
            failed.append(f"{path}: {error!r}")
    assert failed == []


def test_an_empty_report_renders() -> None:
    assert "<h1>" in render_html({})
    assert render_markdown({}).startswith("# ")


def test_nan_is_a_dash_and_no_broken_json(report: Any) -> None:
    broken = copy.deepcopy(report)
    row = broken["directions"][0]["stress"][0]
    row["overlap_at_10"] = row["consistency_hi"] = float("nan")
    page = Page(render_html(broken))
    assert "nan" not in page.text.lower().split()


def test_the_verdict_is_on_the_page_and_in_markdown(report: Any) -> None:
    page, markdown = Page(render_html(report)).text, render_markdown(report)
    for direction in report["directions"]:
        for entry in direction["verdict"]:
            assert entry["disturbance"] in page
            assert entry["state"] in page
            assert entry["disturbance"] in markdown
        assert direction["verdict"][0]["why"][1:] in page
        if direction["changes_sentence"]:
            assert direction["changes_sentence"][1:] in page
    bold = [line for line in markdown.splitlines() if line.startswith("| **")]
    chosen = [d["recommendation"]["closer"] for d in report["directions"]]
    assert [re.findall(r"\*\*(.+?)\*\*", line)[0] for line in bold] == chosen


def test_leave_it_alone_is_said(report: Any) -> None:
    alone = copy.deepcopy(report)
    for direction in alone["directions"]:
        direction["recommendation"] |= {"closer": "none", "reason": "leave it alone: because"}
    page = Page(render_html(alone)).text
    assert page.count("No, leave the gap: no closing kept") == 2
    assert "--role query" not in page
    assert not any(commands(alone, direction) for direction in alone["directions"])


def test_recommended_closer_comes_with_its_commands(report: Any) -> None:
    acts = copy.deepcopy(report)
    direction = acts["directions"][0]
    direction["recommendation"] |= {
        "closer": "center-queries",
        "score": "dot",
        "file": "a b.safetensors",
        "judged_on": "noise 0.04",
    }
    page = Page(render_html(acts)).text
    assert METHODS["center-queries"].words in page
    assert METHODS["center-queries"].use in page
    assert direction["closers"][-1]["guarantee"]["condition"] in page
    shell = "\n".join(commands(acts, direction)).replace("\\\n    ", "")
    assert "isthmus apply 'a b.safetensors' QUERIES --role query --out" in shell
    assert "isthmus apply 'a b.safetensors' CANDIDATES --role candidate --out" in shell
    assert "isthmus close" not in shell
    direction["recommendation"]["file"] = None
    assert "isthmus close QUERIES CANDIDATES" in commands(acts, direction)[0]
    assert "isthmus deploy 'a b.safetensors' STORE --queries QUERIES" in shell


@pytest.mark.parametrize(
    ("judged", "tried"), [("one bit, rabitq", True), ("noise 0.04", False), ("gaussian", False)]
)
def test_advice_for_a_code_tries_the_store_first(report: Any, judged: str, tried: bool) -> None:
    """Stores code rows in their own ways: what helps one code may hurt another."""
    acts = copy.deepcopy(report)
    direction = acts["directions"][0]
    direction["recommendation"] |= {"closer": "shift", "file": "c.safetensors", "judged_on": judged}
    shell = " ".join(" ".join(commands(acts, direction)).replace("\\", " ").split())
    asked = "isthmus recommend QUERIES STORE --perturb store --out in-store.safetensors"
    assert (asked in shell) == tried
    assert f"isthmus deploy {'in-store' if tried else 'c'}.safetensors STORE" in shell
    assert judged_on_a_code(direction) == tried
    direction["recommendation"]["closer"] = "none"
    assert not judged_on_a_code(direction)  # nothing to try: no closing helped


def test_clean_agreement_is_with_plain_search_of_the_closers_own_score(report: Any) -> None:
    direction = copy.deepcopy(report["directions"][0])
    direction["recommendation"] |= {"closer": "orthogonal-shift", "score": "euclidean"}
    assert "first answers stay what they are today" in sentence(direction)
    direction["score"] = "dot"  # rows are not unit rows: Euclidean search is another search
    assert "stay what plain search by euclidean gives" in sentence(direction)


def test_where_the_recommended_closer_is_worse_it_is_said(report: Any) -> None:
    acts = copy.deepcopy(report)
    direction = acts["directions"][0]
    direction["recommendation"] |= {"closer": "center-queries", "score": "dot"}
    for row in direction["stress"]:
        if row["family"] == "sign-bits" and row["side"] == "candidates":
            good = row["closer"] == "none"
            row["consistency"], row["consistency_lo"], row["consistency_hi"] = (
                (0.9, 0.85, 0.95) if good else (0.3, 0.25, 0.35)
            )
    said = "Under sign bits on candidates it keeps fewer answers than plain search: 30.0%"
    assert said in Page(render_html(acts)).text
    assert said in render_markdown(acts)


def test_write_html_is_atomic_and_utf8(report: Any, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "report.html"
    write_html(target, report)
    assert target.read_text(encoding="utf-8") == render_html(report)
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_rounding_never_claims_all_or_nothing() -> None:
    assert percent(1.0) == "100.0%"
    assert percent(0.9996) == "over 99.9%"
    assert percent(0.0) == "0.0%"
    assert percent(0.0002) == "under 0.1%"
    assert percent(0.1817) == "18.2%"
    assert percent(None) == number(float("nan")) == "–"
    assert number(-0.0001) == "0.000"
    assert number(12345) == "12,345"
    assert flips({"consistency": 0.75}) == 0.25
    assert flips(None) is None


def _console(file: io.StringIO, **options: Any) -> Any:
    from rich.console import Console

    return Console(file=file, **options)


def _printed(report: Any, **options: Any) -> list[str]:
    out = io.StringIO()
    print_summary(report, _console(out, **options))
    return out.getvalue().splitlines()


def test_the_summary_is_one_screen(report: Any) -> None:
    """Both directions and the advice in 20 lines, with the two that a command adds."""
    lines = _printed(report)
    assert len(lines) + 2 <= 20
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"gap {report['gap']['norm']:.3f} (")
    for column, direction in enumerate(report["directions"]):
        noises = [e["disturbance"] for e in direction["verdict"] if "noise" in e["disturbance"]]
        for entry in direction["verdict"]:
            name, safe = entry["disturbance"], entry["flips_before"] == 0
            if safe or name in noises[1:]:
                assert not safe or name.partition(",")[0] in lines[2]
                continue
            (line,) = [x for x in lines if x.startswith(f"{name:<33}")]
            cell = re.split(r"(?<=%) {2,}", line[33:])[column]
            assert f"{entry['flips_before']:.1%}" in cell
            if entry["state"] == "closing helps":
                assert cell.startswith("+ helps")
                assert cell.endswith(f"{entry['flips_after']:.1%}")
        chosen = direction["recommendation"]
        begin = f"{arrow(direction)}: "
        if chosen["closer"] == "none":
            assert any(x.startswith(f"{begin}no, leave the gap") for x in lines)
            continue
        assert any(x.startswith(f"{begin}yes for {chosen['judged_on']}") for x in lines)
        said = (
            f"{chosen['flips_before']:.1%} → {chosen['flips_after']:.1%} change, none undisturbed"
        )
        assert f"{chosen['closer'].capitalize()}: {said}. Cost: " in " ".join(lines)
    codes = {w["code"] for w in report["warnings"]}
    assert all(code in " ".join(lines) for code in codes)


def test_a_longer_summary_leaves_noise_out(report: Any) -> None:
    longer, safe = copy.deepcopy(report), "safe as it is"
    for entry in (e for d in longer["directions"] for e in d["verdict"]):
        entry["state"] = "do nothing" if entry["state"] == safe else entry["state"]
        entry["flips_by_score"] = {"dot": entry["flips_before"] + 0.3}
    lines = _printed(longer)
    assert len(lines) > len(_printed(report))
    assert not any(line.startswith("noise") for line in lines)
    assert any(line.startswith("noise") for line in _printed(report))
    for direction in longer["directions"]:  # the other direction's share stands beside it
        direction["verdict"][0]["flips_by_score"]["dot"] = direction["verdict"][0]["flips_before"]
    longer["directions"][0]["verdict"][0]["flips_by_score"]["dot"] += 0.3
    beside = next(x for x in _printed(longer) if "as FAISS does" in x)
    assert beside.count("%") == 2


def test_labels_cannot_hide_turn_or_drown_a_page(report: Any) -> None:
    """NUL, a turned direction, and 100,000 letters, in names and in a warning."""
    odd, letters = copy.deepcopy(report), "x" * 100_000
    odd["inputs"]["a"]["name"] = odd["directions"][0]["query_name"] = "a\x00\u202egpj.<b>"
    odd["inputs"]["b"]["name"] = odd["directions"][1]["query_name"] = letters
    odd["warnings"] = [{"code": "odd", "text": f"\u202e{letters}", "severity": "note"}]
    plain_page, page = render_html(report), render_html(odd)
    for sign in ("\x00", "\u202e", "gpj.<b>", "x" * 2001):
        assert sign not in page[page.index("<main>") :].split("<script")[0]
    assert len(page) < len(plain_page) + 20_000
    assert "a\\x00\\u202egpj.&lt;b&gt;" in page
    assert max(map(len, _printed(odd))) <= 80


def test_what_the_advised_closer_makes_worse_is_said(report: Any) -> None:
    bad = copy.deepcopy(report)
    row = {"disturbance": "int8", "flips_before": 0.02, "flips_after": 0.055}
    bad["directions"][0]["recommendation"] |= {"closer": "center-queries", "worse": [row]}
    said = "Not for int8: 5.5% of first answers change with center-queries, 2.0% without."
    assert said in Page(render_html(bad)).text
    assert said in render_markdown(bad)
    assert "with it worse: int8" in " ".join(" ".join(_printed(bad)).split())


def test_sign_bits_are_said_once_and_a_stores_own_ranking_beside(report: Any) -> None:
    """What the verdict says of sign bits is not said again of the stress table; a figure by inner
    product stands below its line where it is another, in one screen and in full."""
    bad = copy.deepcopy(report)
    direction = bad["directions"][0]
    direction["recommendation"] |= {"closer": "center-queries", "score": "dot", "worse": []}
    for row in direction["stress"]:
        if row["family"] == "sign-bits":
            kept = 0.1 if row["closer"] == "center-queries" else 0.9
            row |= {"consistency_lo": kept - 0.01, "consistency_hi": kept + 0.01}
    assert sum("Under sign bits" in line for line in caveats(direction)) > 0
    worse = {"disturbance": "one bit, sign", "flips_before": 0.1, "flips_after": 0.9}
    direction["recommendation"]["worse"] = [worse]
    assert not any("Under sign bits" in line for line in caveats(direction))
    for one in [e for d in bad["directions"] for e in d["verdict"]]:
        one["flips_by_score"] = {}
    entry = direction["verdict"][2]
    entry |= {"flips_before": 0.5, "flips_by_score": {"cosine": 0.5, "dot": 0.54}}
    assert not any(x.startswith(BY_DOT) for x in _printed(bad))
    entry["flips_by_score"]["dot"] = 0.875
    (line,) = [x for x in _printed(bad) if x.startswith(BY_DOT)]
    assert line.split()[-2:] == ["87.5%", "–"]
    assert "such as FAISS, changes 87.5%" in render_markdown(bad)


def test_the_summary_begins_with_what_is_broken(report: Any) -> None:
    bad = copy.deepcopy(report)
    finding = {"code": "rows-out-of-order", "text": "pairs slip", "severity": "broken"}
    bad["warnings"] = [finding, *bad["warnings"]]
    assert _printed(bad)[0] == "BROKEN rows-out-of-order: pairs slip"


def test_the_summary_says_where_accuracy_rises(report: Any) -> None:
    better = copy.deepcopy(report)
    row = {"raises": True, "before": 0.25, "after": 0.375, "closer": "centering"}
    better["directions"][0]["changes"] = [row, row | {"after": 0.3}]
    better["directions"][1]["changes"] = []
    (line,) = [x for x in _printed(better) if x.startswith("R@1 if answers may change")]
    assert line.split("  ")[-1].strip() == "25.0% → 37.5%"


def test_colours_are_off_with_no_color(report: Any, monkeypatch: Any) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-9]m")
    shown = {"force_terminal": True, "width": 80, "color_system": "standard"}
    assert any(map(coloured.search, _printed(report, **shown)))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(map(coloured.search, _printed(report, **shown)))


def test_summary_in_a_pipe_is_plain_and_whole(report: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = io.StringIO()
    print_summary(report, _console(out), verbose=True)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    text = " ".join(text.split())
    for direction in report["directions"]:
        assert sentence(direction) in text
        row = next(r for r in direction["stress"] if r["level"] == 64.0)
        assert f"{1 - row['consistency']:.1%}" in text
    for warning in report["warnings"]:
        assert warning["text"] in text
    assert report["gap"]["severity"] in text


@pytest.mark.slow
def test_summary_marks_the_recommended_row_and_takes_names_as_they_are() -> None:
    odd = report_of(names=("[red]x[/red]", "y\x1b[31m"))
    recommendation = odd["directions"][0]["recommendation"]
    out = io.StringIO()
    print_summary(odd, _console(out), verbose=True)
    text = out.getvalue()
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    marked = [line for line in text.splitlines() if line.startswith("> ")]
    assert len(marked) == 2
    assert recommendation["closer"] in marked[0]
    assert recommendation["score"] in marked[0]


def test_summary_fits_a_terminal_of_80_columns(report: Any) -> None:
    out = io.StringIO()
    print_summary(report, _console(out, force_terminal=True, width=80), verbose=True)
    assert "\x1b[" in out.getvalue()
    assert "…" not in out.getvalue()


def test_more_levels_than_a_table_has_room_for(report: Any) -> None:
    many = copy.deepcopy(report)
    for direction in many["directions"]:
        extra = [r | {"level": r["level"] * s} for r in direction["stress"] for s in (1, 2, 3, 5)]
        direction["stress"] = extra
    out = io.StringIO()
    print_summary(many, _console(out), verbose=True)
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_markdown_is_inert(evil_report: Any) -> None:
    text = render_markdown(evil_report)
    assert "<script" not in text
    assert "<img" not in text
    assert f"{evil_report['gap']['norm']:.3f}" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1


def test_picture_spans_the_gap_and_y_is_orthogonal_to_it() -> None:
    """Against a straight computation: Gram-Schmidt basis, SVD of what is left."""
    a, b = two_sides(3)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    picture = gap_picture(a, b, mean_a, mean_b, seed=0)
    length = np.linalg.norm(mean_b - mean_a)
    x_a, x_b = np.mean(picture["a"]["x"]), np.mean(picture["b"]["x"])
    assert x_b - x_a == pytest.approx(length, abs=2e-4)
    assert x_a + x_b == pytest.approx(0, abs=2e-4)
    means = picture["means"]
    assert means["b"]["x"][0] - means["a"]["x"][0] == pytest.approx(length, abs=2e-4)
    assert means["a"]["y"] == means["b"]["y"] == [0.0]
    unit = (mean_b - mean_a) / length
    rest = np.vstack([a - mean_a, b - mean_b])
    rest = rest - np.outer(rest @ unit, unit)
    leading = np.linalg.svd(rest, full_matrices=False)[2][0]
    order = np.random.default_rng([0, 0x91C]).permutation(ROWS)
    expected = (a[order] - (mean_a + mean_b) / 2) @ leading
    drawn = np.array(picture["a"]["y"])
    assert np.allclose(drawn, expected, atol=1e-4) or np.allclose(drawn, -expected, atol=1e-4)
    # moving all rows along the gap must leave y as it is
    moved = gap_picture(a - 3 * unit, b + 3 * unit, mean_a - 3 * unit, mean_b + 3 * unit, seed=0)
    assert np.allclose(np.abs(moved["a"]["y"]), np.abs(drawn), atol=2e-4)
    assert means["a"]["x"][0] < 0 < means["b"]["x"][0]
    assert 0 < picture["y_share"] < 1


def test_picture_draws_a_seeded_sample_and_keeps_pairs_together() -> None:
    a, b = two_sides()
    means = a.mean(axis=0), b.mean(axis=0)
    picture = gap_picture(a, b, *means, seed=1, most=20, paired=True)
    assert picture == gap_picture(a, b, *means, seed=1, most=20, paired=True)
    assert picture != gap_picture(a, b, *means, seed=2, most=20, paired=True)
    assert picture["rows"] == 40
    assert picture["pairs"] == 20
    unit = (means[1] - means[0]) / np.linalg.norm(means[1] - means[0])
    middle = (means[0] + means[1]) / 2
    all_a, all_b = (a - middle) @ unit, (b - middle) @ unit
    for x, y in zip(picture["a"]["x"], picture["b"]["x"], strict=True):
        assert np.argmin(np.abs(all_a - x)) == np.argmin(np.abs(all_b - y))
    assert all(round(v, 4) == v for v in picture["a"]["x"] + picture["b"]["y"])


def test_picture_without_a_gap_or_without_spread() -> None:
    a, _ = two_sides()
    same = gap_picture(a, a, a.mean(axis=0), a.mean(axis=0), seed=0)
    assert "no gap" in same["axes"]["x"]
    assert same["a"] == gap_picture(a, a, a.mean(axis=0), a.mean(axis=0), seed=0)["a"]
    ones, zeros = np.ones((3, 4)), np.zeros((2, 4))
    flat = gap_picture(ones, zeros, ones[0], zeros[0], seed=0)
    assert flat["a"]["x"] == [-1.0] * 3
    assert flat["b"]["y"] == [0.0, 0.0]
    assert flat["y_share"] is None
    json.dumps(flat, allow_nan=False)


def test_nothing_heavy_is_imported_with_the_package() -> None:
    import subprocess
    import sys

    code = (
        "import sys, isthmus.report.render, isthmus.report.table, isthmus.report.markdown; "
        "print([m for m in ('jinja2', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_small_shares_do_not_widen_the_terminal_table(report: Any) -> None:
    from rich.console import Console

    from isthmus.report.table import _table

    direction = json.loads(json.dumps(report["directions"][0]))
    for row in direction["stress"]:
        row["consistency"], row["clean_accuracy"] = 0.9999, 0.9999
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_table(direction, plain=True))
    shown = console.export_text()
    assert "<0.1%" in shown
    assert ">99.9%" in shown
    assert "…" not in shown

"""``isthmus calibrate``: what score means a match."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, check_output
from isthmus.cli.output import console, print_json
from isthmus.report.table import print_warnings
from isthmus.report.words import is_broken


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    false_match_rate: Annotated[
        float, about("Share of non-matches that may pass for matches.")
    ] = 0.001,
    paired: Annotated[
        bool | None,
        about(
            "Query i matches candidate i. Left out: where lengths are equal. --unpaired: "
            "nothing matches.",
            "--paired/--unpaired",
        ),
    ] = None,
    labels: options.Labels = None,
    relevance: options.Relevance = None,
    kinds: Annotated[
        str | None,
        about(
            "The kind of each query, a word or number per row (short, long, a language): "
            ".txt, .csv, .npy or FILE:COLUMN of parquet. Each kind gets a threshold of its own."
        ),
    ] = None,
    query_items: options.QueryItems = None,
    candidate_items: options.CandidateItems = None,
    score: Annotated[
        str | None, about("dot, cosine (default) or euclidean, or the closer's own.")
    ] = None,
    closer: Annotated[Path | None, about("A file of isthmus close, applied first.")] = None,
    model: Annotated[str | None, about("The model's name, kept in the file.")] = None,
    max_queries: options.MaxQueries = 10_000,
    seed: options.Seed = 0,
    out: Annotated[Path | None, about("The calibration's file, .json.")] = None,
    json: options.Json = False,
) -> None:
    """What score means a match, at a stated false-match rate, judged on held-out queries.

    Example: isthmus calibrate images.npy captions.npy --false-match-rate 0.01 --out match.json
    """
    check_output(out, "a calibration", ".json")
    with options.asked(im.calibrate, locals()) as given:
        found = im.calibrate(**given)
    if out is not None:
        found.save(out)
    files = {"queries_file": queries, "candidates_file": candidates}
    result = {**files, "out": None if out is None else str(out), **found.to_dict()}
    screen = console(as_json=json)
    print_warnings([w for w in result["warnings"] if is_broken(w)], screen)
    for line in sentences(result):
        screen.print(line, width=min(screen.width, 80))
    if json:
        print_json(result)


def sentences(result: dict[str, Any]) -> list[str]:
    """What to use, the table of thresholds, then what a person needs to hear of them."""
    through = f", through {result['closer']}" if result["closer"] else ""
    scale = " (scores are -distance)" if result["score"] == "euclidean" else ""
    many, rate = result["distinct_candidates"], result["false_match_rate"]
    kinds = [_use(part, f"kind '{part['kind']}'", many, rate) for part in result["kinds"]]
    every = "every kind together" if kinds else "every query"
    use = _use(_of_all(result), every, many, rate) + _single(result)
    lines = [*kinds, use, *_table(result), ""]
    lines += [
        f"{result['queries']} queries, {result['candidates']} candidates, by {result['score']}"
        f"{through}{scale}; fitted on {result['fit_queries']} queries, judged on the other "
        f"{result['held_out_queries']}",
        f"non-matching pairs score {_mean(result['pair']['null'])}; the best of "
        f"{many} of them {_mean(result['search']['null'])}"
        + (f"; matches {_mean(result['match'])}" if result["match"] else ""),
    ]
    for side in ("queries", "candidates"):
        repeats = result[side] - result[f"distinct_{side}"]
        if repeats:
            lines.append(f"{repeats} of {result[side]} {side} repeat another row: each counts once")
    apart = result["separation"]
    if apart is not None:
        ends = apart["auc_ci"]
        lines.append(
            f"AUC {apart['auc']:.4f}"
            + (f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else "")
            + f", d' {apart['d_prime']:.2f}"
        )
    lines += [_threshold(result, "pair"), _threshold(result, "search")]
    lines.append(
        "a false match in "
        f"{result['pair']['held_out']['searches_with_false_match']:.1%} of the searches at the "
        f"threshold per pair; threshold per search by number of candidates: "
        + ", ".join(
            f"{p['candidates']}: {p['threshold']:.4g}"
            for p in result["search"]["by_candidates"]
            if p["candidates"] in (1, 10, 100, 1000, 10_000, 100_000, many)
        )
    )
    for side, part in result["same_modality"].items():
        if part is not None:
            lines.append(
                f"{side} among themselves score {_mean(part['null'])}: threshold "
                f"{part['threshold']:.4g}, and {part['above_cross_threshold']:.1%} lie above the "
                "one per pair"
            )
    lines += [f"WARNING: {w['text']}" for w in result["warnings"] if not is_broken(w)]
    return lines + ([f"wrote {result['out']}"] if result["out"] else [])


def _of_all(result: dict[str, Any]) -> dict[str, Any]:
    counts = {name: result[name] for name in ("fit_queries", "held_out_queries")}
    return counts | result["search"]


def _use(part: dict[str, Any], who: str, many: int, rate: float) -> str:
    """The threshold to use, or why there is none and which rate these queries can tell."""
    threshold, fitted = f"{part['threshold']:.4g}", part["fit_queries"]
    if part["resolved"]:
        return (
            f"Use {threshold} for {who}: a query's best candidate of {many} is a match if its "
            f"score is above {threshold}."
        )
    strictest = float(f"{1.006 / (fitted + 1):.2e}")  # rounded up: as asked for, it is told
    return (
        f"No threshold for {who} at {_percent(rate)} false matches: that needs "
        f"{2 * math.ceil(1 / rate - 1 - 1e-9):,} queries, half to fit on and half held out, and "
        f"there are {fitted + part['held_out_queries']:,}. The strictest rate that these can tell "
        f"is {_percent(strictest)}, threshold {threshold}: --false-match-rate {strictest:g}."
    )


def _single(result: dict[str, Any]) -> str:
    """Where no threshold for searches can be told: that there is one for pairs, which are more."""
    if result["search"]["resolved"] or not result["pair"]["resolved"]:
        return ""
    return f" A single pair by itself is a match above {result['pair']['threshold']:.4g}."


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _table(result: dict[str, Any]) -> list[str]:
    """Precision, recall and false matches over thresholds, at most 80 columns wide."""
    lines = ["", " false match  threshold   held out (95 % interval)    precision   recall"]
    for part in result["table"]:
        low, high = part["false_match_rate_ci"]
        held = f"{part['false_match_rate']:.2%} ({low:.2%} to {high:.2%})"
        found = "".join(
            f"{'-' if part[name] is None else format(part[name], '.1%'):>{width}}"
            for name, width in (("precision", 9), ("recall", 9))
        )
        here = "*" if part["stated"] == result["false_match_rate"] else " "
        lines.append(
            f"{here}{_percent(part['stated']):>12}  {part['threshold']:>9.4g}   {held:<27}{found}"
        )
    return [*lines, "(first answers of held-out queries; * is the rate asked for)"]


def _mean(part: dict[str, Any]) -> str:
    return f"{part['mean']:.3f} ± {part['std']:.3f}"


def _threshold(result: dict[str, Any], per: str) -> str:
    part = result[per]
    low, high = ("beyond the sample" if e is None else f"{e:.4g}" for e in part["threshold_ci"])
    judged = part["held_out"]
    ends = judged["false_match_rate_ci"]
    words = (
        f"per {per}: a match scores above {part['threshold']:.4g} ({low} to {high}) at a "
        f"false-match rate of {result['false_match_rate']:g}; held out it let "
        f"{judged['false_match_rate']:.3%} by ({ends[0]:.3%} to {ends[1]:.3%})"
    )
    if judged["match_rate"] is not None:
        low, high = judged["match_rate_ci"]
        words += f" and found {judged['match_rate']:.1%} of the matches ({low:.1%} to {high:.1%})"
    return words

"""``isthmus stress``: closers × perturbations × levels × seeds, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, check_output, split_words
from isthmus.cli.output import console, print_json


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    paired: options.Paired = None,
    labels: options.Labels = None,
    relevance: options.Relevance = None,
    query_items: options.QueryItems = None,
    candidate_items: options.CandidateItems = None,
    score: options.Score = "cosine",
    closers: Annotated[
        str, about("Closers besides plain search, separated by commas.")
    ] = "orthogonal-shift,biased-shift,center-queries,center-both,ridge-shift,mean-shift,centering",
    strengths: Annotated[
        str | None, about("Strengths, such as 0.5,1; default each closer's own.")
    ] = None,
    perturb: options.Perturb = "gaussian",
    levels: options.Levels = "0.005,0.022,0.04",
    kept: Annotated[str, about("Dimensions that cuts keep, or shares below 1.")] = "0.5,0.25",
    targets: Annotated[
        str, about("What is perturbed: candidates, queries, both, shared.", "--targets", "--sides")
    ] = "candidates",
    convention: options.Convention = None,
    calibration: Annotated[
        str | None, about("Rows codecs are fitted on: own, other or union.")
    ] = None,
    rescored: options.Rescored = 0,
    trials: options.Trials = None,
    seeds: Annotated[int, about("Seeds 0, 1 … of noise and splits.")] = 1,
    controls: Annotated[
        bool, about("Also close along random, shuffled, flipped vectors …", "--controls")
    ] = False,
    fit_share: options.FitShare = 0.0,
    max_queries: options.MaxQueries = 2000,
    max_candidates: options.MaxCandidates = 10_000,
    engine: options.Engine = None,
    out: Annotated[
        Path | None, about("The table, .parquet or .json; a killed run goes on.")
    ] = None,
    page: Annotated[Path | None, about("The table drawn: one offline page, .html.")] = None,
    json: options.Json = False,
) -> None:
    """Will the answers change? Closers × perturbations × levels × seeds, as a table.

    Example: isthmus stress images.npy captions.npy --perturb gaussian,rabitq --out stress.parquet
    """
    from isthmus.report.table import print_warnings

    check_output(page, "a page", ".html", option="--page")
    several = {"perturb": split_words(perturb), "targets": split_words(targets)}
    with options.asked(im.stress, locals(), **several) as given:
        table = im.stress(**given)
    screen = console(as_json=json)
    print_warnings([warning.to_dict() for warning in table.warnings], screen)
    print_rows(table.averaged(), screen)
    for note in table.notes:
        screen.print(f"note: {note}")
    if out is not None:
        screen.print(f"Wrote {len(table.rows())} rows to {out}.")
    if json:
        print_json(table.rows())
    if page is not None:  # last: everything else is out, should it fail
        screen.print(f"Wrote {table.save(page)}.")


GAIN_LEGEND = (
    "* gain: how much more consistent than none, plain search by the same score, under the same\n"
    "draws. Agreement: with what you get today, undisturbed plain search."
)


def print_rows(rows: list[dict[str, Any]], screen: Any) -> None:
    """The table for people: one line per closer, strength and perturbation, averaged over seeds.

    Where a law gave the number, the column of predictions does not repeat it.
    """
    from rich.table import Table

    from isthmus.report.words import closer_label

    gallery = any(row.get("gallery_consistency") is not None for row in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, right in (
        ("closer", 0),
        ("score", 0),
        ("perturbation", 0),
        ("consis-\ntency", 1),
        ("pre-\ndicted", 1),
        ("gain on\nnone*", 1),
        *((("all", 1), ("all: gain\non none*", 1)) if gallery else ()),
        ("agree-\nment", 1),
        ("clean\nagr.", 1),
        ("accu-\nracy", 1),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in rows:

        def mean(name: str, row: dict[str, Any] = row, sign: str = "") -> str:
            return "" if row.get(name) is None else f"{row[name]:{sign}.3f}"

        level = f" {row['level']:g}" if row["level"] != 1 else ""
        side = "" if row["side"] == "candidates" else f" on {row['side']}"
        table.add_row(
            *closer_label(row),
            f"{row['family']}{level}{side}",
            mean("consistency"),
            "by law" if row.get("by") == "law" else mean("predicted_consistency"),
            mean("gain", sign="+"),
            *((mean("gallery_consistency"), mean("gallery_gain", sign="+")) if gallery else ()),
            mean("agreement"),
            mean("clean_agreement"),
            mean("accuracy"),
        )
    screen.print(table)
    screen.print(GAIN_LEGEND)

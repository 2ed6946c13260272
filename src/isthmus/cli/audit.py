"""``isthmus audit``: both directions measured, stressed and advised, as a page and files."""

from __future__ import annotations

from json import loads
from pathlib import Path
from typing import Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import INPUT, about, argument
from isthmus.cli.output import console, print_json, say_where


def command(
    a: Annotated[str, argument("A", f"First modality: {INPUT}.")],
    b: Annotated[str, argument("B", "Second modality, likewise.")],
    names: Annotated[str, about("What the two are called.")] = "image,text",
    paired: options.Paired = None,
    labels: Annotated[
        str | None, about("B holds class texts; this file has one integer per row of A.")
    ] = None,
    relevance: Annotated[str | None, about("Two columns of integers: row of A, row of B.")] = None,
    query_items: options.QueryItems = None,
    candidate_items: options.CandidateItems = None,
    score: options.Score = "cosine",
    levels: options.Levels = "0.005,0.022,0.04",
    convention: options.Convention = None,
    trials: options.Trials = None,
    floor: options.Floor = 1.0,
    fit_share: options.FitShare = 0.0,
    max_queries: options.MaxQueries = 2000,
    max_candidates: options.MaxCandidates = 10_000,
    neighbours: Annotated[
        str | None,
        about(
            "What a store returned for the rows of A: query row, candidate row or id, score "
            "(.parquet, .csv). B then holds 10,000 or more random rows of its gallery."
        ),
    ] = None,
    gallery_rows: Annotated[int | None, about("Rows of that gallery; left out: estimated.")] = None,
    disturbed_queries: options.Disturbed = None,
    disturbed_candidates: options.Disturbed = None,
    seed: options.Seed = 0,
    engine: options.Engine = None,
    out: Annotated[Path, about("Folder for reports and closers.")] = Path("isthmus-report"),
    verbose: options.Verbose = False,
    json: options.Json = False,
) -> None:
    """Measure the gap, stress the answers, recommend a closing.

    Writes report.json, report.html and the recommended closer of each direction.

    Example: isthmus audit images.npy captions.npy --names image,text --out report
    """
    from isthmus.data.atomic import output_folder, refuse_unwritable
    from isthmus.report.table import print_summary
    from isthmus.report.words import judged_on_a_code

    refuse_unwritable(out, folder=True)
    with options.asked(im.audit, locals()) as given:
        result = im.audit(**given)
    other = other_inputs(out, result.report)
    output_folder(out)  # whatever its name, it is a folder
    result.save(out)
    screen = console(as_json=json)
    print_summary(result.report, screen, verbose=verbose)
    if other:
        screen.print(f"Replaced the report of other inputs there: {other}.", soft_wrap=True)
    coded = any(map(judged_on_a_code, result.report.get("directions") or []))
    say_where(screen, out, closers=bool(result.closers), coded=coded, verbose=verbose)
    if json:
        print_json(result.report)


def other_inputs(out: Path, report: dict[str, Any]) -> str:
    """``a.npy and b.npy`` where ``out`` holds a report of them and these are not they; else empty.

    Files are told apart by what is in them where both reports have a digest, else by their names.
    """
    try:
        held = loads((out / "report.json").read_text(encoding="utf-8"))["inputs"]
        sides = [(held[side], report["inputs"][side]) for side in ("a", "b")]
        same = all(
            old["sha256"] == new["sha256"]
            if old["sha256"] and new["sha256"]
            else old["source"] == new["source"]
            for old, new in sides
        )
        return "" if same else " and ".join(str(old["source"]) for old, _ in sides)
    except (OSError, ValueError, LookupError, TypeError):  # none there, or not ours
        return ""

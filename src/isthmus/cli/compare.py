"""``isthmus compare``: are two versions of the same vectors interchangeable?"""

from __future__ import annotations

from typing import Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import INPUT, about, argument
from isthmus.cli.output import console, print_json
from isthmus.report.table import print_warnings
from isthmus.report.words import is_broken

GATE_FAILED = 3


def command(
    before: Annotated[str, argument("BEFORE", f"Query rows: {INPUT}.")],
    after: Annotated[str, argument("AFTER", "Their new version; row i is the same item.")],
    candidates: options.Candidates,
    after_candidates: Annotated[
        str | None, about("The candidates' new version: old and new queries meet old and new.")
    ] = None,
    max_flips: Annotated[
        float, about("Limit of the share of changed answers; above it, exit code 3.")
    ] = 0.01,
    gate: Annotated[
        str,
        about(
            "Which search the limit is for (queries' version first): new-old, old-new, "
            "new-new, or worst of those measured."
        ),
    ] = "worst",
    query_items: options.QueryItems = None,
    candidate_items: options.CandidateItems = None,
    score: options.Score = "cosine",
    labels: options.Labels = None,
    relevance: options.Relevance = None,
    paired: Annotated[bool, about("Query i's right answer is candidate i.", "--paired")] = False,
    k: Annotated[int, about("Depth of the overlap.", "--k")] = 10,
    max_queries: options.MaxQueries = 2000,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Are two versions of the same vectors interchangeable? Exit code 3: too many answers flip.

    Exported queries: BEFORE AFTER CANDIDATES. An exported gallery: QUERIES QUERIES BEFORE
    --after-candidates AFTER.

    Example: isthmus compare images.npy images-int8.npy captions.npy --max-flips 0.01
    """
    with options.asked(im.compare, locals()) as given:
        found = im.compare(**given)
    result = {
        "before": before,
        "after": after,
        "candidates_file": candidates,
        "after_candidates_file": after_candidates,
        **found.result,
    }
    screen = console(as_json=json)
    print_warnings([w for w in result["warnings"] if is_broken(w)], screen)
    for line in sentences(result):
        screen.print(line)
    if json:
        print_json(result)
    if found.exceeded:
        raise SystemExit(GATE_FAILED)


def sentences(result: dict[str, Any]) -> list[str]:
    """What a person needs to hear of two versions."""
    from isthmus.deploy.comparison.answers import verdict

    paired = result["paired"]
    lines = [
        f"{result['rows']} queries ({_dtypes(result)}) of {result['dim']} dimensions, "
        f"{result['candidates']} candidates, by {result['score']}",
        *_rows("queries", paired),
    ]
    if result["paired_candidates"] is not None:
        lines += _rows("candidates", result["paired_candidates"])
    else:
        lines.append(
            "candidates: the same before and after; only queries were exchanged (an exported "
            "gallery goes with --after-candidates)"
        )
    lines += [f"WARNING: {w['text']}" for w in result["warnings"] if not is_broken(w)]
    searches = {name: part for name, part in result["searches"].items() if name != "old-old"}
    same_queries = not paired["error"]["largest"]
    if same_queries and len(searches) == 3:  # two of the three would say the same
        searches = {"old-new": searches["old-new"]}
    lines += [_search(name, part) for name, part in searches.items()]
    if result["accuracy"] is not None:
        lines += _accuracy(result["accuracy"])
    return [*lines, verdict(result["gate"], result["searched"])]


def _rows(what: str, part: dict[str, Any]) -> list[str]:
    """How far the rows of one side moved."""
    if not part["error"]["largest"]:
        return [f"all {what} are the same numbers"]
    if part["norm_ratio"] is None:
        return [f"{what}: each pair has a zero row, so there is no cosine"]
    cosine, apart, shift = part["cosine"], part["cosine_distance"], part["mean_shift"]
    worst = ", ".join(f"row {_named(w)} {w['cosine']:.6f}" for w in part["worst"][:3])
    along = shift["along_gap"]
    return [
        f"{what}: paired cosine median {cosine['q50']:.6f} (1 - cosine {apart['q50']:.2g}, 95 % "
        f"below {apart['q95']:.2g}), lowest {worst}; {part['identical_rows']} the same numbers",
        f"{what}: norm ratio median {part['norm_ratio']['q50']:.4f}; mean shift "
        f"{shift['norm']:.3g}, {shift['share']:.1%} of the squared error"
        + (
            ""
            if along is None
            else f" ({along:.1%} of it along the gap, {shift['by_chance']:.1%} by chance)"
        ),
    ]


def _named(row: dict[str, Any]) -> str:
    return str(row["row"]) if row["id"] is None else f"{row['row']} (id {row['id']})"


def _dtypes(result: dict[str, Any]) -> str:
    dtypes = result["dtypes"]
    return f"{dtypes['before']} before, {dtypes['after']} after"


def _search(name: str, part: dict[str, Any]) -> str:
    queries, candidates = name.split("-")
    sure = part["certified"]
    low, high = part["flip_rate_ci"]
    median = (sure["error_over_radius"]["flipped"] or {}).get("q50")
    words = (
        f"{queries} queries in {candidates} candidates: {part['flips']} of {part['queries']} "
        f"answers flipped, {part['flip_rate']:.2%} ({low:.2%} to {high:.2%}), and "
        f"{part['near_ties']} near ties; overlap at {part['k']} "
        f"{part['overlap_at_k']:.4f}; {sure['share']:.1%} of the answers cannot flip, "
        f"by the size of the error alone"
    )
    if sure["flips"]:
        return words + f"; {sure['flips']} of them did, which should not be: report this"
    if median is not None:
        words += f"; flipped ones moved a median {median:.3g} times their radius, the least move "
        words += "that can flip them"
    if part["random_error_flip_rate"]:
        words += f"; random errors as long flip {part['random_error_flip_rate']:.2%}"
    return words


def _accuracy(accuracy: dict[str, Any]) -> list[str]:
    old, judged = accuracy["old-old"]["accuracy"], accuracy["judged"]
    return [
        f"accuracy {name}: {old:.4f} before, {part['accuracy']:.4f} after, on {judged} judged "
        f"queries ({part['lost']} lost, {part['won']} won, McNemar p = {part['mcnemar_p']:.3g})"
        for name, part in accuracy.items()
        if name not in ("judged", "old-old")
    ]

"""The body of ``isthmus compare``."""

from __future__ import annotations

from typing import Any

from isthmus.cli.words import console, print_json, progress_bar
from isthmus.data import open_rows, read_labels, read_relevance
from isthmus.data.embeddings import decide_paired
from isthmus.deploy.comparison import compare
from isthmus.errors import OptionError
from isthmus.search.relevance import (
    Relevance,
    relevance_by_judgements,
    relevance_by_labels,
    relevance_by_pairs,
)

GATE_FAILED = 3


def run(
    before: str,
    after: str,
    candidates: str,
    *,
    after_candidates: str | None,
    labels: str | None,
    relevance: str | None,
    paired: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Read both versions, compare, print; leaves with 3 where the flip rate is above the limit."""
    with progress_bar() as say:
        rows = []
        for done, file in enumerate((before, after, candidates)):
            rows.append(open_rows(file).read())
            say("reading", done + 1, 3)
        new_pool = None if after_candidates is None else open_rows(after_candidates).read()
        truth = truth_of(labels, relevance, paired, len(rows[0]), len(rows[2]))
        found = compare(*rows, after_candidates=new_pool, truth=truth, progress=say, **options)
    result = {
        "before": before,
        "after": after,
        "candidates_file": candidates,
        "after_candidates_file": after_candidates,
        **found.result,
    }
    screen = console(as_json=as_json)
    for line in sentences(result):
        screen.print(line, markup=False)
    if as_json:
        print_json(result)
    if found.exceeded:
        raise SystemExit(GATE_FAILED)


def truth_of(
    labels: str | None, relevance: str | None, paired: bool | None, n: int, m: int
) -> Relevance | None:
    """What the options say is right; None where they say nothing.

    Raises:
        OptionError: two of them at once.
    """
    if (labels is not None) + (relevance is not None) + bool(paired) > 1:
        raise OptionError(
            "more than one of --labels, --relevance and --paired was given; expected one of them: "
            "it says what is right"
        )
    if labels is not None:
        return relevance_by_labels(read_labels(labels), n, m)
    if relevance is not None:
        return relevance_by_judgements(read_relevance(relevance), n, m)
    if paired:
        decide_paired("before", n, "candidates", m, True)
        return relevance_by_pairs(n, m)
    return None


def sentences(result: dict[str, Any]) -> list[str]:
    """What a person needs to hear of two versions."""
    paired = result["paired"]
    lines = [
        f"{result['rows']} rows of {result['dim']} dimensions ({_dtypes(result)}), "
        f"{result['candidates']} candidates, by {result['score']}",
        *_rows("rows", paired),
    ]
    if result["paired_candidates"] is not None:
        lines += _rows("candidates", result["paired_candidates"])
    lines += [f"WARNING: {w['text']}" for w in result["warnings"]]
    lines += [_search(name, part) for name, part in result["searches"].items() if name != "old-old"]
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
    worst = ", ".join(f"row {w['row']} {w['cosine']:.6f}" for w in part["worst"][:3])
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


def _dtypes(result: dict[str, Any]) -> str:
    told = result["dtypes"]
    return f"{told['before']} before, {told['after']} after"


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
        words += f"; flipped ones moved a median {median:.3g} times their radius"
    if part["random_error_flip_rate"]:
        words += f"; random errors as long flip {part['random_error_flip_rate']:.2%}"
    return words


def _accuracy(told: dict[str, Any]) -> list[str]:
    lines = []
    for name, part in told.items():
        if name in ("judged", "old-old"):
            continue
        lines.append(
            f"accuracy {name}: {told['old-old']['accuracy']:.4f} before, {part['accuracy']:.4f} "
            f"after, on {told['judged']} judged queries ({part['lost']} lost, {part['won']} won, "
            f"McNemar p = {part['mcnemar_p']:.3g})"
        )
    return lines


def verdict(gate: dict[str, Any], count: int) -> str:
    """The gate in one sentence: it is held against the point estimate."""
    low, high = gate["rate_ci"]
    words = (
        f"{gate['search']} flips {gate['rate']:.2%} ({low:.2%} to {high:.2%}), limit "
        f"{gate['limit']:.2%} on the point estimate: "
        f"{'ABOVE THE LIMIT' if gate['exceeded'] else 'within the limit'}"
    )
    if gate["verdict"] == "undecided":
        more = gate["rows_to_decide"]
        words += f"; undecided at n = {count}, the interval holds the limit"
        if more is not None:
            words += f" (about {more} queries would decide if the rate stays)"
    return words

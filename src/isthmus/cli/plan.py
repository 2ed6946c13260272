"""``isthmus plan``: how few bytes a vector needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about
from isthmus.cli.output import console, print_json

if TYPE_CHECKING:
    from isthmus.workflows.storage import StorageLine, StoragePlan

SHOWN = 12
"""Codes in the table; all are in the file."""


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    target: Annotated[float, about("Share of answers to keep on queries not seen before.")] = 0.95,
    measure: Annotated[
        str, about("agreement: the first answer is exact search's; recall: of its k best.")
    ] = "agreement",
    k: Annotated[int, about("Answers that recall counts.", "--k")] = 10,
    score: options.Score = "cosine",
    query_items: options.QueryItems = None,
    candidate_items: options.CandidateItems = None,
    codecs: Annotated[
        str | None, about("Codes to try, separated by commas: sign,rabitq4,pq32x8 …")
    ] = None,
    closers: Annotated[str | None, about("Closings to try, separated by commas.")] = None,
    depths: Annotated[str | None, about("Rescoring depths to try, 0 for none: 0,10,50.")] = None,
    max_queries: options.MaxQueries = 2000,
    max_candidates: options.MaxCandidates = 10_000,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None, about("All that was tried: .json, or .parquet (the table).")
    ] = None,
    json: options.Json = False,
) -> None:
    """The smallest code and rescoring depth that keep a target share of the answers.

    Example: isthmus plan captions.npy images.npy --target 0.95
    """
    from isthmus.report.table import PIPE_WIDTH, plain_text, print_warnings

    options.check_output(out, "a plan", ".json", ".parquet")
    with options.asked(im.plan, locals()) as given:
        found = im.plan(**given)
    if out is not None:
        found.save(out)
    screen = console(as_json=json)
    print_warnings([w.to_dict() for w in found.warnings], screen, PIPE_WIDTH)
    for line in sentences(found):
        screen.print(plain_text(line, width=PIPE_WIDTH))
    for line in table(found):
        screen.print(line)
    if out is not None:
        screen.print(f"wrote {out}")
    if json:
        files: dict[str, Any] = {"queries_file": queries, "candidates_file": candidates}
        print_json({**files, "out": None if out is None else str(out), **found.to_dict()})


def sentences(found: StoragePlan) -> list[str]:
    """What a person needs to hear of a plan, the choice first."""
    setup, best = found.setup, found.best
    asked = "first answers" if found.measure == "agreement" else f"{found.k} best answers"
    floats = setup["float_bytes"]
    if best is None:
        lines = [
            f"No code tried is shown to keep {found.target:.4g} of the {asked} on queries not seen "
            f"before: stay with float vectors, {floats} bytes each."
        ]
        if setup["queries"] < found.enough_queries:
            lines.append(
                f"{setup['queries']} queries are too few to show it of any code: give "
                f"{found.enough_queries} or more."
            )
    else:
        lines = [
            f"Store {_named(best)}, {best.bytes_per_vector:g} bytes a vector instead of {floats}: "
            f"{_searched(best)}. It kept {best.test:.1%} of the {asked} on "
            f"{setup['test_queries']} queries not seen before (95 % interval {best.test_lo:.1%} to "
            f"{best.test_hi:.1%}); asked for {found.target:.4g}."
        ]
        by_code = [x for x in (found.plain_by_code, found.closed_by_code) if x is not None]
        least = min(by_code, key=lambda x: x.bytes_per_vector, default=None)
        lines.append(
            "Without rescoring no code tried is shown to keep that."
            if least is None
            else f"Without rescoring: {_named(least)}, {least.bytes_per_vector:g} bytes, "
            f"{least.test:.1%}."
        )
        if best.depth:
            lines.append(f"Rescoring reads float vectors, which stay on disk: {floats} bytes each.")
    lines.append(_size(setup))
    return lines + [f"Not tried: {name} ({why})." for name, why in found.left_out]


def _named(line: StorageLine) -> str:
    return line.codec if line.closer == "none" else f"{line.codec} after {line.closer}"


def _searched(line: StorageLine) -> str:
    if not line.depth:
        return "search by code alone"
    return f"take the best {line.depth} by code and rank those again by float vectors"


def _size(setup: dict[str, Any]) -> str:
    """What the number of candidates means for the figures."""
    if setup["all_candidates"] > setup["candidates"]:
        return (
            f"Measured among {setup['candidates']} of {setup['all_candidates']} candidates. A "
            "sample is easier than the whole, where more rivals stand near: raise "
            "--max-candidates or --target before you rely on it."
        )
    return (
        f"Measured among {setup['candidates']} candidates. More of them are harder, because more "
        "rivals stand near: plan again when they have grown."
    )


def table(found: StoragePlan) -> list[str]:
    """A line per code: the smallest depth that reaches the target, as it is and with a closing."""
    names = list(dict.fromkeys(line.codec for line in found.lines))
    lines = [
        f"{'':<12}{'as it is':^25}  {'with a closing':^25}",
        f"{'code':<12}" + 2 * f"{'bytes':>7}{'rescore':>9}{'kept':>9}  ".rstrip() + "  closing",
    ]
    for name in names[:SHOWN]:
        plain, closed = (
            _shown([x for x in found.lines if x.codec == name and (x.closer == "none") == says])
            for says in (True, False)
        )
        lines.append(f"{name:<12}{plain[0]}{closed[0]}  {closed[1]}".rstrip())
    lines += [
        "rescore: smallest depth that reaches the target on validation queries, no: none",
        "does; kept: on the others.",
    ]
    more = len(names) - SHOWN
    return lines + ([f"and {more} more codes, in --out FILE"] if more > 0 else [])


def _shown(lines: list[StorageLine]) -> tuple[str, str]:
    """Bytes, depth and share kept of the smallest line that meets the target, else of the best."""
    if not lines:
        return f"{'-':>7}{'-':>9}{'-':>9}", ""
    line = next((x for x in lines if x.meets), None)
    depth = "no" if line is None else str(line.depth or "-")
    line = line or max(lines, key=lambda x: x.validation)
    return f"{line.bytes_per_vector:>7g}{depth:>9}{line.test:>9.1%}", line.closer

"""``isthmus stress``: closers × perturbations × levels × seeds, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli import options
from isthmus.cli.audit import open_both
from isthmus.cli.options import check_suffix, split_numbers, split_words
from isthmus.cli.output import console, print_json, progress_bar
from isthmus.errors import OptionError

FITTED_ON = {
    "pairs": "it is fitted on the scored queries' pairs; give paired rows and no --fit-share",
    "query_rows": "it is fitted on rows of the scored queries; give no --fit-share",
}
"""Why a closer that needs more than moments (``NEEDS``) was not fitted."""


def command(
    queries: options.Queries,
    candidates: options.Candidates,
    paired: options.Paired = None,
    labels: options.Labels = None,
    relevance: options.Relevance = None,
    score: options.Score = "cosine",
    closers: Annotated[
        str, typer.Option(help="Closers besides plain search, separated by commas.")
    ] = "orthogonal-shift,biased-shift,center-queries,center-both,ridge-shift,mean-shift,centering",
    strengths: Annotated[
        str | None, typer.Option(help="Strengths, such as 0.5,1; default each closer's own.")
    ] = None,
    perturb: options.Perturb = "gaussian",
    levels: options.Levels = "0.005,0.022,0.04",
    kept: Annotated[
        str, typer.Option(help="Dimensions that cuts keep, or shares below 1.")
    ] = "0.5,0.25",
    targets: Annotated[
        str,
        typer.Option(
            "--targets", "--sides", help="What is perturbed: candidates, queries, both, shared."
        ),
    ] = "candidates",
    convention: options.Convention = "total",
    calibration: Annotated[
        str | None, typer.Option(help="Rows codecs are fitted on: own, other or union.")
    ] = None,
    rescored: Annotated[
        int, typer.Option(help="Codecs: so many of the best by code are ranked again in float.")
    ] = 0,
    trials: options.Trials = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1 … of noise and splits.")] = 1,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Also close along random, shuffled, flipped vectors …"),
    ] = False,
    fit_share: options.FitShare = 0.0,
    max_queries: options.MaxQueries = 2000,
    max_candidates: options.MaxCandidates = 10_000,
    out: Annotated[
        Path | None, typer.Option(help="The table, .parquet or .json; a killed run goes on.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="The table drawn: one offline page, .html.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Will the answers change? Closers × perturbations × levels × seeds, as a table.

    Example: isthmus stress images.npy captions.npy --perturb gaussian,rabitq --out stress.parquet
    """
    from isthmus.closers.many import fit_many
    from isthmus.robustness import averaged, perturbations_of, reseeded, run_grid
    from isthmus.workflows.audits.direction import task_of, trials_for
    from isthmus.workflows.audits.options import AuditOptions

    if seeds < 1:
        raise OptionError("bad-number", f"--seeds {seeds}; expected at least 1")
    check_suffix(page, ".html", "a page", "--page")
    opts = AuditOptions(
        names=("queries", "candidates"),
        paired=paired,
        score=score,
        levels=split_numbers(levels),
        convention=convention,
        fit_share=fit_share,
        max_queries=max_queries,
        max_candidates=max_candidates,
    )
    perturbations = perturbations_of(
        split_words(perturb),
        levels=opts.levels,
        kept=split_numbers(kept, "--kept", "dimensions to keep, or shares below 1"),
        sides=_targets(targets),
        convention=convention,
        calibration=calibration,
        rescored=rescored,
    )
    asked = split_words(closers)
    with progress_bar() as say:
        opened = open_both(queries, candidates, labels, relevance, opts, say)
        first, moments = task_of(opened, True, opts)
        fitted = fit_many(
            asked,
            moments,
            opened.moments_b,
            score=opts.score,
            strengths=None if strengths is None else _strengths(strengths),
            normalised=opts.unit_rows,
            # both are of the queries that are scored, which --fit-share keeps out of the fit
            pairs=None if opts.fit_share else opened.pair,
            query_rows=None if opts.fit_share else first.queries[first.query_calibration],
            with_controls=controls,
            seed=opts.seed,
        )
        tasks = {
            seed: first if seed == opts.seed else reseeded(first, seed) for seed in range(seeds)
        }
        count = trials or trials_for(len(first.queries), len(first.candidates))
        rows = run_grid(
            tasks,
            fitted,
            perturbations,
            trials=count,
            control_trials=max(1, count // 3),
            out=out,
            say=lambda done, of: say("stress", done, of),
        )
    screen = console(as_json=json)
    print_rows(rows, screen)
    for note in (*left_out(asked, rows), *range_notes(rows)):
        screen.print(note)
    if out is not None:
        screen.print(f"Wrote {len(rows)} rows to {out}.")
    if json:
        print_json(rows)
    if page is not None:  # last: everything else is out, should it fail
        from isthmus.report.stress_page import write_stress_page

        called = {"queries": Path(queries).stem, "candidates": Path(candidates).stem}
        write_stress_page(page, averaged(rows), **called)
        screen.print(f"Wrote {page}.")


def print_rows(rows: list[dict[str, Any]], screen: Any) -> None:
    """The table for people: one line per closer, strength and perturbation, averaged over seeds."""
    from rich.table import Table

    from isthmus.report.words import closer_label
    from isthmus.robustness import averaged

    table = Table(box=None, pad_edge=False)
    for name, right in (
        ("closer", 0),
        ("score", 0),
        ("perturbation", 0),
        ("consistency", 1),
        ("predicted", 1),
        ("gain", 1),
        ("clean", 1),
        ("accuracy", 1),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for row in averaged(rows):

        def mean(name: str, row: dict[str, Any] = row, sign: str = "") -> str:
            return "" if row.get(name) is None else f"{row[name]:{sign}.3f}"

        level = f" {row['level']:g}" if row["level"] != 1 else ""
        side = "" if row["side"] == "candidates" else f" on {row['side']}"
        table.add_row(
            *closer_label(row),
            f"{row['family']}{level}{side}",
            mean("consistency"),
            mean("predicted_consistency"),
            mean("gain", sign="+"),
            mean("clean_agreement"),
            mean("accuracy"),
        )
    screen.print(table)


def left_out(asked: list[str], rows: list[dict[str, Any]]) -> list[str]:
    """A line for every closer that was asked for and could not be fitted."""
    from isthmus.closers import NEEDS

    shown = {row["closer"] for row in rows}
    return [
        f"note: {name} is left out: {FITTED_ON[NEEDS[name]]}"
        for name in asked
        if name in NEEDS and name not in shown
    ]


def range_notes(rows: list[dict[str, Any]]) -> list[str]:
    """A line for every codec and closer whose ranges do not fit the rows that are stored."""
    from isthmus.perturb.codecs.lint import OUTSIDE_VALUES

    found = {
        (row["family"], row["closer"], row["score"]): row["codec_outside"]
        for row in rows
        if row.get("codec_outside", 0) > OUTSIDE_VALUES
    }
    return [
        f"note: {family}, {closer} by {score}: {outside:.1%} of the stored values lie outside the "
        "ranges it was fitted on and saturate; fit them on rows like these (--calibration)"
        for (family, closer, score), outside in found.items()
    ]


def _strengths(text: str) -> tuple[float, ...]:
    return split_numbers(text, "--strengths", "numbers, such as 0.5,1", signed=True)


def _targets(text: str) -> Any:
    from isthmus.robustness import TARGETS

    named = split_words(text)
    if not named or set(named) - set(TARGETS):
        raise OptionError(
            "unknown-target", f"--targets {text}: expected some of {', '.join(TARGETS)}"
        )
    return tuple(named)

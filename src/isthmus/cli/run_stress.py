"""The body of ``isthmus stress``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.cli.run_audit import numbers, sides_of
from isthmus.cli.words import console, print_json, progress_bar
from isthmus.closers import NEEDS
from isthmus.closers.many import fit_many
from isthmus.errors import OptionError
from isthmus.perturb.codecs.lint import OUTSIDE_VALUES
from isthmus.report.words import player
from isthmus.robustness import TARGETS, averaged, perturbations_of, reseeded, run_grid
from isthmus.workflows.audits.direction import problem_of, trials_for
from isthmus.workflows.audits.options import AuditOptions

FITTED_ON = {
    "pairs": "it is fitted on the scored queries' pairs; give paired rows and no --fit-share",
    "query_rows": "it is fitted on rows of the scored queries; give no --fit-share",
}
"""Why a closer that needs more than moments (``NEEDS``) was not fitted."""


def run(
    queries: str,
    candidates: str,
    *,
    labels: str | None,
    relevance: str | None,
    closers: str,
    strengths: str | None,
    perturb: str,
    levels: str,
    kept: str,
    sides: str,
    convention: str,
    calibration: str | None,
    rescored: int,
    trials: int | None,
    seeds: int,
    controls: bool,
    out: Path | None,
    page: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit, perturb, search, count: the stress table of one direction."""
    if seeds < 1:
        raise OptionError(f"--seeds {seeds}; expected at least 1")
    if page is not None and page.suffix.lower() != ".html":
        raise OptionError(f"--page {page}: expected a file name that ends in .html")
    opts = AuditOptions(
        names=("queries", "candidates"), levels=numbers(levels), convention=convention, **options
    )
    perturbations = perturbations_of(
        words(perturb),
        levels=opts.levels,
        kept=numbers(kept, "--kept", "dimensions to keep, or shares below 1"),
        sides=_sides(sides),
        convention=convention,
        calibration=calibration,
        rescored=rescored,
    )
    with progress_bar() as say:
        opened = sides_of(queries, candidates, labels, relevance, opts, say)
        first, moments = problem_of(opened, True, opts)
        fitted = fit_many(
            words(closers),
            moments,
            opened.moments_b,
            score=opts.score,
            strengths=None if strengths is None else signed(strengths),
            unit_in=opts.unit_rows,
            # both are of the queries that are scored, which --fit-share keeps out of the fit
            pairs=None if opts.fit_share else opened.pair,
            query_rows=None if opts.fit_share else first.queries[first.query_calibration],
            with_controls=controls,
            seed=opts.seed,
        )
        problems = {
            seed: first if seed == opts.seed else reseeded(first, seed) for seed in range(seeds)
        }
        count = trials or trials_for(len(first.queries), len(first.candidates))
        rows = run_grid(
            problems,
            fitted,
            perturbations,
            trials=count,
            control_trials=max(1, count // 3),
            out=out,
            say=lambda done, of: say("stress", done, of),
        )
    screen = console(as_json=as_json)
    print_rows(rows, screen)
    for note in (*left_out(words(closers), rows), *range_notes(rows)):
        screen.print(note)
    if out is not None:
        screen.print(f"Wrote {len(rows)} rows to {out}.")
    if as_json:
        print_json(rows)
    if page is not None:  # last: everything else is out, should it fail
        from isthmus.report.stress_page import write_stress_page

        called = {"queries": Path(queries).stem, "candidates": Path(candidates).stem}
        write_stress_page(page, averaged(rows), **called)
        screen.print(f"Wrote {page}.")


def print_rows(rows: list[dict[str, Any]], screen: Any) -> None:
    """The table for people: one line per closer, strength and perturbation, averaged over seeds."""
    from rich.table import Table

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
            *player(row),
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
    played = {row["closer"] for row in rows}
    return [
        f"note: {name} is left out: {FITTED_ON[NEEDS[name]]}"
        for name in asked
        if name in NEEDS and name not in played
    ]


def range_notes(rows: list[dict[str, Any]]) -> list[str]:
    """A line for every codec and closer whose ranges do not fit the rows that are stored."""
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


def words(text: str) -> list[str]:
    """``a, b`` -> ["a", "b"], each once."""
    return list(dict.fromkeys(p.strip() for p in text.split(",") if p.strip()))


def signed(text: str) -> tuple[float, ...]:
    """``-0.5,1`` -> (-0.5, 1.0)."""
    try:
        return tuple(float(p) for p in words(text))
    except ValueError:
        raise OptionError(f"--strengths {text}: expected numbers, such as 0.5,1") from None


def _sides(text: str) -> Any:
    named = words(text)
    unknown = [s for s in named if s not in TARGETS]
    if unknown or not named:
        raise OptionError(f"--sides {text}: expected some of {', '.join(TARGETS)}")
    return tuple(named)

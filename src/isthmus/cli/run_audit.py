"""The body of ``isthmus audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.cli.words import console, print_json, progress_bar
from isthmus.data import read_labels, read_relevance, write_json
from isthmus.errors import OptionError
from isthmus.workflows.audits import Audit, AuditOptions, audit
from isthmus.workflows.audits.options import Progress
from isthmus.workflows.audits.sides import Sides, open_sides


def run(
    a: str,
    b: str,
    *,
    names: str,
    labels: str | None,
    relevance: str | None,
    levels: str,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Audit two inputs, write the reports and print a summary."""
    opts = AuditOptions(names=two_names(names), levels=numbers(levels), **options)
    with progress_bar() as say:
        result = audit(
            a,
            b,
            labels=None if labels is None else read_labels(labels),
            relevance=None if relevance is None else read_relevance(relevance),
            options=opts,
            progress=say,
        )
    write(result, out)
    screen = console(as_json=as_json)
    from isthmus.report.table import print_summary

    print_summary(result.report, screen)
    screen.print(f"Wrote {out}/report.html, report.json and the recommended closers.")
    if as_json:
        print_json(result.report)


def write(result: Audit, out: Path) -> None:
    """report.json, report.html and one closer per direction, each renamed into place."""
    out.mkdir(parents=True, exist_ok=True)
    for entry in result.report["directions"]:
        name = f"{entry['query']}_to_{entry['candidate']}"
        file = f"closer-{name}.safetensors"
        result.closers[name].save(out / file)
        entry["recommendation"]["file"] = file
    write_json(out / "report.json", result.report)
    from isthmus.report.render import write_html

    write_html(out / "report.html", result.report)


def two_names(text: str) -> tuple[str, str]:
    """``image,text`` -> ("image", "text"); refuses anything but two different names."""
    parts = [p.strip() for p in text.split(",")]
    if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
        raise OptionError(f"--names {text}: expected two different names, such as image,text")
    return parts[0], parts[1]


def sides_of(
    a: str, b: str, labels: str | None, relevance: str | None, opts: AuditOptions, say: Progress
) -> Sides:
    """Both inputs after the door, with the truth that files say."""
    return open_sides(
        a,
        b,
        None if labels is None else read_labels(labels),
        None if relevance is None else read_relevance(relevance),
        opts,
        None,
        say,
    )


def numbers(
    text: str,
    option: str = "--levels",
    what: str = "numbers that are variances above 0, such as 0.005,0.022",
) -> tuple[float, ...]:
    """``0.005,0.022`` -> (0.005, 0.022); refuses what is no number above 0."""
    try:
        values = tuple(float(p) for p in text.split(",") if p.strip())
    except ValueError:
        values = ()
    if not values or any(not v > 0 for v in values):
        raise OptionError(f"{option} {text}: expected {what}")
    return values

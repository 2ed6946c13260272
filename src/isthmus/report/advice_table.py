"""The advice of ``isthmus recommend`` in a terminal: one line per closer, then the words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from isthmus.report import words
from isthmus.report.table import PIPE_WIDTH, plain_text, print_warnings

if TYPE_CHECKING:
    from rich.console import Console

TITLES = (
    "",
    "closer",
    "score",
    "setting",
    "promise",
    "clean\nagr.",
    "flips",
    "95 %",
    "pre-\ndicted",
    "calibr.",
    "right",
    "dist.",
)
LEFT = 5
MISSED = "–"
WIDE = 132
NARROW_LEAVES_OUT = ("promise", "95 %", "calibr.", "dist.")
CLOSER_WIDTH = 22


def print_advice(advice: dict[str, Any], console: Console) -> None:
    """Print what :meth:`isthmus.workflows.recommendation.Advice.to_dict` tells.

    ``flips`` are of the judging half, ``calibr.`` of the other; ``right`` is accuracy undisturbed,
    ``dist.`` disturbed. Closers below the floor have a dash for their rank. 80 columns are enough.
    """
    from rich.table import Table

    width = console.width if console.is_terminal else PIPE_WIDTH
    narrow = width < WIDE
    print_warnings(advice.get("warnings") or [], console, width)
    shown = [i for i, t in enumerate(TITLES) if not (narrow and t in NARROW_LEAVES_OUT)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for i in shown:
        table.add_column(TITLES[i], justify="left" if i < LEFT else "right", no_wrap=True)
    taken = (advice["closer"], advice["score"])
    for row in advice["rows"]:
        texts = advice_texts(row)
        chosen = (row["closer"], row["score"]) == taken
        texts[0] = f">{texts[0]}" if chosen else f" {texts[0]}"
        style = "bold green" if chosen else None
        cells = [plain_text(texts[i]) for i in shown]
        if narrow:  # a long name takes two lines
            cells[1] = plain_text("\n".join(textwrap.wrap(row["closer"], CLOSER_WIDTH)))
        table.add_row(*cells, style=style)
    before, console.width = console.width, width
    console.print(table)
    console.print(plain_text(advice["reason"], "bold", width))
    for note in advice["notes"]:
        console.print(plain_text(f"note: {note}", "", width, "  "))
    for name, why in advice["skipped"].items():
        console.print(plain_text(f"left out: {name} ({why})", "", width, "  "))
    console.width = before


def advice_texts(row: dict[str, Any]) -> list[str]:
    """One closer's texts, in the order of :data:`TITLES`."""
    judged = row["judging"]
    options = {k: v for k, v in row["options"].items() if (k, v) != ("strength", 1.0)}
    rank = MISSED if row["rank"] is None else str(row["rank"])
    return [
        rank,
        row["closer"],
        row["score"],
        " ".join(f"{k} {v:g}" for k, v in options.items()),
        row["guarantee"],
        words.percent(judged["clean_agreement"]),
        words.percent(judged["flips"]),
        words.interval(judged["flips_ci"], lambda v: words.number(100 * v, 1)),
        "by law" if judged.get("by_law") else words.percent(judged["predicted"]),
        words.percent(row["calibration"]["flips"]),
        words.percent(judged["clean_accuracy"]),
        words.percent(judged["accuracy"]),
    ]

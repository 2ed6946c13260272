"""The report in a terminal: one screen, or everything: verdicts, warnings, tables, advice.

80 columns are enough. In a pipe there are no colours and lines are broken at 80 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isthmus.report import words
from isthmus.report.overview import overview_lines
from isthmus.report.plain import plain_console, visible
from isthmus.report.verdict_words import (
    LEGEND,
    RULER_NOTE,
    accuracy_rows,
    pool_rows,
    ruler_rows,
    score_rows,
    verdict_heading,
    verdict_rows,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPE_WIDTH = 80
"""Columns where the output is no terminal."""
CODED_BINS = 64.0
MOST_LEVELS = 3
"""Noise levels that a table of 80 columns has room for: the first, the middle, the last."""
STYLES = {"closing helps": "bold green", "do nothing": "bold yellow"}


def print_summary(
    report: dict[str, Any], console: Console | None = None, *, verbose: bool = False
) -> None:
    """Print the summary of ``report`` on ``console`` (standard output by default).

    It has 20 lines at most where nothing is wrong with the input. ``verbose`` prints all: why,
    what it costs, every warning in full, the ruler and a table per direction.
    """
    console = console or plain_console()
    piped, width = not console.is_terminal, console.width
    if piped:
        console.width = PIPE_WIDTH
    try:
        if verbose:
            parts = detailed_lines(report, console.width, plain=piped)
        else:
            wide = console.width
            parts = [plain_text(text, style, wide, "  ") for text, style in overview_lines(report)]
        for part in parts:
            console.print(part, highlight=False)
    finally:
        if piped:
            console.width = width


def detailed_lines(
    report: dict[str, Any], width: int = PIPE_WIDTH, *, plain: bool = False
) -> list[RenderableType]:
    """What is printed, part by part.

    Args:
        report: the dict of ``report.json``. width: columns to break lines at.
        plain: the recommended row is marked with ``>``, for pipes and logs.
    """
    directions = report.get("directions") or []
    warnings = report.get("warnings") or []
    parts = warning_lines([w for w in warnings if words.is_broken(w)], width)
    parts.append(plain_text(header(report), "bold", width))
    parts += warning_lines([w for w in warnings if not words.is_broken(w)], width)
    if any(direction.get("verdict") for direction in directions):
        parts += [plain_text(""), plain_text(LEGEND, width=width)]
    for direction in directions:
        parts += _verdict(direction, width)
    pool = pool_rows(report)
    if pool:
        parts += [plain_text(""), plain_text(pool[0], "bold", width, "    ")]
        parts += [plain_text(f"    {line}", "", width, "    ") for line in pool[1:]]
    for direction in directions:
        advice = f"{words.arrow(direction)}: {words.sentence(direction)}"
        parts += [plain_text(""), _table(direction, plain), plain_text(advice, "bold", width, "  ")]
        parts += [plain_text(f"note: {x}", "yellow", width, "  ") for x in words.caveats(direction)]
    return parts


def _verdict(direction: dict[str, Any], width: int) -> list[RenderableType]:
    """The verdict of one direction: state, number, and why."""
    rows = verdict_rows(direction)
    if not rows:
        return []
    parts: list[RenderableType] = [
        plain_text(""),
        plain_text(verdict_heading(direction), "bold", width),
    ]
    parts += [plain_text(line, "yellow", width, "  ") for line in score_rows(direction)]
    for state, headline, why in rows:
        parts.append(plain_text(headline, STYLES.get(state, "bold"), width, "    "))
        if why:
            parts.append(plain_text(f"    {why}", "", width, "    "))
    parts += [plain_text(line, "", width, "  ") for line in accuracy_rows(direction)]
    for number, row in enumerate(ruler_rows(direction)):
        broken = width if row == RULER_NOTE else None  # a column's spaces stay
        parts.append(plain_text(f"  {row}", "" if number else "bold", broken, "  "))
    return parts


def warning_lines(
    warnings: Sequence[dict[str, Any]], width: int | None = None
) -> list[RenderableType]:
    """A line each; what makes every number meaningless is red."""
    return [
        plain_text(
            words.warning_line(w), "bold red" if words.is_broken(w) else "yellow", width, "  "
        )
        for w in warnings
    ]


def print_warnings(
    warnings: Sequence[dict[str, Any]], console: Console, width: int | None = None
) -> None:
    """Print them, broken at ``width`` where it is given."""
    for line in warning_lines(warnings, width):
        console.print(line, soft_wrap=True)


def header(report: dict[str, Any]) -> str:
    """``gap 0.851 (severe), 95% interval …; images 500 × 512, captions 500 × 512, paired``."""
    gap = report.get("gap") or {}
    length = words.of_length(gap)
    severity = f" ({gap['severity']})" if gap.get("severity") else ""
    return (
        f"gap {words.number(gap.get('norm'))}{length and f', {length}'}{severity}, 95% interval "
        f"{words.interval(gap.get('norm_ci'))}; {words.sides(report)}"
    )


def summary_rows(direction: dict[str, Any]) -> tuple[list[str], list[tuple[list[str], bool]]]:
    """Column titles, and per closer its cells and whether it is the recommended one."""
    levels = list(dict.fromkeys(r.get("level") for r in _noise(direction)))
    if len(levels) > MOST_LEVELS:
        levels = [levels[0], levels[len(levels) // 2], levels[-1]]
    middle = levels[len(levels) // 2] if levels else None
    hit = words.first_hit(direction)
    titles = ["closer", "score", "clean\nagr.", hit, f"{hit}\n{words.significant(middle)}"]
    titles += [f"flips\n{words.significant(level)}" for level in levels]
    titles += ["64\nbins", "sign\nbits"]  # flips too; 80 columns have no room for the word
    chosen = direction.get("recommendation") or {}
    rows = []
    for closer, score in words.closers_of(direction):
        who = {"closer": closer, "score": score}
        noisy = {r.get("level"): r for r in _noise(direction, **who)}
        some = next(iter(words.rows_where(direction, **who)), {})
        cells = [
            closer,
            score,
            _share(some.get("clean_agreement")),
            _share(some.get("clean_accuracy")),
            _share(noisy.get(middle, {}).get("accuracy")),
        ]
        cells += [_share(words.flips(noisy.get(level))) for level in levels]
        for family, level in (("uniform-quantisation", CODED_BINS), ("sign-bits", 1.0)):
            found = words.rows_where(
                direction, family=family, side="candidates", level=level, **who
            )
            cells.append(_share(words.flips(found[0] if found else None)))
        rows.append((cells, (closer, score) == (chosen.get("closer"), chosen.get("score"))))
    return titles, rows


def _share(value: Any) -> str:
    """A percentage as narrow as a column: "<0.1%" for "under 0.1%"."""
    return words.percent(value).replace("under ", "<").replace("over ", ">")


def _noise(direction: dict[str, Any], **who: Any) -> list[dict[str, Any]]:
    return words.rows_where(direction, family="gaussian", side="candidates", **who)


def _table(direction: dict[str, Any], plain: bool) -> Table:
    from rich.table import Table

    titles, rows = summary_rows(direction)
    table = Table(
        title=plain_text(f"{words.arrow(direction)}  (flips: noise or codec on candidates)"),
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
        header_style="bold",
    )
    table.add_column("")
    for i, title in enumerate(titles):
        table.add_column(title, justify="left" if i < 2 else "right", no_wrap=True)
    for cells, recommended in rows:
        sign = (">" if plain else "▶") if recommended else ""
        table.add_row(
            sign, *(plain_text(cell) for cell in cells), style="bold green" if recommended else None
        )
    return table


def plain_text(text: str, style: str = "", width: int | None = None, indent: str = "") -> Any:
    """Text as it stands: a name in brackets is no markup. Broken at ``width`` where it is given."""
    from rich.text import Text

    shown = visible(text)
    if width is not None:
        lead = shown[: len(shown) - len(shown.lstrip())]
        shown = textwrap.fill(
            shown.lstrip(),
            width,
            initial_indent=lead,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return Text(shown, style=style)

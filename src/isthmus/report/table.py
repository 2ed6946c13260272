"""The report in a terminal: a header, the warnings, one table per direction, the recommendation.

Tables have no lines, so that 80 columns are enough. In a pipe there are no colours, tables have at
least 100 columns to fit in, and sentences are not broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isthmus.report import words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

LEAST_WIDTH = 100
CODED_BINS = 64.0


def print_summary(report: dict[str, Any], console: Console | None = None) -> None:
    """Print the summary of ``report`` on ``console`` (standard output by default)."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    piped, width = not console.is_terminal, console.width
    if piped:
        console.width = max(width, LEAST_WIDTH)
    try:
        for part in summary_lines(report, plain=piped):
            console.print(part, highlight=False, soft_wrap=piped and isinstance(part, Text))
    finally:
        if piped:
            console.width = width


def summary_lines(report: dict[str, Any], *, plain: bool = False) -> list[RenderableType]:
    """What is printed, part by part.

    Args:
        report: the dict of ``report.json``.
        plain: the recommended row is marked with ``>``, for pipes and logs.
    """
    parts: list[RenderableType] = [_text(header(report), "bold")]
    parts += [
        _text(f"warning {w.get('code')}: {w.get('text')}", "yellow")
        for w in report.get("warnings") or []
    ]
    for direction in report.get("directions") or []:
        parts += [
            _text(""),
            _table(direction, plain),
            _text(f"{words.arrow(direction)}: {words.sentence(direction)}", "bold"),
        ]
        parts += [_text(f"note: {line}", "yellow") for line in words.caveats(direction)]
    return parts


def header(report: dict[str, Any]) -> str:
    """``gap 0.851 (severe), 95% interval …; images 500 × 512, captions 500 × 512, paired``."""
    gap, inputs = report.get("gap") or {}, report.get("inputs") or {}
    called = words.names(report)
    severity = f" ({gap['severity']})" if gap.get("severity") else ""
    sides = [
        f"{called[side]} {words.number((inputs.get(side) or {}).get('rows'))} × "
        f"{words.number((inputs.get(side) or {}).get('dim'))}"
        for side in ("a", "b")
    ]
    paired = "paired" if inputs.get("paired") else "not paired"
    return (
        f"gap {words.number(gap.get('norm'))}{severity}, 95% interval "
        f"{words.interval(gap.get('norm_ci'))}; {', '.join(sides)}, {paired}"
    )


def summary_rows(direction: dict[str, Any]) -> tuple[list[str], list[tuple[list[str], bool]]]:
    """Column titles, and per closer its cells and whether it is the recommended one."""
    levels = list(dict.fromkeys(r.get("level") for r in _noise(direction)))
    middle = levels[len(levels) // 2] if levels else None
    hit = words.first_hit(direction)
    titles = ["closer", "score", "clean\nagr.", hit, f"{hit}\n{words.significant(middle)}"]
    titles += [f"flips\n{words.significant(level)}" for level in levels]
    titles += ["flips\n64 bins", "flips\nsigns"]
    chosen = direction.get("recommendation") or {}
    rows = []
    for closer, score in words.closers_of(direction):
        who = {"closer": closer, "score": score}
        noisy = {r.get("level"): r for r in _noise(direction, **who)}
        some = next(iter(words.rows_where(direction, **who)), {})
        cells = [
            closer,
            score,
            words.percent(some.get("clean_agreement")),
            words.percent(some.get("clean_accuracy")),
            words.percent(noisy.get(middle, {}).get("accuracy")),
        ]
        cells += [words.percent(words.flips(noisy.get(level))) for level in levels]
        for family, level in (("uniform-quantisation", CODED_BINS), ("sign-bits", 1.0)):
            found = words.rows_where(
                direction, family=family, side="candidates", level=level, **who
            )
            cells.append(words.percent(words.flips(found[0] if found else None)))
        rows.append((cells, (closer, score) == (chosen.get("closer"), chosen.get("score"))))
    return titles, rows


def _noise(direction: dict[str, Any], **who: Any) -> list[dict[str, Any]]:
    return words.rows_where(direction, family="gaussian", side="candidates", **who)


def _table(direction: dict[str, Any], plain: bool) -> Table:
    from rich.table import Table

    titles, rows = summary_rows(direction)
    table = Table(
        title=_text(f"{words.arrow(direction)}  (flips: noise or codec on candidates)"),
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
            sign, *(_text(cell) for cell in cells), style="bold green" if recommended else None
        )
    return table


def _text(text: str, style: str = "") -> Any:
    """Text as it stands: a name in brackets is no markup."""
    from rich.text import Text

    shown = "".join(c if c.isprintable() else " " for c in text)
    return Text(shown, style=style)

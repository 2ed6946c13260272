"""``isthmus lab``: experiments on why there is a gap, and what it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, argument
from isthmus.cli.output import console, print_json, progress_bar

if TYPE_CHECKING:
    from rich.table import Table


def _of_paper(words: str) -> Any:
    return about(f"Of paper: {words}")


def command(
    name: Annotated[str, argument("NAME", "An experiment, or: list.")],
    out: Annotated[Path, about("Folder for the table and the figures.")] = Path("isthmus-lab"),
    seed: options.Seed = 0,
    json: options.Json = False,
    encoder: Annotated[
        str | None, _of_paper("NAME[:MODEL], as isthmus embed takes it; default emoji.")
    ] = None,
    images: Annotated[
        str | None, _of_paper("Pictures: a folder (perhaps one in it per class), or .npy pixels.")
    ] = None,
    labels: Annotated[str | None, _of_paper("A class per picture, or per row of queries.")] = None,
    classes: Annotated[str | None, _of_paper("Names of the classes, one a line.")] = None,
    texts: Annotated[str | None, _of_paper("A caption per picture, one a line.")] = None,
    questions: Annotated[str | None, _of_paper("A-OKVQA's JSON, about the pictures.")] = None,
    queries: Annotated[str | None, _of_paper("Rows that ask, instead of pictures.")] = None,
    candidates: Annotated[str | None, _of_paper("Rows that are searched.")] = None,
    rephrased: Annotated[str | None, _of_paper("The same, worded otherwise.")] = None,
    strengths: Annotated[
        str | None, _of_paper("Strengths of the closing; default 0,0.25 … 1.5.")
    ] = None,
    trials: Annotated[int | None, _of_paper("Noise draws; default 30, fewer when large.")] = None,
    max_queries: Annotated[int | None, _of_paper("Queries scored; default 300.")] = None,
    fit_share: Annotated[
        float | None, _of_paper("Share of queries that only the gap is taken from; default 0.5.")
    ] = None,
) -> None:
    """Why is there a gap, and does it matter? Experiments beside what theory predicts.

    "isthmus lab list" names them. Each prints its rows and writes a table (CSV) and figures (SVG).
    "isthmus lab paper" takes a model and data of yours.

    Example: isthmus lab final-gap --out lab
    """
    given = {key: value for key, value in locals().items() if value is not None}
    own = {key: given[key] for key in given if key not in ("name", "out", "seed", "json")}
    if strengths is not None:
        what = "numbers, such as 0.5,1.5"
        own["strengths"] = options.split_numbers(strengths, "--strengths", what, signed=True)
    screen = console(as_json=json)
    if name == "list":
        known = [{"name": one, "words": said} for one, said in im.lab.EXPERIMENTS.words().items()]
        screen.print(table_of(known))
        if json:
            print_json(known)
        return
    from isthmus.data.atomic import refuse_unwritable

    refuse_unwritable(out, folder=True)
    with progress_bar() as say:
        found = im.lab.EXPERIMENTS[name].run(seed=seed, progress=say, **own)
    words, rows = found.card()
    screen.print(words)
    screen.print(table_of(rows))
    for note in found.notes:
        screen.print(note)
    written = ", ".join(str(path) for path in found.write(out))
    screen.print(f"Wrote {written}.")
    if json:
        print_json(found.rows())


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Rows as columns of text, numbers to four figures."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        number = any(isinstance(row.get(column), int | float) for row in rows)
        words = column.replace("_", " ")  # a long name may break, a number may not
        table.add_column(words, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(shown(row.get(column)) for column in columns))
    return table


def shown(value: Any) -> str:
    """A value of a table: four figures, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool | str | int):
        return str(value)
    return f"{value:.4g}"

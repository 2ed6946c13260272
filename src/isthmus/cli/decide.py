"""``isthmus decide``: is there a match at all? A saved calibration, applied to rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import isthmus as im
from isthmus.cli import options
from isthmus.cli.options import about, argument
from isthmus.cli.output import show
from isthmus.errors import OptionError

SHOWN = 10


def command(
    calibration: Annotated[Path, argument("CALIBRATION", "A file of isthmus calibrate.")],
    queries: options.Queries,
    candidates: options.Candidates,
    kind: Annotated[str | None, about("The kind of all queries.")] = None,
    kinds: Annotated[
        str | None, about("The kind of each query: a file as calibrate takes it.")
    ] = None,
    size: Annotated[
        int | None, about("How many candidates were searched; left out: those that are given.")
    ] = None,
    closer: Annotated[Path | None, about("The closer that it was calibrated through.")] = None,
    out: Annotated[Path | None, about("A line per query: .parquet, or .json.")] = None,
    json: options.Json = False,
) -> None:
    """For each query a match or nothing, at the false-match rate that was calibrated.

    Example: isthmus decide match.json images.npy captions.npy --out decisions.parquet
    """
    if kind is not None and kinds is not None:
        raise OptionError("kind-twice", "--kind and --kinds were both given; drop one")
    options.check_output(out, "a line per query", ".parquet", ".json")
    given = kind if kinds is None else Path(kinds)
    saved = im.Calibration.load(calibration)
    found = saved.decide(queries, candidates, kind=given, size=size, closer=closer)
    if out is not None:
        found.save(out)
    title, rows = found.card()
    lines = [f"{title}."]
    for row in rows[:SHOWN]:
        where = "nothing" if row["decision"] == "nothing" else f"row {row['answer']}"
        p = "-" if row["p_value"] is None else f"{row['p_value']:.3g}"
        score = "-" if row["score"] is None else f"{row['score']:.4g}"
        lines.append(f"query {row['query']}: {where} (best score {score}, p {p})")
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more" + ("" if out else ", in --out FILE"))
    lines += [f"wrote {out}"] * (out is not None)
    show(lines, found.to_dict(), as_json=json)

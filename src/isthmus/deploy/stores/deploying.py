"""A closer into a store, tried first where queries are given, and undone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.closers.closer import Closer
from isthmus.core.progress import Progress, quiet
from isthmus.data.records import Record
from isthmus.deploy.stores.placement import QUERY_SIDE, Placement, is_query_side, place_of
from isthmus.deploy.stores.trial import Trial
from isthmus.errors import CloserError


@dataclass(frozen=True)
class Deployment(Record):
    """What was written to a store, and how it is searched.

    Attributes:
        closer, store: names. form, why: which form was chosen, and why (``docs/stores.md``).
        score: what the store is asked to rank by. column: where the vectors are; empty where
            nothing is stored.
        items: items with a deployed vector. written: of these, in this run.
        dim: dimensions of a stored vector. bytes_per_item: what one item needs more.
        out: folder with ``closer.json`` (maps as numbers), ``query.py`` (the query side, to be
            pasted) and ``deployment.json``.
        tried: what a trial showed, a sentence; empty where there was none.
        warning: what to know of the store's rows; empty for nothing.
    """

    closer: str
    store: str
    form: str
    why: str
    score: str
    column: str
    items: int
    written: int
    dim: int
    bytes_per_item: int
    out: Path
    tried: str = ""
    warning: str = ""

    def sentences(self) -> list[str]:
        """What was done, a line each."""
        lines = [self.tried] if self.tried else []
        lines += [f"WARNING: {self.warning}"] if self.warning else []
        lines.append(f"{self.closer} as {self.form}: {self.why}")
        if self.column:
            before = f" ({self.items - self.written} were there)" * (self.written < self.items)
            lines.append(
                f"wrote {self.written} of {self.items} vectors{before} to '{self.column}': "
                f"{self.dim} dimensions, {self.bytes_per_item} bytes each as floats, ranked by "
                f"{self.score}"
            )
        else:
            lines.append("nothing was written to the store")
        lines.append(f"search with {self.out / 'query.py'}: it maps queries and asks the store")
        return lines


def deploy(
    closer: Closer | str | os.PathLike[str],
    store: str,
    *,
    column: str | None = None,
    out: str | os.PathLike[str] | None = None,
    queries: Any = None,
    even_if_worse: bool = False,
    seed: int = 0,
    progress: Progress = quiet,
) -> Deployment:
    """Write a closer's candidates into a store, and the query side into a folder.

    Vectors go to a new column or collection, in batches that are whole or not there. A killed run
    goes on where it stopped; a later run adds items that are new. The original vectors are read
    and never changed.

    Args:
        closer: fitted, or its file. store: the address of the candidates' vectors.
        column: name of the new column, or collection. By default the old name and the closer's.
        out: folder for the query side. By default ``isthmus-deploy-COLUMN``.
        queries: (n, d) rows as the encoder gives them, not those that the closer was fitted on.
            The closer is tried first, in a sample of the store that is removed again, with at most
            500 of them, drawn by ``seed``.
        even_if_worse: write also where that trial clearly loses answers (the 95 % interval of the
            difference over queries lies below zero), or where the store's rows are
            those that the closer was fitted on as queries.

    Raises:
        CloserError: no form of the closer gives its ranking in this store, or the trial shows that
            the store finds fewer of the exact first answers than it does today, or the closer is
            of the other direction.
        OptionError: the column is there and not ours. FileError: the store does not answer.

    Cost: one pass over the vectors, two where the form needs all of them to choose its numbers;
    three more for the trial.
    """
    place = Placement.of(closer, store, column, out)
    if place.form.other_side and not even_if_worse:
        way = "; or write it all the same with even_if_worse (--even-if-worse)"
        raise CloserError("other-side", place.form.other_side + way)
    tried = None if queries is None else Trial.of(place, queries, seed)
    if tried is not None and tried.hurts and not even_if_worse:
        raise CloserError(
            "closing-hurts", "; ".join(filter(None, (tried.sentence, place.form.warning)))
        )
    form = place.form
    place.prepare()
    place.write_query_side()
    written = place.write(progress)
    stored = not form.stores_nothing
    return Deployment(
        closer=place.closer.name,
        store=place.source.address.shown,
        form=form.name,
        why=form.why,
        score=form.score,
        column=place.name if stored else "",
        items=place.rows.rows,
        written=written,
        dim=form.dim,
        bytes_per_item=(4 * form.dim + 8 * form.biased) * stored,
        out=place.folder,
        tried="" if tried is None else tried.sentence,
        warning=form.said,
    )


def undo(
    closer: Closer | str | os.PathLike[str],
    store: str,
    *,
    column: str | None = None,
    out: str | os.PathLike[str] | None = None,
) -> str:
    """Remove what :func:`deploy` wrote for the same arguments, and nothing else; its address.

    The query side goes too, where it is of this closer and store; other files stay.

    Raises:
        OptionError: nothing of that name was made by :func:`deploy`.
    """
    fitted, source, name, folder = place_of(closer, store, column, out)
    if is_query_side(folder, fitted, source):  # of a query map: nothing is stored
        _remove_query_side(folder)
        return str(folder)
    target = source.at(name)
    target.undo()
    if is_query_side(folder, fitted, target):
        _remove_query_side(folder)
    return target.address.shown


def _remove_query_side(folder: Path) -> None:
    for name in QUERY_SIDE:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # of who imported query.py
    if not any(folder.iterdir()):
        folder.rmdir()

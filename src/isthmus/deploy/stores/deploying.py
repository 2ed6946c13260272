"""A closer into a store: choose its form, try it, write vectors in batches, undo."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.closers.closer import Closer
from isthmus.core.progress import Progress, quiet
from isthmus.core.seeds import stream
from isthmus.core.statistics import paired_difference
from isthmus.data import atomic_path, open_rows
from isthmus.data.addresses import open_store
from isthmus.data.records import Record
from isthmus.data.source import ArraySource, Rows
from isthmus.deploy.export.closer_json import to_json
from isthmus.deploy.stores.forms import Form, choose_form, form_again
from isthmus.deploy.stores.query_side import query_side
from isthmus.deploy.stores.sampling import Exact, Sample, sampled
from isthmus.deploy.stores.store import BATCH, TRIED, Mark, Store, StoreFacts, StoreRows
from isthmus.errors import CloserError, OptionError

SAMPLE = 100_000
"""Candidates that choose the range of an inner-product coordinate."""
QUERY_SIDE = ("closer.json", "query.py", "deployment.json")
"""Files of a query side."""


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
    if not form.stores_nothing:
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


@dataclass(frozen=True)
class Trial:
    """First answers that the store finds today and with a closer, before anything is kept.

    Attributes:
        before, after: of ``queries`` queries, how many first answers are those of exact search.
        hurts, gains: the interval of the difference over queries lies below, above zero.
    """

    queries: int
    before: int
    after: int
    hurts: bool
    gains: bool
    how: str

    @classmethod
    def of(cls, place: Placement, queries: Any, seed: int) -> Trial:
        """Try it in a sample of the store, which is removed again."""
        rows = open_rows(queries)
        chosen = stream("deploy.check", seed).permutation(rows.rows)[:500]  # as a check
        asked, facts = rows.take(np.sort(chosen)), place.facts
        score = facts.score or place.closer.score
        with sampled(place.source, asked, score, seed=seed) as sample:
            exact = Exact(asked, sample.rows, score)
            plain = exact.kept_by(lambda k: sample.store.search(asked, k, score=score))
            kept, form = try_closer(place.closer, sample, asked, exact)
            items = sample.rows.rows
        gain = paired_difference(plain[None], kept[None], seed=seed)
        how = f"{place.closer.name} as {form}, index {facts.index}, codec {facts.codec}, "
        how += f"{items} items"
        counts = len(asked), int(plain.sum()), int(kept.sum())
        return cls(*counts, gain.high < 0, gain.low > 0, how)

    @property
    def sentence(self) -> str:
        """What was found."""
        if self.hurts:
            clear = (
                "; the store loses answers by it: let isthmus recommend QUERIES STORE --perturb "
                "store choose, or write it all the same with even_if_worse (--even-if-worse)"
            )
        elif self.gains:
            clear = ""
        else:
            clear = f"; with {self.queries} queries that is no clear gain and no clear loss"
        return (
            f"tried first ({self.how}): of {self.queries} queries the first answer in the store is "
            f"that of exact search for {self.before} today and for {self.after} with the closer"
            f"{clear}"
        )


def try_closer(
    closer: Closer, sample: Sample, queries: np.ndarray, exact: Exact
) -> tuple[np.ndarray, str]:
    """(whether each first answer is kept (n,), form) in a sample; what is written is removed."""
    with tempfile.TemporaryDirectory() as folder:
        place = Placement.of(closer, sample.store, TRIED, folder, sample.rows)
        if place.form.stores_nothing:
            return exact.kept_by(lambda k: place.search(queries, k)), place.form.name
        place.prepare()
        try:
            place.write(quiet)
            kept = exact.kept_by(lambda k: place.search(queries, k))
        finally:
            place.target.undo()
    return kept, place.form.name


@dataclass(frozen=True, eq=False)
class Placement:
    """A closer and a store brought together: which form, under which name.

    Attributes:
        source: the original vectors. rows: the same as rows. name: of the new column.
        folder: of the query side. mark: what the new column says of itself.
    """

    closer: Closer
    source: Store
    facts: StoreFacts
    rows: StoreRows | ArraySource
    name: str
    folder: Path
    form: Form
    mark: Mark

    @classmethod
    def of(
        cls,
        closer: Closer | str | os.PathLike[str],
        store: str | Store,
        column: str | None,
        out: str | os.PathLike[str] | None,
        rows: ArraySource | None = None,
    ) -> Placement:
        """Open the store and choose the form; nothing is written.

        ``rows``: the vectors where they are known better than the store gives them.
        """
        fitted = closer if isinstance(closer, Closer) else Closer.load(closer)
        source = store if isinstance(store, Store) else open_store(store)
        facts, vectors = source.describe(), rows or source.rows()
        name = _name(source, fitted, column)
        folder = Path(out or f"isthmus-deploy-{name}")
        form = _form(fitted, facts, vectors, folder)
        said = f"{fitted.name} {_digest(form.to_json())[:16]}"
        mark = Mark(said, form.name, form.score, bias=form.biased, source=source.address.column)
        return cls(fitted, source, facts, vectors, name, folder, form, mark)

    @property
    def ids(self) -> np.ndarray:
        """Of the items, (n,)."""
        assert self.rows.ids is not None
        return self.rows.ids

    @property
    def target(self) -> Store:
        """Where deployed vectors are: the source itself where nothing is stored."""
        return self.source if self.form.stores_nothing else self.source.at(self.name)

    def prepare(self) -> None:
        """Make the new column, or take up the one of an earlier run."""
        self.source.prepare(self.name, self.form.dim, self.mark)

    def check_mark(self) -> None:
        """Refuse to search a column that is not of this very closer.

        Raises:
            OptionError: nothing was deployed there, or another closer.
        """
        there = self.target.mark()
        if there is None:
            raise OptionError(
                "not-deployed",
                f"'{self.name}' was not made by isthmus deploy; run it first, without check",
            )
        if not there.is_of(self.mark):
            raise OptionError(
                "other-deployment",
                f"'{self.name}' was deployed by another closer ({there.closer.split()[0]} as "
                f"{there.form}), or with other numbers than {self.closer.name} as "
                f"{self.form.name} has here; give the closer and the --out of that run, remove it "
                "with --undo, or deploy this closer under another name with --column",
            )

    def write(self, progress: Progress) -> int:
        """Write what is not there yet, batch by batch; the number written."""
        if self.form.stores_nothing:
            return 0
        target = self.target
        there = {str(one) for one in target.done()}
        ids = self.ids
        wanted = np.array([i for i, one in enumerate(ids) if str(one) not in there], np.int64)
        for at in range(0, len(wanted), BATCH):
            some = wanted[at : at + BATCH]
            target.put(ids[some], *self.form.stored(self.rows.take_sorted(some)))
            progress("writing vectors", at + len(some), len(wanted))
        target.finish(self.mark)
        return len(wanted)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Ids (n, k) that the store finds for queries (n, d) as the encoder gives them."""
        return self.target.search(
            self.form.asked(queries), k, score=self.form.score, mark=self.mark
        )

    def write_query_side(self) -> None:
        """``closer.json``, ``query.py`` and ``deployment.json``; a password stays out of them."""
        said = {
            "form": self.form.name,
            "base": _digest(to_json(self.closer)),
            "padding": self.form.padding,
            "store": self.target.address.shown,
        }
        texts = (
            self.form.to_json(),
            query_side(self.form, self.target, self.mark),
            json.dumps(said, indent=2) + "\n",
        )
        for name, text in zip(QUERY_SIDE, texts, strict=True):
            with atomic_path(self.folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")


def _form(closer: Closer, facts: StoreFacts, rows: Rows, folder: Path) -> Form:
    """The form; its numbers are those of an earlier run into the same folder, if there was one."""
    if facts.score in ("cosine", "euclidean") or rows.rows <= SAMPLE:
        candidates = rows.read()
    else:
        candidates = rows.take(np.arange(0, rows.rows, rows.rows // SAMPLE))
    form = choose_form(closer, facts, candidates)
    kept = folder / "deployment.json"
    if kept.is_file():
        earlier = json.loads(kept.read_text(encoding="utf-8"))
        if (earlier["form"], earlier["base"]) == (form.name, _digest(to_json(closer))):
            return form_again(form, (folder / "closer.json").read_text(encoding="utf-8"))
    return form


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
    fitted = closer if isinstance(closer, Closer) else Closer.load(closer)
    source = open_store(store)
    name = _name(source, fitted, column)
    folder, target = Path(out or f"isthmus-deploy-{name}"), source.at(name)
    if _is_query_side(folder, fitted, source.address.shown):  # of a query map: nothing is stored
        _remove_query_side(folder)
        return str(folder)
    target.undo()
    if _is_query_side(folder, fitted, target.address.shown):
        _remove_query_side(folder)
    return str(target.address.shown)


def _is_query_side(folder: Path, closer: Closer, store: str) -> bool:
    path = folder / "deployment.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return (said.get("base"), said.get("store")) == (_digest(to_json(closer)), store)


def _remove_query_side(folder: Path) -> None:
    for name in QUERY_SIDE:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # of who imported query.py
    if not any(folder.iterdir()):
        folder.rmdir()


def _name(source: Store, closer: Closer, column: str | None) -> str:
    """Name of the deployed column or collection."""
    return column or f"{source.address.column or 'vector'}_{closer.name}".replace("-", "_")


__all__ = ["Deployment", "Placement", "deploy", "try_closer", "undo"]
